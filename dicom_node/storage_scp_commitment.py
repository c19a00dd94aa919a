"""Reports on storage commitment that a destination brings on an association of its own (PS3.4 J.3.3).

The node is no SCP of storage commitment: it deletes what it has passed on, and cannot answer for it. It accepts the
context of the Push Model in one case: a destination that is asked for commitments calls, and proposes the role of SCP
for itself (PS3.7 D.3.3.4). All it can do then is report.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pynetdicom import build_context, build_role, evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT

from dicom_node.storage_commitment import PUSH_MODEL, answer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pynetdicom.association import Association
    from pynetdicom.events import Event
    from pynetdicom.presentation import PresentationContext

    from dicom_node.queue import Queue


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

    @property
    def handlers(self) -> list[tuple[Any, Any]]:
        """``(event, callable)`` as pynetdicom has them."""
        return [(evt.EVT_N_EVENT_REPORT, self._on_report)]

    def _on_report(self, event: Event) -> tuple[int, None]:
        destinations = self._reporters.get(event.assoc.requestor.ae_title, ())
        return answer(event, partial(self._queue.commit, destinations=destinations))


def offer_reports(association: Association, reporters: Collection[str]) -> None:
    """Let the association's negotiation accept the Push Model from a destination that brings reports."""
    if association.requestor.primitive.calling_ae_title in reporters:
        context = build_context(PUSH_MODEL)
        context.scu_role, context.scp_role = False, True  # what is granted to the requestor
        association.acceptor.supported_contexts = [*association.acceptor.supported_contexts, context]


def takes_reports(context: PresentationContext) -> bool:
    """Whether an accepted context is for reports: without the roles reversed, it would be for requests."""
    return bool(context.abstract_syntax == PUSH_MODEL and context.as_scu and not context.as_scp)


def grant_reports(association: Association) -> None:
    """Answer the proposed roles: pynetdicom's unrestricted negotiation settles them, and leaves the answer out."""
    if any(takes_reports(context) for context in association.accepted_contexts):
        association.acceptor.add_negotiation_item(build_role(PUSH_MODEL, scp_role=True))


def is_report(association: Association, context_id: int, message: object) -> bool:
    """Whether a message is a report, on a context that was accepted for them."""
    context = association._accepted_cx.get(context_id)  # noqa: SLF001 - accepted_contexts is a copy of it
    return isinstance(message, N_EVENT_REPORT) and context is not None and takes_reports(context)
