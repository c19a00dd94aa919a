"""An instance on its way into the spool: whole and hashed, or not there at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydicom import dcmread

from dicom_node.errors import SpoolFull
from dicom_node.queue.sidecar import sha256
from dicom_node.storage_scp_file import IncomingFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20
UIDS = ("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1")


def asked(numbers: list[int], refuse_at: int = 0) -> Callable[[], None]:
    """Count the questions for room, and refuse one of them."""

    def check_room() -> None:
        numbers.append(len(numbers) + 1)
        if numbers[-1] == refuse_at:
            msg = "no room"
            raise SpoolFull(msg)

    return check_room


def test_it_is_what_was_written_with_its_digest_and_meta_information(tmp_path: Path) -> None:
    file = IncomingFile(tmp_path, *UIDS, asked([]))
    for _ in range(3):
        file.write(memoryview(b"\x08\0\x60\0CS\x02\0CT"))
    file.finish()
    assert (file.size, file.sha256) == (file.path.stat().st_size, sha256(file.path))
    meta = dcmread(file.path, stop_before_pixels=True).file_meta
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID) == UIDS


def test_room_is_asked_for_at_first_and_for_each_mebibyte(tmp_path: Path) -> None:
    numbers: list[int] = []
    file = IncomingFile(tmp_path, *UIDS, asked(numbers))
    assert numbers == [1]
    for _ in range(3 * 16):
        file.write(bytes(MIB // 16))
    assert len(numbers) == 3
    file.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("refuse_at", [1, 2])
def test_where_there_is_no_room_no_file_is_left_while_the_rest_is_read(tmp_path: Path, refuse_at: int) -> None:
    file = IncomingFile(tmp_path, *UIDS, asked([], refuse_at))
    for _ in range(3):
        file.write(bytes(MIB))
    assert not list(tmp_path.iterdir())
    with pytest.raises(SpoolFull, match="no room"):
        file.finish()


def test_a_file_that_cannot_be_made_is_no_room_and_its_error_names_no_path(tmp_path: Path) -> None:
    file = IncomingFile(tmp_path / "gone", *UIDS, asked([]))
    file.write(b"content")
    with pytest.raises(SpoolFull, match=r"^the spool cannot be written: No such file or directory$"):
        file.finish()
