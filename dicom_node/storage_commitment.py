"""The data sets of the Storage Commitment Push Model (PS3.4 J.3.2, J.3.3), for both ends of it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_node.model import CommitmentReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dicom_node.model import SOPInstance

PUSH_MODEL = UID("1.2.840.10008.1.20.1")
PUSH_MODEL_INSTANCE = UID("1.2.840.10008.1.20.1.1")
REQUEST_STORAGE_COMMITMENT = 1
"""The only Action Type."""

_SUCCESS, _PROCESSING_FAILURE, _NO_SUCH_EVENT_TYPE, _INVALID_ARGUMENT = 0x0000, 0x0110, 0x0113, 0x0115
_COMPLETE, _FAILURES_EXIST = 1, 2
"""The Event Types."""

log = structlog.get_logger()


def new_transaction_uid() -> str:
    """Make a transaction UID that nobody can guess: who knows it can say that instances are committed."""
    return f"2.25.{uuid.uuid4().int}"


def action_information(transaction_uid: str, instances: Iterable[SOPInstance]) -> Dataset:
    """Make the Action Information that asks for the commitment to instances (PS3.4 table J.3-1)."""
    information = Dataset()
    information.TransactionUID = UID(transaction_uid)
    # Of an instance that was received with two contents, the destination has one UID.
    classes = {each.sop_instance_uid: each.sop_class_uid for each in instances}
    information.ReferencedSOPSequence = [_reference(sop_class, uid) for uid, sop_class in classes.items()]
    return information


def read_report(information: Dataset) -> CommitmentReport:
    """Read the Event Information of a report (PS3.4 table J.3-2).

    Raises
    ------
    ValueError
        When it is not one; the message carries nothing of its content.
    """
    try:
        return CommitmentReport(
            transaction_uid=str(information.TransactionUID),
            committed=frozenset(
                str(item.ReferencedSOPInstanceUID) for item in information.get("ReferencedSOPSequence") or ()
            ),
            failed={
                str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason") or _PROCESSING_FAILURE)
                for item in information.get("FailedSOPSequence") or ()
            },
        )
    except (AttributeError, TypeError, ValueError):
        msg = "not a report of storage commitment"
        raise ValueError(msg) from None


def answer(event: Any, take: Callable[[CommitmentReport], int]) -> tuple[int, None]:  # noqa: ANN401 - pynetdicom's Event
    """Answer an event of pynetdicom's, ``EVT_N_EVENT_REPORT``, with :func:`status_of`."""
    sop_class_uid, event_type = event.request.AffectedSOPClassUID, event.event_type
    return status_of(sop_class_uid, event_type, lambda: event.event_information, take), None


def status_of(
    sop_class_uid: str, event_type: int | None, decoded: Callable[[], Dataset], take: Callable[[CommitmentReport], int]
) -> int:
    """Answer an N-EVENT-REPORT: Success once what it says is written down.

    Parameters
    ----------
    sop_class_uid, event_type
        Affected SOP Class UID and Event Type ID.
    decoded : callable
        Decodes the Event Information.
    take : callable
        Writes a report down, and returns how many instances are sent by it.
    """
    if sop_class_uid != PUSH_MODEL or event_type not in (_COMPLETE, _FAILURES_EXIST):
        return _NO_SUCH_EVENT_TYPE
    try:
        report = read_report(decoded())
        sent = take(report)
    except ValueError as error:
        log.warning("commitment", action="refused", exc_info=error)
        return _INVALID_ARGUMENT
    except Exception as error:  # whatever it was, the report is not written down
        log.warning("commitment", action="refused", exc_info=error)
        return _PROCESSING_FAILURE
    log.info("commitment", action="reported", count=sent, failures=len(report.failed))
    return _SUCCESS


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = UID(sop_class_uid), UID(sop_instance_uid)
    return item
