"""Reports on storage commitment that a destination brings on an association of its own (PS3.4 J.3.3).

The node is no SCP of storage commitment: it deletes what it has passed on, and cannot answer for it. It accepts the
context of the Push Model in one case: a destination that is asked for commitments calls, and proposes the role of SCP
for itself (PS3.7 D.3.3.4). All it can do then is report.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_role
from pynetdicom.dsutils import decode
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from dicom_node.storage_commitment import PUSH_MODEL, status_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pydicom.dataset import Dataset

    from dicom_node.queue import Queue
    from dicom_node.storage_scp_message import Command
    from dicom_node.storage_scp_negotiation import Context

MAXIMUM_REPORT = 1 << 20
"""Longest report of storage commitment, in bytes: each of the instances that are asked for together has some 200."""

REPORT_SYNTAXES = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian})
"""Transfer syntaxes of reports; none that inflates to more than :data:`MAXIMUM_REPORT`."""

_PIECE = 1 << 12


class EventInformation:
    """The data set of a report, in memory as it comes."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._piece = bytearray(_PIECE)

    def room(self, size: int) -> memoryview:
        """Return where the next of ``size`` bytes may be put.

        Raises
        ------
        ValueError
            When it gets longer than any report.
        """
        if len(self._content) + size > MAXIMUM_REPORT:
            msg = "a report that is too long"
            raise ValueError(msg)
        return memoryview(self._piece)[:size]

    def fill(self, count: int) -> None:
        """Take in so many bytes that were put there."""
        self._content += self._piece[:count]

    def decoded(self, transfer_syntax: str) -> Dataset:
        """Return the data set; whatever pydicom raises when it is none."""
        is_implicit = transfer_syntax == ImplicitVRLittleEndian
        dataset: Dataset = decode(BytesIO(self._content), is_implicit, transfer_syntax != ExplicitVRBigEndian)
        return dataset

    def remove(self) -> None:
        """Nothing of it is in the spool."""


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """An N-EVENT-REPORT-RQ, and its data set."""

    command: Command
    context: Context
    calling_ae_title: str
    file: EventInformation = field(default_factory=EventInformation)


class Reports:
    """Writes down what destinations report.

    Parameters
    ----------
    queue : Queue
        Where their deliveries wait.
    reporters : mapping of str to collection of str
        AE titles of destinations that are asked for commitments, and the names of those that each reports for.
    """

    def __init__(self, queue: Queue, reporters: Mapping[str, Collection[str]]) -> None:
        self._queue = queue
        self._reporters = reporters

    @property
    def ae_titles(self) -> Collection[str]:
        """Who may report."""
        return self._reporters.keys()

    def take(self, request: ReportRequest) -> int:
        """Return the status that the destination hears."""
        command, destinations = request.command, self._reporters.get(request.calling_ae_title, ())
        decoded = partial(request.file.decoded, request.context.transfer_syntax)
        commit = partial(self._queue.commit, destinations=destinations)
        return status_of(command.sop_class_uid, command.event_type, decoded, commit)


def offers_reports(user_information: Iterable[object]) -> bool:
    """Whether who asks for an association wants to be SCP of the Push Model: otherwise it would be for requests."""
    roles = [item for item in user_information if isinstance(item, SCP_SCU_RoleSelectionNegotiation)]
    return any(role.sop_class_uid == PUSH_MODEL and role.scp_role for role in roles)


def granted_role() -> SCP_SCU_RoleSelectionNegotiation:
    """Return the answer to that: SCP, and nothing else."""
    return build_role(PUSH_MODEL, scp_role=True)


def takes_reports(context: Context) -> bool:
    """Whether an accepted context is for reports: the Push Model is accepted for nothing else."""
    return context.abstract_syntax == PUSH_MODEL
