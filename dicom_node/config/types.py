"""What values of several sections are made of."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterable

AE_TITLE_LENGTH = 16

Order = Literal["any", "study"]
"""In what order instances go to a destination."""


def _ae_title(value: str) -> str:
    """PS3.5 6.2, VR AE: at most 16 characters, no backslash or control character, not only spaces."""
    title = value.strip()
    if not title or len(title) > AE_TITLE_LENGTH or "\\" in title or not (title.isascii() and title.isprintable()):
        msg = "an AE title is 1 to 16 printable ASCII characters without a backslash"
        raise ValueError(msg)
    return title


def _network(value: str) -> str:
    ipaddress.ip_network(value)
    return value


AETitle = Annotated[str, AfterValidator(_ae_title)]
Networks = tuple[Annotated[str, AfterValidator(_network)], ...]
Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Frozen(BaseModel):
    """A section: it does not change, and has no other keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def listed(names: Iterable[str]) -> str:
    """Say what there is, for people."""
    return ", ".join(names)
