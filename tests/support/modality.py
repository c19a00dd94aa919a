"""A modality as PS3.4 B.2 has it: it keeps an instance, and sends it again, until it has had Success."""

from __future__ import annotations

import sys
import threading
import time
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest
from pydicom import dcmread
from pynetdicom import AE, build_context

from tests.support.images import uid_of
from tests.support.node import AE_TITLE
from tests.support.processes import DEADLINE, wait_until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pynetdicom.association import Association

_SUCCESS = 0x0000
_PAUSE = 0.05
"""Seconds between two instances, and two associations: a modality does not hurry."""

_RETRY = 0.25
"""The same after an association that was not to be had: each costs a socket, and select() takes 1024."""


class _Requestor(AE):  # type: ignore[misc]  # mypy does not follow pynetdicom
    """Remembers its sockets: pynetdicom leaves those open whose connection was refused or lost."""

    def __init__(self, ae_title: str) -> None:
        super().__init__(ae_title)
        self.sockets: list[socket.socket] = []

    def _create_socket(self, *arguments: Any) -> Any:  # noqa: ANN401 - pynetdicom's signature
        connection = super()._create_socket(*arguments)
        self.sockets.append(connection.socket)
        return connection


class Modality(threading.Thread):
    """Sends images one after the other, whatever becomes of the node meanwhile.

    Parameters
    ----------
    port : int
        Of the node.
    paths : sequence of Path
        One SOP Class in one transfer syntax.
    on_success : callable
        Takes each path whose instance has had Success, before anything else is sent.
    others : sequence of int
        More ports, that it turns to one after the other: what a balancer in front of several nodes does.
    of_an_association : int
        At most so many instances over one.
    """

    def __init__(
        self,
        port: int,
        paths: Sequence[Path],
        on_success: Callable[[Path], object] | None = None,
        *,
        others: Sequence[int] = (),
        of_an_association: int = sys.maxsize,
    ) -> None:
        super().__init__(name="modality", daemon=True)
        self._ports = cycle([port, *others])
        self._of_an_association = of_an_association
        self._left = list(paths)
        self._on_success = on_success
        self._ae = _Requestor("MODALITY")
        self._ae.connection_timeout = self._ae.acse_timeout = self._ae.dimse_timeout = 10
        self.confirmed: list[str] = []
        self.resent = 0

    def run(self) -> None:
        """Send until everything has had Success."""
        while self._left:
            association, last = self._associate(), len(self._left) - self._of_an_association
            pause = _PAUSE if association.is_established else _RETRY
            while (
                len(self._left) > max(last, 0) and association.is_established and self._send(association, self._left[0])
            ):
                self._left.pop(0)
                time.sleep(_PAUSE)
            if association.is_established:
                association.release()
            time.sleep(pause)

    def wait_for(self, count: int) -> None:
        """Wait until so many instances have had Success."""
        wait_until(f"{count} confirmed", lambda: len(self.confirmed) >= count, lambda: len(self.confirmed))

    def wait(self) -> None:
        """Wait until everything has had Success."""
        self.join(DEADLINE)
        if self.is_alive():
            pytest.fail("the node did not take everything")
        for each in self._ae.sockets:
            each.close()

    def _associate(self) -> Association:
        first = dcmread(self._left[0], stop_before_pixels=True)
        context = build_context(first.SOPClassUID, first.file_meta.TransferSyntaxUID)
        return self._ae.associate("127.0.0.1", next(self._ports), [context], AE_TITLE)

    def _send(self, association: Association, path: Path) -> bool:
        try:
            status = association.send_c_store(dcmread(path))
        except RuntimeError:  # the association has ended since it was looked at
            return False
        if status.get("Status") != _SUCCESS:
            self.resent += 1
            return False
        self.confirmed.append(uid_of(path))
        if self._on_success:
            self._on_success(path)
        return True
