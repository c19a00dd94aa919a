"""The error tree, and what each error means for the instance it happened to.

::

    DicomNodeError
    ├── ConfigurationError   nothing starts; names file, key and what is allowed
    ├── SpoolFull            receive: A700, the sender keeps its copy; redact: the instance waits for room
    ├── Refuse               receive only: the DIMSE status the sender hears
    ├── Defer                send only: try again later; nothing is lost, no attempt is spent
    │   ├── DestinationBusy  it may take others no better: after some of these in a row it is taken to be down
    │   ├── DestinationDown  the destination as a whole does not take instances now
    │   └── RedactAgain      the disk has not kept the clean file: it is made again, from the original
    └── Hold                 the instance waits for an operator, with a reason
        └── Damaged          what stands in the spool is not what arrived: a resend is taken in anew

Anything that is none of these becomes ``Hold`` in :mod:`dicom_node.worker`. A message never carries an element value:
reasons are shown by ``queue list`` and written to the log.
"""

from __future__ import annotations


class DicomNodeError(Exception):
    """Whatever this package raises on purpose."""


class ConfigurationError(DicomNodeError):
    """The configuration cannot be used; the message names file, key and what is allowed."""


class SpoolFull(DicomNodeError):  # noqa: N818 - errors are named for what happened, see the tree
    """The spool has no room (or is not writable): nothing was accepted."""


class Refuse(DicomNodeError):  # noqa: N818 - errors are verbs of the queue
    """The instance is not accepted.

    Parameters
    ----------
    status : int
        DIMSE status of the C-STORE response (PS3.7 C, PS3.4 B.2.3).
    comment : str
        Error Comment (0000,0902), at most 64 characters, never an element value.
    """

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(f"{status:04X}H {comment}")
        self.status = status
        self.comment = comment[:64]


class Defer(DicomNodeError):  # noqa: N818
    """A delivery is tried again later; the reason carries no element value."""


class DestinationBusy(Defer):
    """An instance was not taken, and others may fare no better: lost associations, full disks."""


class DestinationDown(Defer):
    """No instance reaches this destination now: all its deliveries wait, not only this one."""


class RedactAgain(Defer):
    """The clean file of a delivery is not the one that was written; the original is still there."""

    def __init__(self) -> None:
        super().__init__("the clean file is not the one that was written")


class Hold(DicomNodeError):  # noqa: N818
    """The instance (or one delivery of it) waits for an operator; the reason carries no element value."""


class Damaged(Hold):
    """The bytes of an instance are not those that had Success: its sender may still have them."""

    def __init__(self) -> None:
        super().__init__("its bytes are not those that arrived")
