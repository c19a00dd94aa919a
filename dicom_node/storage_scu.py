"""Associations out: a clean file by C-STORE, and what the destination says of it (PS3.4 B, PS3.7 9.1.1)."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Literal

from pydicom.uid import UID
from pynetdicom import _config, build_context
from pynetdicom.sop_class import Verification

from dicom_node.errors import Defer, DestinationBusy, DestinationDown, Hold
from dicom_node.model import Priority, StoreStatus
from dicom_node.storage_scu_association import Requestor
from dicom_node.storage_scu_native import NATIVE_SYNTAXES, as_native

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pydicom.dataset import Dataset
    from pynetdicom.association import Association

    from dicom_node.model import RemoteAE, SOPInstance
    from dicom_node.tls import Context

_Context = tuple[str, str]
_Disposition = Literal["deliver", "busy", "defer", "few tries", "hold"]

DISPOSITIONS: tuple[tuple[int, int, _Disposition], ...] = (
    (0x0000, 0x0000, "deliver"),
    (0xB000, 0xB000, "deliver"),  # coercion of data elements
    (0xB006, 0xB007, "deliver"),  # elements discarded; data set does not match SOP class
    (0x0110, 0x0110, "defer"),  # processing failure
    (0x0213, 0x0213, "busy"),  # resource limitation
    (0xA700, 0xA7FF, "busy"),  # out of resources
    (0x0117, 0x0117, "hold"),  # invalid SOP instance
    (0x0122, 0x0122, "hold"),  # SOP class not supported
    (0x0124, 0x0124, "hold"),  # not authorised
    (0x0211, 0x0212, "hold"),  # unrecognised operation, mistyped argument
    (0xA900, 0xA9FF, "hold"),  # data set does not match SOP class
)
"""What each range of statuses (PS3.4 B.2.3, PS3.7 C) means for a delivery.

