"""Whatever way the bytes take, the file has all of them: past the page cache, and where there is no such way."""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dicom_node.model import Origin, SOPInstance
from dicom_node.queue import Sidecar
from dicom_node.queue.direct import BUFFER, Buffers, append, create, rewrite
from dicom_node.storage_scp_file import IncomingFile
from tests.support.disks import NotPermitted, mounted

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 12
DIRECT = getattr(os, "O_DIRECT", 0)


def is_direct(descriptor: int) -> bool:
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & DIRECT)


@pytest.fixture(params=["directory", "ramfs"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return where files are made; ramfs has no O_DIRECT."""
    with ExitStack() as stack:
        if request.param == "ramfs":
            try:
                stack.enter_context(mounted(tmp_path / "ramfs", "-t", "ramfs", "-o", "mode=0700", "ramfs"))
            except NotPermitted as why:
                pytest.skip(f"no file system can be mounted here: {why}")
        yield tmp_path / "ramfs" if request.param == "ramfs" else tmp_path


@pytest.fixture
def buffer() -> memoryview:
    taken = Buffers().take()
    taken.write(os.urandom(BUFFER))
    return memoryview(taken)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, BUFFER - 1, BUFFER])
def test_a_file_has_whole_blocks_and_what_is_left(folder: Path, buffer: memoryview, size: int) -> None:
    descriptor = create(str(folder / "file"))
    append(descriptor, buffer)
    append(descriptor, buffer[:size])
    os.close(descriptor)
    assert (folder / "file").read_bytes() == bytes(buffer) + bytes(buffer[:size])


def test_an_instance_is_received_where_there_is_no_such_way(folder: Path) -> None:
    file = IncomingFile(folder, ("1.2", "1.2.3", "1.2.840.10008.1.2.1"), lambda: None, Buffers())
    data_set = os.urandom(5000)
    file.room(len(data_set))[:] = data_set
    file.fill(len(data_set))
    file.finish()
    instance = SOPInstance("1.2", "1.2.3", "1.2.4", "1.2.5", "1.2.840.10008.1.2.1")
    assert file.seal(Sidecar(instance, Origin("CT1", "NODE", "192.0.2.7", 1.0), file.digest, file.size))
    assert Path(file.path).read_bytes()[-5000:] == data_set


def test_whole_blocks_go_past_the_page_cache_where_that_can_be(folder: Path, buffer: memoryview) -> None:
    descriptor = create(str(folder / "file"))
    could = is_direct(descriptor)
    append(descriptor, buffer)
    assert is_direct(descriptor) == could
    append(descriptor, buffer[:1])
    assert not is_direct(descriptor)
    os.close(descriptor)


def test_what_the_disk_cannot_take_from_where_it_is_goes_through_the_page_cache(
    folder: Path, buffer: memoryview
) -> None:
    descriptor = create(str(folder / "file"))
    append(descriptor, buffer[1 : 1 + 3 * BLOCK])
    append(descriptor, buffer[:BLOCK])
    os.close(descriptor)
    assert (folder / "file").read_bytes() == bytes(buffer[1 : 1 + 3 * BLOCK]) + bytes(buffer[:BLOCK])


@pytest.mark.parametrize("size", [2 * BLOCK, 2 * BLOCK + 1])
def test_the_beginning_of_a_file_is_written_over_and_nothing_else(folder: Path, buffer: memoryview, size: int) -> None:
    descriptor = create(str(folder / "file"))
    append(descriptor, buffer[:size])
    rewrite(descriptor, b"another beginning")
    os.close(descriptor)
    assert (folder / "file").read_bytes() == b"another beginning" + bytes(buffer[17:size])


def test_an_error_of_the_disk_is_one(folder: Path, buffer: memoryview) -> None:
    descriptor = create(str(folder / "file"))
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        append(descriptor, buffer)


def test_a_file_that_is_there_is_not_written(folder: Path) -> None:
    (folder / "file").write_bytes(b"another's")
    with pytest.raises(FileExistsError):
        create(str(folder / "file"))


def test_buffers_are_used_again_and_never_two_at_a_time() -> None:
    buffers = Buffers()
    first, second = buffers.take(), buffers.take()
    assert first is not second
    buffers.give_back(first)
    assert buffers.take() is first
    assert buffers.take() not in {first, second}
