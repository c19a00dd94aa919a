"""An instance on its way into the spool: whole and hashed, or not there at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydicom import dcmread

from dicom_node.errors import SpoolFull
from dicom_node.model import Origin, SOPInstance
from dicom_node.queue import Sidecar
from dicom_node.queue.direct import Buffers
from dicom_node.queue.sidecar import digest_of, read_from
from dicom_node.storage_scp_file import IncomingFile

if TYPE_CHECKING:
    from collections.abc import Callable

MIB, BLOCK = 1 << 20, 1 << 12
UIDS = ("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1")
INSTANCE = SOPInstance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.4", "1.2.5", "1.2.840.10008.1.2.1")


def asked(numbers: list[int], refuse_at: int = 0) -> Callable[[], None]:
    """Count the questions for room, and refuse one of them."""

    def check_room() -> None:
        numbers.append(len(numbers) + 1)
        if numbers[-1] == refuse_at:
            msg = "no room"
            raise SpoolFull(msg)

    return check_room


def incoming_file(folder: Path, check_room: Callable[[], None]) -> IncomingFile:
    return IncomingFile(folder, UIDS, check_room, Buffers())


def receive(file: IncomingFile, content: bytes) -> None:
    view = memoryview(content)
    while view:
        room = file.room(len(view))
        room[:] = view[: len(room)]
        file.fill(len(room))
        view = view[len(room) :]


def told(file: IncomingFile, calling_ae_title: str = "CT1") -> Sidecar:
    return Sidecar(INSTANCE, Origin(calling_ae_title, "NODE", "192.0.2.7", 1.0), file.digest, file.size)


SIZES = {"in one buffer": 3, "a buffer to the last byte": 0, "in two": MIB, "in blocks alone": 4 * MIB}
"""Bytes of a data set; 0 and whole blocks of those that make the file as long as that."""


@pytest.mark.parametrize("what", SIZES)
def test_it_is_what_was_received_with_meta_information_digest_and_sidecar(tmp_path: Path, what: str) -> None:
    file = incoming_file(tmp_path, asked([]))
    before = file.size
    data_set = os.urandom(SIZES[what] or MIB - before)
    data_set = data_set[: -(before % BLOCK)] if what == "in blocks alone" else data_set
    receive(file, data_set)
    file.finish()
    with file.content() as content:
        assert bytes(content[before:]) == data_set
    with file.open() as opened:
        assert opened.read()[before:] == data_set
    sidecar, path = told(file), Path(file.path)
    assert file.seal(sidecar)
    assert (file.size, file.digest) == (path.stat().st_size, digest_of(path))
    assert path.read_bytes()[before:] == data_set
    assert Sidecar.from_json(read_from(path) or b"") == sidecar
    assert path.stat().st_mode & 0o777 == 0o600
    meta = dcmread(path, stop_before_pixels=True, force=True).file_meta
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID) == UIDS


@pytest.mark.parametrize("size", [3, 2 * MIB])
def test_a_sidecar_that_is_too_long_is_not_in_it(tmp_path: Path, size: int) -> None:
    file = incoming_file(tmp_path, asked([]))
    before = file.size
    receive(file, bytes(size))
    file.finish()
    path = Path(file.path)
    assert not file.seal(told(file, "\u00e9" * 200))
    assert (read_from(path), path.stat().st_size) == (None, before + size)
    assert digest_of(path) == file.digest


def test_a_buffer_is_used_again_and_nothing_of_what_stood_there_is_in_the_next(tmp_path: Path) -> None:
    buffers = Buffers()
    first = IncomingFile(tmp_path, UIDS, asked([]), buffers)
    receive(first, b"\xff" * 5000)
    first.remove()
    second = IncomingFile(tmp_path, UIDS, asked([]), buffers)
    receive(second, bytes(10))
    second.finish()
    assert second.seal(told(second))
    assert b"\xff" not in Path(second.path).read_bytes()
    third = buffers.take()
    second.remove()
    assert buffers.take() is not third


def test_nothing_stands_in_the_folder_before_a_buffer_is_full(tmp_path: Path) -> None:
    file = incoming_file(tmp_path, asked([]))
    receive(file, bytes(MIB // 2))
    assert not list(tmp_path.iterdir())
    receive(file, bytes(MIB))
    assert list(tmp_path.iterdir()) == [Path(file.path)]
    file.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [3, 2 * MIB])
def test_what_is_sealed_is_the_spools_and_what_is_not_goes(tmp_path: Path, size: int) -> None:
    file, other = incoming_file(tmp_path, asked([])), incoming_file(tmp_path, asked([]))
    for each in (file, other):
        receive(each, bytes(size))
        each.finish()
    assert file.seal(told(file))
    for each in (file, other):
        each.remove()
    assert list(tmp_path.iterdir()) == [Path(file.path)]


def test_room_is_asked_for_at_first_and_for_each_buffer(tmp_path: Path) -> None:
    numbers: list[int] = []
    file = incoming_file(tmp_path, asked(numbers))
    assert numbers == [1]
    for _ in range(3 * 16):
        receive(file, bytes(MIB // 16))
    assert len(numbers) == 4
    file.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("refuse_at", [1, 2])
def test_where_there_is_no_room_no_file_is_left_while_the_rest_is_read(tmp_path: Path, refuse_at: int) -> None:
    file = incoming_file(tmp_path, asked([], refuse_at))
    for _ in range(3):
        receive(file, bytes(MIB))
    assert not list(tmp_path.iterdir())
    with pytest.raises(SpoolFull, match="no room"):
        file.finish()


@pytest.mark.parametrize("size", [7, 2 * MIB])
def test_a_file_that_cannot_be_made_is_no_room_and_its_error_names_no_path(tmp_path: Path, size: int) -> None:
    file = incoming_file(tmp_path / "gone", asked([]))
    receive(file, bytes(size))

    def keep() -> None:
        file.finish()
        file.seal(told(file))

    with pytest.raises(SpoolFull, match=r"^the spool cannot be written: No such file or directory$"):
        keep()
