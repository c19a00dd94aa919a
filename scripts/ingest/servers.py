"""Those who are measured, as processes: what they use of the machine, and how they are told to keep what they take."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.node import AE_TITLE, Node
from tests.support.orthanc import Orthanc
from tests.support.peers import StoreSCP
from tests.support.processes import end_marked, marked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.postgresql import PostgreSQL

LONGEST_PDU = 131072
"""What all are told to take, in bytes: storescp knows no more, the node's default is the same."""

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancPostgreSQLIndex.so")
_TICKS = os.sysconf("SC_CLK_TCK")


class Server(ABC):
    """A Storage SCP in a folder of its own."""

    name: str
    keeps: str
    ae_title: str
    port: int

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def start(self) -> None:
        """Start it, and wait until it listens."""

    def end(self) -> None:
        """Kill all of it."""
        end_marked(self.folder)

    @property
    def cpu_seconds(self) -> float:
        """Processor time of its processes and of their children that have ended."""
        return sum(_cpu_seconds(pid) for pid in marked(self.folder))

    @property
    def peak_megabytes(self) -> float:
        """Most memory that any of its processes has had."""
        return max(_peak_kibibytes(pid) for pid in marked(self.folder)) * 1024 / 1e6


class TheNode(Server):
    """The node's receive role: before Success, fsync of the bytes and their directory, and a row."""

    ae_title = AE_TITLE

    def __init__(self, folder: Path, receive: Mapping[str, object], name: str, ledger: str = "") -> None:
        super().__init__(folder)
        self.name = name
        row = (
            "PostgreSQL, synchronous_commit=on"
            if ledger
            else "SQLite, synced with the next change, or made again from the file"
        )
        self.keeps = f"fsync of file and directory, row committed ({row})"
        route = {"name": "all", "policy": "all-text", "destinations": ["out"]}
        self._node = Node(folder, [route], {"out": {"folder": "out"}}, receive=receive, ledger=ledger)
        self.port = self._node.port

    def start(self) -> None:
        """Start its supervisor and receivers; it redacts nothing."""
        self._node.start("--role", "receive")

    @property
    def peak_megabytes(self) -> float:
        """Most memory that one of its receivers has had."""
        return max(map(_peak_kibibytes, self._node.roles("receive"))) * 1024 / 1e6


class DcmtkStoreSCP(Server):
    """dcmtk's storescp with a process for each association, bit for bit to files."""

    name = "storescp"
    ae_title = "PACS"
    keeps = "no fsync at all (it has none), no index"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._storescp = StoreSCP(folder, self.ae_title, "--max-pdu", str(LONGEST_PDU))
        self.port = self._storescp.port

    def start(self) -> None:
        """Start it."""
        self._storescp.start()


class TheOrthanc(Server):
    """Orthanc that syncs its storage area."""

    name = "Orthanc"
    ae_title = "ORTHANC"
    keeps = (
        "fsync of each file (SyncStorageArea), SQLite index as it comes (WAL, synchronous=NORMAL: no fsync a commit)"
    )

    def __init__(self, folder: Path, **settings: object) -> None:
        super().__init__(folder)
        self._orthanc = Orthanc(folder, SyncStorageArea=True, MaximumPduLength=LONGEST_PDU, **settings)
        self.port = self._orthanc.port

    def start(self) -> None:
        """Wait until it listens."""
        self._orthanc.wait_until_it_listens()

    def end(self) -> None:
        """Kill it."""
        self._orthanc.end()


class OrthancOnPostgreSQL(TheOrthanc):
    """The same with its index in PostgreSQL, by its plugin: commits of the index are durable as well."""

    name = "Orthanc, PostgreSQL"
    keeps = "fsync of each file (SyncStorageArea), index committed (PostgreSQL, synchronous_commit=on)"

    def __init__(self, folder: Path, server: PostgreSQL) -> None:
        if not _PLUGIN.exists():
            sys.exit(f"{_PLUGIN} is missing: install Debian's package orthanc-postgresql")
        where = server.url.replace("postgresql+psycopg:", "postgresql:")
        index = {"EnableIndex": True, "EnableStorage": False, "ConnectionUri": where}
        super().__init__(folder, Plugins=[str(_PLUGIN)], PostgreSQL=index)


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):  # it has ended: its parent has it now
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def _peak_kibibytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
