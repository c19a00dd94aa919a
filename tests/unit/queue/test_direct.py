"""Whatever way the bytes take, the file has all of them."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from dicom_node.queue.direct import BUFFER, Buffers, append, create, rewrite

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 1 << 12
DIRECT = getattr(os, "O_DIRECT", 0)


def is_direct(descriptor: int) -> bool:
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & DIRECT)


@pytest.fixture
def buffer() -> memoryview:
    taken = Buffers().take()
    taken.write(os.urandom(BUFFER))
    return memoryview(taken)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, BUFFER - 1, BUFFER])
def test_a_file_has_whole_blocks_and_what_is_left(tmp_path: Path, buffer: memoryview, size: int) -> None:
    descriptor = create(tmp_path / "file")
    append(descriptor, buffer)
    append(descriptor, buffer[:size])
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == bytes(buffer) + bytes(buffer[:size])


def test_whole_blocks_go_past_the_page_cache_where_that_can_be(tmp_path: Path, buffer: memoryview) -> None:
    descriptor = create(tmp_path / "file")
    could = is_direct(descriptor)
    append(descriptor, buffer)
    assert is_direct(descriptor) == could
    append(descriptor, buffer[:1])
    assert not is_direct(descriptor)
    os.close(descriptor)


def test_what_the_disk_cannot_take_from_where_it_is_goes_through_the_page_cache(
    tmp_path: Path, buffer: memoryview
) -> None:
    descriptor = create(tmp_path / "file")
    append(descriptor, buffer[1 : 1 + 3 * BLOCK])
    append(descriptor, buffer[:BLOCK])
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == bytes(buffer[1 : 1 + 3 * BLOCK]) + bytes(buffer[:BLOCK])


@pytest.mark.parametrize("size", [2 * BLOCK, 2 * BLOCK + 1])
def test_the_beginning_of_a_file_is_written_over_and_nothing_else(
    tmp_path: Path, buffer: memoryview, size: int
) -> None:
    descriptor = create(tmp_path / "file")
    append(descriptor, buffer[:size])
    rewrite(descriptor, b"another beginning")
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"another beginning" + bytes(buffer[17:size])


def test_an_error_of_the_disk_is_one(tmp_path: Path, buffer: memoryview) -> None:
    descriptor = create(tmp_path / "file")
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        append(descriptor, buffer)


def test_a_file_that_is_there_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"another's")
    with pytest.raises(FileExistsError):
        create(tmp_path / "file")


def test_buffers_are_used_again_and_never_two_at_a_time() -> None:
    buffers = Buffers()
    first, second = buffers.take(), buffers.take()
    assert first is not second
    buffers.give_back(first)
    assert buffers.take() is first
    assert buffers.take() not in {first, second}
