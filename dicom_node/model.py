"""The core values. Names are the standard's; no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

DELIVERED_STATUSES = frozenset({0x0000, 0xB000, 0xB006, 0xB007})
"""Success and the warnings with which the peer has stored the instance (PS3.4 B.2.3)."""


PolicyName = Literal["all-text", "keep-safe-text", "phi-only", "pass"]
"""``pass`` forwards the instance as it is: an explicit word on a route, never a default and never a fallback."""


Kind = Literal["", "name", "physician", "id", "date", "age", "institution", "address", "phone", "contact", "label"]
"""What a piece of burned-in identity is; empty when that is not known. A closed list: never text of an image."""


class State(StrEnum):
    """Where an instance, or one delivery of it, stands.

    STORED is of deliveries: the destination has answered C-STORE with Success, and has still to commit to its storage.
    """

    RECEIVED = "RECEIVED"
    REDACTED = "REDACTED"
    STORED = "STORED"
    SENT = "SENT"
    HELD = "HELD"
    DROPPED = "DROPPED"


class Priority(IntEnum):
    """How urgent an instance is, in the numbers of a C-STORE-RQ's Priority (0000,0700) (PS3.7 9.3.1.1)."""

    MEDIUM = 0
    HIGH = 1
    LOW = 2


class Outcome(StrEnum):
    """What redaction did."""

    CLEANED = "cleaned"
    UNCHANGED = "unchanged"
    PASSED = "passed"


@dataclass(frozen=True, slots=True)
class SOPInstance:
    """What identifies an instance and its encoding (PS3.3 C.12.1, PS3.10 7.1)."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an instance came from, as known on the wire.

    ``received_at`` is in seconds since the epoch.
    """

    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    received_at: float


def values_of(part: SOPInstance | Origin) -> dict[str, str | float]:
    """Return the fields by their names; ``asdict`` copies each, which takes ten times as long."""
    return {name: getattr(part, name) for name in part.__slots__}


@dataclass(frozen=True, slots=True)
class RemoteAE:
    """A peer that instances are sent to."""

    ae_title: str
    host: str
    port: int
    calling_ae_title: str
    connect_timeout: float = 10.0
    acse_timeout: float = 30.0
    dimse_timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One instance in the ledger, as claimed by a worker or as shown to an operator.

    Attributes
    ----------
    id : str
        The node's own id of the instance; also the stem of its file names in the spool.
    attempts : int
        Claims so far; with ``owner`` the fence of every settle.
    policy, destinations : str or None, tuple of str
        Set by ``queue release``: the policy to carry out and where the result goes, instead of what the routes say.
    conflict : bool
        Another instance with the same SOP Instance UID and other bytes was received.
    priority : Priority
        That of its route, as far as the receiver could tell.
    """

    id: str
    instance: SOPInstance
    origin: Origin
    state: State
    digest: str
    size: int
    attempts: int = 0
    owner: str | None = None
    reason: str | None = None
    policy: str | None = None
    destinations: tuple[str, ...] = ()
    redacted_file: str | None = None
    conflict: bool = False
    priority: Priority = Priority.MEDIUM


@dataclass(frozen=True, slots=True)
class Delivery:
    """One instance on its way to one destination.

    ``instance`` is that of the *clean* file: redaction may have changed the transfer syntax. ``study_instance_uid`` is
    the one that was received. ``redacted_digest`` is None where an older release has written the clean file.
    """

    entry_id: str
    destination: str
    instance: SOPInstance
    origin: Origin
    state: State
    redacted_file: str
    size: int
    attempts: int = 0
    owner: str | None = None
    failures: int = 0
    not_before: float = 0.0
    reason: str | None = None
    status: int | None = None
    priority: Priority = Priority.MEDIUM
    study_instance_uid: str = ""
    redacted_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Store:
    """An S3-compatible store, and how it is reached.

    Attributes
    ----------
    url : str
        ``s3://bucket/prefix``
    endpoint : str
        Its URL; that of AWS when empty.
    authorities : str
        File of the CA that has signed its certificate, when it is not one that all trust.
    credentials, profile : str
        AWS's file of credentials and the section in it; no file when the environment has them.
    """

    url: str
    endpoint: str = ""
    authorities: str = ""
    credentials: str = ""
    profile: str = "default"


@dataclass(frozen=True, slots=True)
class WaterMarks:
    """Between which bounds instances are taken in; all in bytes.

    Attributes
    ----------
    minimum_free, resume_free : int
        With less free than the first none is taken in, until the second is free again.
    high_water, low_water : int
        With more in the spool than the first none is taken in, until no more than the second is left; no bound when 0.
    """

    minimum_free: int = 0
    resume_free: int = 0
    high_water: int = 0
    low_water: int = 0


class Kept(NamedTuple):
    """How much is kept of the instances in one state.

    ``original_bytes`` arrived, ``clean_bytes`` were written of the same instances.
    """

    instances: int = 0
    original_bytes: int = 0
    clean_bytes: int = 0


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What a destination said of one C-STORE (PS3.4 B.2.3)."""

    status: int

    @property
    def delivered(self) -> bool:
        """Whether the peer has the instance."""
        return self.status in DELIVERED_STATUSES

    def __str__(self) -> str:
        return f"{self.status:04X}H"


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """What a destination says of one request for storage commitment (PS3.4 J.3.3).

    Attributes
    ----------
    transaction_uid : str
        Of the request.
    committed : frozenset of str
        SOP Instance UIDs that the destination has taken the responsibility for.
    failed : dict of str to int
        SOP Instance UIDs that it has not, and the Failure Reason (0008,1197) of each.
    """

    transaction_uid: str
    committed: frozenset[str]
    failed: dict[str, int]


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of pixels in a range of frames, in pixels, row and column counted from 0.

    ``source`` says what found it: ``text``, ``rule``, ``overlay``. ``last_frame`` is included. ``kind`` says what was
    read there; two rectangles that differ by it alone are the same region.
    """

    row: int
    column: int
    height: int
    width: int
    first_frame: int = 0
    last_frame: int = 0
    source: str = "text"
    kind: Kind = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Redaction:
    """What was done to one instance.

    Attributes
    ----------
    outcome : Outcome
        Whether pixels or planes changed.
    regions : tuple of Region
        What was painted.
    actions : tuple of str
        What was done to the planes beside the pixels (``overlay removed``, ``icon removed`` ...).
    engine : str
        The detector and its version.
    seconds : dict of str to float
        ``decode``, ``detect``, ``encode``.
    """

    outcome: Outcome
    regions: tuple[Region, ...] = ()
    actions: tuple[str, ...] = ()
    engine: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RedactedFile:
    """A clean file that stands durably in the spool.

    ``digest`` is the text of the digest of what was written; None where nobody has looked.
    """

    name: str
    path: Path
    instance: SOPInstance
    size: int
    digest: str | None = None
