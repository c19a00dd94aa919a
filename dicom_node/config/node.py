"""The sections that the node's own work is told by: ``queue``, ``retention``, ``redact``."""

from __future__ import annotations

import math
from importlib.metadata import distributions
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from dicom_node.config.types import Frozen


class Queue(Frozen):
    """Spool, ledger and how long things take."""

    lease_seconds: PositiveFloat = 20.0
    poll_seconds: PositiveFloat = 0.5
    retry_seconds: PositiveFloat = 5.0
    retry_maximum_seconds: PositiveFloat = 600.0
    drain_seconds: PositiveFloat = 30.0


Days = Annotated[float, Field(ge=0)] | Literal["keep"]
_SECONDS_OF_A_DAY = 86400.0


class Retention(Frozen):
    """How many days things stay that are done: ``originals`` of instances that are sent, and ``rows`` of the ledger.

    Originals go before their rows: a row without bytes is history, bytes without a row have just arrived.
    """

    originals: Days = 0.0
    rows: Days = 90.0

    @property
    def originals_seconds(self) -> float:
        """How long an original stays; infinity when only an operator deletes it."""
        return _seconds(self.originals)

    @property
    def rows_seconds(self) -> float:
        """How long a row stays; infinity for ever."""
        return _seconds(self.rows)

    @model_validator(mode="after")
    def _rows_stay_longer(self) -> Self:
        if self.rows_seconds < self.originals_seconds:
            msg = "rows: allowed is not less than originals: a row is what says that an original is done"
            raise ValueError(msg)
        return self


def _seconds(days: float | str) -> float:
    return math.inf if isinstance(days, str) else days * _SECONDS_OF_A_DAY


class Redact(Frozen):
    """How text is found and what is put in its place."""

    detector: Literal["pp-ocr", "tesseract"] = "pp-ocr"
    profile: Literal["thorough", "fast"] = "thorough"
    processes: Annotated[int, Field(ge=0)] = 0
    fill: Literal["black", "background", "contrast"] | Annotated[int, Field(ge=-(1 << 31), lt=1 << 32)] = "black"
    tesseract_language: str = "eng"
    spacy_model: str = ""
    reading_language: str = ""
    maximum_bytes: PositiveInt = 2 << 30
    limit_seconds: PositiveFloat = 1800.0

    @field_validator("spacy_model")
    @classmethod
    def _is_installed(cls, name: str) -> str:
        """Refuse what spaCy would not find, or Presidio's engine would download."""
        if name and not (name.isidentifier() and any(distributions(name=name))):
            msg = f"no spaCy pipeline {name!r} is installed; install it as a package (pip install), or leave it empty"
            raise ValueError(msg)
        return name