Any other, C000-CFFF ("cannot understand") above all, gets a few tries: some PACS answer it when they are merely busy.
"""

FEW_TRIES = 3

_MAXIMUM_CONTEXTS = 128
_MAXIMUM_PDU_LENGTH = 131072
_BYTES_PER_SECOND = 1 << 18
"""The slowest destination that is waited for; ``dimse_timeout`` comes on top."""


class StorageSCU:
    """One destination, and the association that is open to it. Not for use by two threads at once.

    Call :meth:`close` when there is nothing more to send: peers have few associations, and one that is open keeps the
    process alive. The process is the sender's own: this sets pynetdicom's process-wide switches.

    Parameters
    ----------
    remote : RemoteAE
        Address, AE titles and time-outs.
    tls : tuple of Context and str, optional
        To speak TLS, and the name that the destination's certificate has to be for.
    """

    def __init__(self, remote: RemoteAE, tls: tuple[Context, str] | None = None) -> None:
        _settle_pynetdicom()
        self._remote = remote
        self._tls = tls
        self._association: Association | None = None
        self._proposed: frozenset[_Context] = frozenset()
        self._asked: dict[_Context, None] = {}

    def send(
        self,
        path: Path,
        instance: SOPInstance,
        contexts: Iterable[_Context] = (),
        *,
        failures: int = 0,
        priority: Priority = Priority.MEDIUM,
    ) -> StoreStatus:
        """Send an instance, over the association that is open if its context was proposed there.

        Parameters
        ----------
        path : Path
            The clean file, with File Meta Information. It goes out as it is, without being held in memory.
        instance : SOPInstance
            What is in the file.
        contexts : iterable of (str, str)
            SOP Class and Transfer Syntax UIDs of what else waits for this destination, to be proposed along.
        failures : int
            Failed tries of this delivery so far.
        priority : Priority
            Said in the C-STORE-RQ.

        Returns
        -------
        StoreStatus
            Success, or a warning with which the destination has stored the instance.

        Raises
        ------
        DestinationDown
            When no association comes about.
        DestinationBusy
            When the outcome is unknown or the destination is out of resources: send the same instance again.
        Defer
            When the destination refused for now.
        Hold
            When sending again would not help.
        """
        needed = instance.sop_class_uid, instance.transfer_syntax_uid
        for context in (*contexts, needed):
            self._asked.pop(context, None)
            self._asked[context] = None
        association = self._associate(needed)
        content = _fitting(path, instance, _accepted(association))
        try:
            association.dimse_timeout = self._remote.dimse_timeout + path.stat().st_size / _BYTES_PER_SECOND
            status = _store(association, content, priority)
        except ConnectionError:
            status = None
        if status is None:
            self._abort()
            msg = "the association was lost, or timed out, before the response: outcome unknown"
            raise DestinationBusy(msg)
        return _judged(status, failures)

    @property
    def echo_seconds(self) -> float:
        """Longest time that :meth:`echo` takes."""
        remote = self._remote
        return remote.connect_timeout + 2 * remote.acse_timeout + remote.dimse_timeout

    def echo(self) -> float:
        """Verify the destination by C-ECHO, on an association of its own; return the seconds that took.

        Raises
        ------
        DestinationDown
            When there is no association, or no Success.
        Hold
            When the destination does not take the Verification context.
        """
        started = time.monotonic()
        association = self._request({(Verification, NATIVE_SYNTAXES[1])})
        status = association.send_c_echo()
        association.release()
        if status.get("Status") != 0x0000:
            msg = "C-ECHO was not answered with Success"
            raise DestinationDown(msg)
        return time.monotonic() - started

    def close(self) -> None:
        """Release the association, if there is one."""
        association, self._association = self._association, None
        if association is not None:
            association.release()

    def _associate(self, needed: _Context) -> Association:
        """Return an association on which ``needed`` was proposed."""
        if self._association is not None and self._association.is_established and needed in self._proposed:
            return self._association
        self.close()
        self._asked = dict.fromkeys(list(self._asked)[-_MAXIMUM_CONTEXTS:])
        self._proposed = frozenset(_proposal(list(self._asked)))
        self._association = self._request(self._proposed)
        return self._association

    def _request(self, contexts: Iterable[_Context]) -> Association:
        return request_association(self._remote, self._tls, contexts)

    def _abort(self) -> None:
        association, self._association = self._association, None
        if association is not None:
            association.abort()


def request_association(
    remote: RemoteAE,
    tls: tuple[Context, str] | None,
    contexts: Iterable[_Context],
    handlers: Sequence[tuple[Any, Any]] = (),
) -> Association:
    """Associate with a destination, or say why that cannot be done.

    Parameters
    ----------
    contexts : iterable of (str, str)
        Abstract and transfer syntaxes to propose.
    handlers : sequence
        ``(event, callable)`` as pynetdicom has them, for what the destination asks of us.

    Raises
    ------
    DestinationDown
        When no association comes about.
    Hold
        When the destination accepts none of the contexts.
    """
    ae = Requestor(remote.calling_ae_title)
    ae.connection_timeout = remote.connect_timeout
    ae.acse_timeout = remote.acse_timeout
    ae.dimse_timeout = remote.dimse_timeout
    requested = [build_context(abstract, syntax) for abstract, syntax in contexts]
    try:
        association = ae.associate(
            remote.host,
            remote.port,
            requested,
            remote.ae_title,
            _MAXIMUM_PDU_LENGTH,
            tls_args=tls,
            evt_handlers=list(handlers),
        )
    except OSError as error:
        msg = f"the destination's address cannot be used: {error.strerror}"
        raise DestinationDown(msg) from None
    if not association.is_established:
        raise _no_association(association)
    # A PACS that sees A-ABORT logs an error; an association that is only idle ends in peace.
    association.network_timeout_response = "A-RELEASE"
    return association


def _proposal(asked: list[_Context]) -> list[_Context]:
    """List the contexts to propose, the last asked first, each with the native syntaxes to fall back on."""
    wanted = (
        (sop_class, candidate) for sop_class, syntax in reversed(asked) for candidate in (syntax, *NATIVE_SYNTAXES)
    )
    return list(dict.fromkeys(wanted))[:_MAXIMUM_CONTEXTS]


def _accepted(association: Association) -> set[_Context]:
    return {
        (str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in association.accepted_contexts
    }


def _fitting(path: Path, instance: SOPInstance, accepted: set[_Context]) -> Path | Dataset:
    """Return the file when its syntax is accepted, or else its data set in a native one that is."""
    if (instance.sop_class_uid, instance.transfer_syntax_uid) in accepted:
        return path
    if any((instance.sop_class_uid, syntax) in accepted for syntax in NATIVE_SYNTAXES):
        return as_native(path)
    names = ", ".join(UID(syntax).name for syntax in dict.fromkeys((instance.transfer_syntax_uid, *NATIVE_SYNTAXES)))
    msg = f"for this SOP Class the destination accepts none of: {names}"
    raise Hold(msg)


def _store(association: Association, content: Path | Dataset, priority: Priority) -> int | None:
    """Send, and return the status; None when there was none."""
    try:
        response = association.send_c_store(content, priority=int(priority))
    except (AttributeError, ValueError):
        msg = "the file cannot be sent: its File Meta Information is not complete, or not that of the instance"
        raise Hold(msg) from None
    except RuntimeError as error:
        msg = "the association ended"
        raise ConnectionError(msg) from error
    status = response.get("Status")
    return None if status is None else int(status)


def _judged(status: int, failures: int) -> StoreStatus:
    """Turn a status into what becomes of the delivery."""
    answer = StoreStatus(status)
    disposition = next((what for first, last, what in DISPOSITIONS if first <= status <= last), "few tries")
    if disposition == "deliver":
        return answer
    msg = f"the destination answered {answer}"
    if disposition == "hold" or (disposition == "few tries" and failures + 1 >= FEW_TRIES):
        raise Hold(msg)
    if disposition == "busy":
        raise DestinationBusy(msg)
    raise Defer(msg)


def _no_association(association: Association) -> DestinationDown | Hold:
    answer = association.acceptor.primitive
    if association.is_rejected:
        # Also when it is said to be for good: an AE title that is wrong in a configuration is soon put right, and then
        # everything goes out by itself. Held one by one, every instance would wait for an operator.
        return DestinationDown(f"association rejected: {answer.reason_str}")
    if association.rejected_contexts:
        return Hold("the destination accepts none of the proposed SOP Classes and transfer syntaxes")
    if failure := association.dul.socket.tls_failure:
        return DestinationDown(f"no association: TLS: {failure}")
    return DestinationDown("no association: the connection was refused, timed out or aborted")


def _settle_pynetdicom() -> None:
    _config.STORE_SEND_CHUNKED_DATASET = True
    # Per PDU, these cost more than the PDU; and what pynetdicom tells of has element values in it.
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
