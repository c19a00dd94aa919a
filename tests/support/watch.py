"""What no peer may change: the receiver lives, stays small, writes only its spool, and serves the others."""

from __future__ import annotations

import hashlib
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.uid import generate_uid

from dicom_node.queue.sidecar import digest_of
from tests.support.processes import wait_until
from tests.support.wire import ASSOCIATE_AC, RELEASE, Wire, associate_rq

if TYPE_CHECKING:
    from tests.support.node import Node

SERVED_SECONDS = 10.0
"""How soon an ordinary C-ECHO and C-STORE are answered beside hostile peers, on a busy machine of two cores."""

_STANDS = {"node.yaml", "stdout", "stderr", "data/ledger.db", "data/ledger.db-wal", "data/ledger.db-shm"}
_STANDS |= {"data/ledger.db-journal"}


class Watch:
    """Watches the receiver of a node that runs.

    Parameters
    ----------
    node : Node
        It has been started with the role ``receive``, and is empty.
    image : Path
        What an ordinary modality sends meanwhile; each time it is an instance of its own.

    Attributes
    ----------
    confirmed : set of str
        Hashes of the data sets of which Success was heard; a test adds its own.
    possible : set of str
        Hashes of data sets that may be kept, though Success was not heard.
    """

    def __init__(self, node: Node, image: Path) -> None:
        self._node = node
        (self._pid,) = node.roles("receive")
        self._class, self._syntax, self._uid, self._data_set = parts_of(image)
        self.confirmed: set[str] = set()
        self.possible: set[str] = set()
        self._stored: dict[str, str] = {}

    def all_is_well(self, mebibytes: int = 150, source: str = "127.0.0.1") -> None:
        """Fail unless it is so; ``mebibytes`` is what the receiver may have taken at its peak."""
        started = time.monotonic()
        self.is_served(source)
        assert time.monotonic() - started < SERVED_SECONDS
        assert self._node.roles("receive") == {self._pid}, "the receiver died"
        assert self.peak_mebibytes() < mebibytes
        self.only_the_spool_is_written()

    def is_served(self, source: str = "127.0.0.1") -> None:
        """C-ECHO and C-STORE an ordinary instance, on an association of its own."""
        with Wire(self._node.port, source) as wire:
            assert wire.associate(associate_rq(self._class, [self._syntax], calling="MODALITY")) == ASSOCIATE_AC
            assert wire.echo() == 0x0000
            uid = generate_uid()[: len(self._uid)].rstrip(".").ljust(len(self._uid), "1")
            data_set = self._data_set.replace(self._uid.encode(), uid.encode())
            assert wire.store(self._class, uid, data_set) == 0x0000
            wire.send(RELEASE)
        self.confirmed.add(data_set_hash(data_set))

    def what_had_success_and_nothing_else_is_kept(self) -> None:
        """Compare the data sets that have a row in the ledger with those of which Success was heard, byte for byte."""
        for entry in (summary.entry for summary in self._node.entries()):
            if entry.id not in self._stored:
                path = self._node.data_dir / "spool" / "received" / f"{entry.id}.dcm"
                assert digest_of(path, entry.digest) == entry.digest
                self._stored[entry.id] = _data_set_hash_of(path)
        assert self.confirmed <= set(self._stored.values()) <= self.confirmed | self.possible

    def nothing_is_left_over(self) -> None:
        """Wait until no temporary file of a broken transfer is there."""
        incoming = self._node.data_dir / "spool" / "incoming"
        wait_until("incoming is empty", lambda: not list(incoming.iterdir()))

    def only_the_spool_is_written(self) -> None:
        """Look through the folder that the node stands in, and the folder around it."""
        folder, around = self._node.folder, self._node.folder.parent
        spool = self._node.data_dir / "spool"
        files = (path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(spool))
        assert {str(path.relative_to(folder)) for path in files} <= _STANDS
        assert {path for path in around.iterdir() if path.is_file()} == set()
        assert {path.name for path in spool.iterdir()} == {"incoming", "received", "redacted"}
        assert not any(path.is_dir() for path in spool.glob("*/*"))

    def peak_mebibytes(self) -> int:
        """Most memory that the receiver has had."""
        return self._status("VmHWM") >> 10

    @property
    def threads(self) -> int:
        """How many threads the receiver has."""
        return self._status("Threads")

    @property
    def descriptors(self) -> int:
        """How many files and sockets the receiver has open."""
        return len(list(Path(f"/proc/{self._pid}/fd").iterdir()))

    @property
    def cpu_seconds(self) -> float:
        """Processor time the receiver has used."""
        fields = Path(f"/proc/{self._pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self._pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))


def parts_of(image: Path) -> tuple[str, str, str, bytes]:
    """Return SOP class, transfer syntax, SOP Instance UID and the data set as it is encoded, of a file."""
    dataset = dcmread(image, specific_tags=["SOPClassUID", "SOPInstanceUID"])
    meta, content = dataset.file_meta, image.read_bytes()
    data_set = content[144 + struct.unpack_from("<I", content, 140)[0] :]
    return str(dataset.SOPClassUID), str(meta.TransferSyntaxUID), str(dataset.SOPInstanceUID), data_set


def _data_set_hash_of(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(140)
        file.seek(144 + struct.unpack("<I", file.read(4))[0])
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_set_hash(data_set: bytes) -> str:
    """Hash an encoded data set."""
    return hashlib.sha256(data_set).hexdigest()
