"""Section ``receive``: how the node is called, and by whom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from dicom_node.config.types import AETitle, Frozen, Networks, Port
from dicom_node.model import WaterMarks

LEAST_FREE = 80 << 20
"""A quarter of it is the ledger's alone: SQLite's write-ahead log takes up to 16 MiB, and is taken over into a file
that grows. On a disk that the node itself has filled to the last byte it could write down nothing, not even what was
sent and may be deleted."""

_FINGERPRINT = re.compile(r"(sha256:)?[0-9a-f]{2}(:?[0-9a-f]{2}){31}")


class ReceiveTLS(Frozen):
    """The receiver's certificate and key in PEM, and whose certificates it wants to see.

    Keys of ``calling_ae_titles`` are names in the peer's certificate (subject CN, subject alternative names) or its
    SHA-256 fingerprint, values the Calling AE Titles that it may use. Where there are some, no other gets in.
    """

    certificate: Path
    key: Path
    ca: Path | None = None
    require_client_certificate: bool = False
    calling_ae_titles: dict[str, tuple[AETitle, ...]] = Field(default_factory=dict)

    @field_validator("calling_ae_titles")
    @classmethod
    def _as_certificates_have_them(cls, titles: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        lower = {name.lower(): allowed for name, allowed in titles.items()}
        return {
            name.removeprefix("sha256:").replace(":", "") if _FINGERPRINT.fullmatch(name) else name: allowed
            for name, allowed in lower.items()
        }

    @model_validator(mode="after")
    def _is_sure(self) -> Self:
        """Refuse to ask for a certificate that could not be verified, or to go by one that need not be there."""
        if self.require_client_certificate and not self.ca:
            msg = "require_client_certificate: needs ca, the file of the CA that has signed the peers' certificates"
            raise ValueError(msg)
        if self.calling_ae_titles and not self.require_client_certificate:
            msg = "calling_ae_titles: needs require_client_certificate: true"
            raise ValueError(msg)
        return self


class Receive(Frozen):
    """How the node is called, and by whom."""

    ae_title: AETitle = "DICOM_NODE"
    host: str = "0.0.0.0"  # noqa: S104 - modalities are other machines; `networks` and `calling_ae_titles` narrow it
    port: Port = 11112
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    any_called_ae_title: bool = False
    called_ae_titles: tuple[AETitle, ...] = ()
    calling_ae_titles: tuple[AETitle, ...] = ()
    networks: Networks = ()
    maximum_associations: PositiveInt = 50
    maximum_associations_per_peer: PositiveInt = 40
    maximum_pdu_length: Annotated[int, Field(ge=4096, le=1 << 20)] = 131072
    network_timeout: PositiveFloat = 60.0
    minimum_free_bytes: Annotated[int, Field(ge=LEAST_FREE)] = 1 << 30
    resume_free_bytes: Annotated[int, Field(ge=0)] = 0
    high_water_bytes: Annotated[int, Field(ge=0)] = 0
    low_water_bytes: Annotated[int, Field(ge=0)] = 0
    tls: ReceiveTLS | None = None

    @property
    def water_marks(self) -> WaterMarks:
        """The four bounds; what is 0 follows from its neighbour, an eighth further on."""
        least, high = self.minimum_free_bytes, self.high_water_bytes
        resume, low = self.resume_free_bytes or least + least // 8, self.low_water_bytes or high - high // 8
        return WaterMarks(least, resume, high, low)

    @model_validator(mode="after")
    def _marks_are_in_order(self) -> Self:
        if 0 < self.resume_free_bytes < self.minimum_free_bytes:
            msg = f"resume_free_bytes: allowed are 0 and {self.minimum_free_bytes} (minimum_free_bytes) or more"
            raise ValueError(msg)
        if self.low_water_bytes > self.high_water_bytes:
            msg = f"low_water_bytes: allowed are 0 to {self.high_water_bytes} (high_water_bytes)"
            raise ValueError(msg)
        return self
