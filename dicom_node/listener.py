"""Where all receivers of a node listen: one socket, and one table of who has an association.

The supervisor opens both, and hands them to every receiver (``docs/decisions/0011-receivers.md``).
"""

from __future__ import annotations

import os
import socket
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Self

from dicom_node.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_node.config import Receive

_BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Listener:
    """What receivers share.

    Attributes
    ----------
    socket : socket.socket
        Listens, and does not block: of those that wait for a connection, one gets it.
    associations : file
        For :class:`~dicom_node.storage_scp_table.AssociationTable`; empty at first, and nameless.
    is_shared : bool
        Whether other processes have it too.
    """

    socket: socket.socket
    associations: IO[bytes]
    is_shared: bool = False

    @classmethod
    def open(cls, receive: Receive, *, is_shared: bool = False) -> Self:
        """Listen.

        Raises
        ------
        ConfigurationError
            When the address is not this machine's, or the port is taken.
        """
        family = socket.AF_INET6 if ":" in receive.host else socket.AF_INET
        try:
            listening = socket.create_server((receive.host, receive.port), family=family, backlog=_BACKLOG)
        except OSError as error:
            msg = f"receive: {receive.host} port {receive.port}: cannot be listened on: {error.strerror}"
            raise ConfigurationError(msg) from None
        listening.settimeout(0)
        return cls(listening, _memory(), is_shared)

    @classmethod
    def inherited(cls, descriptors: Sequence[int], *, is_shared: bool) -> Self:
        """Take over what :attr:`descriptors` of the supervisor's were."""
        listening, associations = descriptors
        return cls(socket.socket(fileno=listening), open(associations, "r+b"), is_shared)  # noqa: PTH123

    @property
    def descriptors(self) -> list[int]:
        """What a receiver needs to have it too."""
        return [self.socket.fileno(), self.associations.fileno()]

    def close(self) -> None:
        """Listen no more, as far as this process goes."""
        self.socket.close()
        self.associations.close()


def _memory() -> IO[bytes]:
    """Make a file without a name; on no disk where the system has such files, as a container's can be read-only."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("associations"), "r+b")  # noqa: PTH123 - a descriptor, closed by its owner
    return tempfile.TemporaryFile()
