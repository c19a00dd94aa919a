"""What arrived and where it came from stands in the instance's own file, and changes nothing else of it."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydicom import dcmread

from dicom_node.model import Origin, Priority, SOPInstance
from dicom_node.queue import Accepted, Ledger, Queue, Reconciliation, Sidecar, Spool
from dicom_node.queue.direct import Buffers
from dicom_node.queue.sidecar import ROOM, copy_without, digest_of, file_meta
from dicom_node.redaction import part10
from dicom_node.storage_scp_file import IncomingFile
from tests.support.ledgers import empty
from tests.support.spools import WholeFile, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTANCE = SOPInstance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")
ORIGIN = Origin("MODALITY", "NODE", "192.0.2.7", 1_700_000_000.25)
ENTRY = "a" * 32
DATA_SET = struct.pack("<HH2sH26s", 0x0008, 0x0016, b"UI", 26, b"1.2.840.10008.5.1.4.1.1.2\0")
DATA_SET += struct.pack("<HH2sH6s", 0x0008, 0x0018, b"UI", 6, b"1.2.3\0")


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(Spool(tmp_path / "spool"), Ledger(f"sqlite:///{tmp_path / 'ledger.db'}"))
    queue.spool.prepare()
    queue.ledger.create()
    yield queue
    queue.ledger.close()


def received(queue: Queue, data_set: bytes = DATA_SET) -> IncomingFile:
    uids = INSTANCE.sop_class_uid, INSTANCE.sop_instance_uid, INSTANCE.transfer_syntax_uid
    file = IncomingFile(queue.spool.incoming, uids, queue.room.check, Buffers())
    file.room(len(data_set))[:] = data_set
    file.fill(len(data_set))
    file.finish()
    return file


def content_of(file: IncomingFile) -> bytes:
    with file.open() as opened:
        return opened.read()


def original(queue: Queue, entry_id: str) -> Path:
    assert isinstance(queue.spool, Spool)
    return queue.spool.original(entry_id)


def accepted(queue: Queue) -> str:
    return queue.accept(received(queue), INSTANCE, ORIGIN, Priority.HIGH)[0]


def only_file(queue: Queue) -> Path:
    (path,) = (path for path in queue.spool.incoming.parent.rglob("*") if path.is_file())
    return path


def test_an_instance_is_one_file_that_says_what_the_ledger_knows(queue: Queue) -> None:
    entry_id = accepted(queue)
    path = only_file(queue)
    entry = queue.ledger.entry(entry_id).entry
    assert queue.spool.sidecar(entry_id) == Sidecar(INSTANCE, ORIGIN, entry.digest, entry.size, Priority.HIGH)
    assert (path.name, path.stat().st_size) == (f"{entry_id}.dcm", entry.size)


def test_a_lost_ledger_is_rebuilt_from_it(queue: Queue, tmp_path: Path) -> None:
    entry = queue.ledger.entry(accepted(queue)).entry
    empty(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert queue.reconcile() == Reconciliation(inserted=1)
    assert queue.ledger.entry(entry.id).entry == entry


def test_only_its_own_room_is_written_and_the_file_is_one_that_others_read(queue: Queue) -> None:
    file = received(queue)
    before = content_of(file)
    queue.spool.put(file, ENTRY, Sidecar(INSTANCE, ORIGIN, file.digest, file.size))
    after = original(queue, ENTRY).read_bytes()
    begin = before.index(ROOM) + len(ROOM.rstrip(b" "))
    assert (after[:begin], after[before.index(ROOM) + len(ROOM) :]) == (before[:begin], DATA_SET)
    dataset = dcmread(original(queue, ENTRY))
    assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert Sidecar.from_json(dataset.file_meta.PrivateInformation) == queue.spool.sidecar(ENTRY)


def test_digests_are_those_of_the_file_without_it_as_in_older_releases(queue: Queue) -> None:
    file = received(queue)
    content = content_of(file)
    elements = content[144 : content.index(ROOM)]
    without = text_of(file_meta(elements) + DATA_SET)
    assert file.digest == without
    queue.spool.put(file, ENTRY, Sidecar(INSTANCE, ORIGIN, without, file.size))
    assert digest_of(original(queue, ENTRY)) == without


def test_a_copy_says_nothing_of_where_it_came_from(queue: Queue, tmp_path: Path) -> None:
    file = received(queue)
    content = content_of(file)
    queue.spool.put(file, ENTRY, Sidecar(INSTANCE, ORIGIN, file.digest, file.size))
    copy = tmp_path / "copy"
    with original(queue, ENTRY).open("rb") as source, copy.open("wb") as target:
        copy_without(source, target)
    assert copy.read_bytes() == file_meta(content[144 : content.index(ROOM)]) + DATA_SET
    with copy.open("rb") as source, io.BytesIO() as target:
        copy_without(source, target)
        assert target.getvalue() == copy.read_bytes()


def test_what_an_older_release_has_taken_in_is_the_same_instance(queue: Queue) -> None:
    new = received(queue)
    content = content_of(new)
    older = WholeFile(queue.spool.incoming / "older", file_meta(content[144 : content.index(ROOM)]) + DATA_SET)
    first, _ = queue.accept(older, INSTANCE, ORIGIN)
    assert original(queue, first).with_suffix(".json").exists()
    assert queue.accept(new, INSTANCE, ORIGIN) == (first, Accepted.DUPLICATE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no file of this kind",
        bytes(128) + b"DICM",
        file_meta(b""),
        file_meta(ROOM)[:-1],
        file_meta(ROOM.replace(b"2.25.", b"2.26.")) + DATA_SET,
        file_meta(ROOM + b" ") + DATA_SET,
    ],
)
def test_where_a_file_has_no_room_it_stands_beside_it(queue: Queue, content: bytes) -> None:
    incoming = WholeFile(queue.spool.incoming / "incoming", content)
    told = Sidecar(INSTANCE, ORIGIN, digest_of(Path(incoming.path)), len(content))
    assert told.digest == incoming.digest
    queue.spool.put(incoming, ENTRY, told)
    assert original(queue, ENTRY).read_bytes() == content
    assert queue.spool.sidecar(ENTRY) == told


def test_one_that_is_too_long_for_the_room_stands_beside_the_file(queue: Queue) -> None:
    file = received(queue)
    before = content_of(file)
    told = Sidecar(INSTANCE, replace(ORIGIN, calling_ae_title="\u00e9" * 200), file.digest, file.size)
    queue.spool.put(file, ENTRY, told)
    assert original(queue, ENTRY).read_bytes() == before
    assert queue.spool.sidecar(ENTRY) == told


@pytest.mark.parametrize("damage", [b"{}", b'{"sha', b"\0" * 100, b" "])
def test_bytes_whose_sidecar_is_damaged_are_never_deleted(queue: Queue, tmp_path: Path, damage: bytes) -> None:
    path = original(queue, accepted(queue))
    content = path.read_bytes()
    begin = content.index(b'{"instance"')
    path.write_bytes(content[:begin] + damage.ljust(len(ROOM) - ROOM.index(b" "))[: len(content) - begin] + DATA_SET)
    empty(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert queue.reconcile(older_than_seconds=0.0) == Reconciliation(unreadable=1)
    assert path.exists()


def test_bytes_that_are_not_those_that_arrived_are_held(queue: Queue, tmp_path: Path) -> None:
    path = original(queue, accepted(queue))
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    empty(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert queue.reconcile() == Reconciliation(held=1)


def test_nothing_of_it_is_in_what_leaves(queue: Queue) -> None:
    path = original(queue, accepted(queue))
    clean = io.BytesIO()
    part10.write(dcmread(path), clean)
    assert not any(told in clean.getvalue() for told in (b"192.0.2.7", b"MODALITY", b"digest", ROOM[:20]))
