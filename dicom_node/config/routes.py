"""Section ``routes``: which instances go where, and under which policy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from dicom_node.config.types import Frozen, Name, Networks, listed
from dicom_node.model import PolicyName

NEVER_SAFE = (
    "", " ", "SMITH", "SMITH JOHN", "DOE^JANE", "ROE, A.", "4711-0815", "1234567", "A1234567", "1970-01-02",
    "02.01.1970", "2 JAN 1970", "12:34:56", "35", "056Y",
)  # fmt: skip
"""Made-up identity, and nothing at all: no pattern of safe text may match it."""


class Route(Frozen):
    """The first route whose every ``match`` line fits an instance decides its policy and destinations.

    ``networks``, where there are some, are those of which the peer's address has to be in one. Keys of ``match`` are
    ``CalledAETitle``, ``CallingAETitle`` or attribute keywords (PS3.6); values are wildcard patterns (``*``, ``?``) or
    lists of them, of which one has to fit. Case counts. ``second_look`` is what ``strict`` says unless it is given.
    ``priority`` is that of a C-STORE-RQ (PS3.7): ``high`` is worked on as if it had come a day earlier, ``low`` as if a
    day later.
    """

    name: Name
    match: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    networks: Networks = ()
    policy: PolicyName = "keep-safe-text"
    rules: tuple[Path, ...] = ()
    ultrasound_regions: bool = False
    safe_text: tuple[str, ...] = ()
    overlays: Literal["remove", "redact"] = "remove"
    documents: Literal["hold", "remove"] = "hold"
    annotations: Literal["hold", "remove"] = "hold"
    strict: bool = False
    second_look: bool | None = None
    priority: Literal["low", "medium", "high"] = "medium"
    destinations: Annotated[tuple[Name, ...], Field(min_length=1)]

    @field_validator("match", mode="before")
    @classmethod
    def _as_lists(cls, match: object) -> object:
        if not isinstance(match, dict):
            return match
        return {key: [value] if isinstance(value, (str, int, float)) else value for key, value in match.items()}

    @field_validator("match", mode="after")
    @classmethod
    def _known_keys(cls, match: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        unknown = set(match) - {"CalledAETitle", "CallingAETitle"}
        if unknown:
            from pydicom.datadict import tag_for_keyword  # noqa: PLC0415 - a second, which the default need not wait

            unknown = {key for key in unknown if tag_for_keyword(key) is None}
        if unknown:
            msg = f"{listed(sorted(unknown))}: neither CalledAETitle, CallingAETitle nor an attribute keyword of PS3.6"
            raise ValueError(msg)
        return match

    @field_validator("safe_text")
    @classmethod
    def _is_narrow(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse what is no regular expression, or would spare what is about a person."""
        for pattern in patterns:
            try:
                spared = [text for text in NEVER_SAFE if re.fullmatch(pattern, text, re.IGNORECASE)]
            except re.error as error:
                msg = f"{pattern!r} is not a regular expression: {error}"
                raise ValueError(msg) from None
            if spared:
                msg = f"{pattern!r} would also spare {spared[0]!r}; allowed are patterns of one technical text"
                raise ValueError(msg)
        return patterns
