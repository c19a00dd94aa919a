"""Requests for storage commitment: N-ACTION to a destination, and what it reports at once (PS3.4 J.3.2, J.3.3)."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from pynetdicom import evt

from dicom_node.errors import Defer, Hold
from dicom_node.storage_commitment import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_STORAGE_COMMITMENT,
    action_information,
    answer,
)
from dicom_node.storage_scu import request_association
from dicom_node.storage_scu_native import NATIVE_SYNTAXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pynetdicom.association import Association

    from dicom_node.model import CommitmentReport, RemoteAE, SOPInstance
    from dicom_node.tls import Context

_SUCCESS = 0x0000
_FOR_NOW = frozenset({None, 0x0110, 0x0213})
"""No answer, processing failure, resource limitation."""

OPEN_SECONDS = 20.0
"""The association stays open for so long without a word: a destination may report on it. Later it opens its own."""


class StorageCommitmentSCU:
    """Asks one destination, on an association of its own. Not for use by two threads at once.

    Parameters
    ----------
    remote : RemoteAE
        Address, AE titles and time-outs.
    tls : tuple of Context and str, optional
        As of :class:`~dicom_node.storage_scu.StorageSCU`.
    take : callable
        Writes down a report that comes on the same association; it is called in another thread.
    """

    def __init__(
        self, remote: RemoteAE, tls: tuple[Context, str] | None, take: Callable[[CommitmentReport], int]
    ) -> None:
        self._remote = remote
        self._tls = tls
        self._handlers = [(evt.EVT_N_EVENT_REPORT, partial(answer, take=take))]
        self._association: Association | None = None
        self._answering = threading.Lock()

    def request(self, transaction_uid: str, instances: Iterable[SOPInstance]) -> None:
        """Ask for the commitment to instances that were stored; it is asked for when this returns.

        Raises
        ------
        DestinationDown
            When no association comes about.
        Defer
            When the outcome is unknown, or the destination refused for now.
        Hold
            When the destination takes no such request.
        """
        association = self._associate()
        information = action_information(transaction_uid, instances)
        try:
            response, _ = association.send_n_action(
                information, REQUEST_STORAGE_COMMITMENT, PUSH_MODEL, PUSH_MODEL_INSTANCE
            )
        except RuntimeError:
            msg = "the association for storage commitment ended"
            raise Defer(msg) from None
        status = response.get("Status")
        if status == _SUCCESS:
            return
        self.close()
        answered = "was not answered" if status is None else f"was answered {status:04X}H"
        msg = f"it is stored, but the request for storage commitment {answered}"
        raise Defer(msg) if status in _FOR_NOW else Hold(msg)

    def close(self) -> None:
        """Release the association, if there is one."""
        association, self._association = self._association, None
        # pynetdicom would release while a report is being answered, and the response break the association.
        with self._answering:
            if association is not None and association.is_established:
                association.release()

    def _associate(self) -> Association:
        if self._association is None or not self._association.is_established:
            proposed = [(str(PUSH_MODEL), syntax) for syntax in NATIVE_SYNTAXES]
            try:
                self._association = request_association(self._remote, self._tls, proposed, self._handlers)
            except Hold:
                msg = "it is stored, but the destination does not accept Storage Commitment Push Model"
                raise Hold(msg) from None
            self._association.network_timeout = OPEN_SECONDS
            serve = self._association._serve_request  # noqa: SLF001 - all of it, until the response is on its way
            self._association._serve_request = partial(self._serve, self._association, serve)  # noqa: SLF001
        return self._association

    def _serve(
        self, association: Association, serve: Callable[[object, int], None], message: object, context: int
    ) -> None:
        # Not to be had: the association is being released, and pynetdicom waits there for this thread to go on.
        if not self._answering.acquire(blocking=False):
            return
        try:
            if association.is_established:
                serve(message, context)
        finally:
            self._answering.release()
