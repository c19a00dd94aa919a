"""A folder as a destination."""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dicom_node.errors import DestinationDown, Hold
from dicom_node.folder import FolderSender
from dicom_node.model import SOPInstance, StoreStatus

if TYPE_CHECKING:
    from pathlib import Path

INSTANCE = SOPInstance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.1", "1.2.2", "1.2.840.10008.1.2.1")


def clean(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "0.1.dcm"
    path.write_bytes(content)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_instance_stands_under_its_study_and_series(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert FolderSender(folder).send(clean(tmp_path, b"one"), INSTANCE) == StoreStatus(0x0000)
    assert files(folder) == {"1.2.1/1.2.2/1.2.3.dcm": b"one"}
    assert stat.S_IMODE((folder / "1.2.1/1.2.2/1.2.3.dcm").stat().st_mode) == 0o640


def test_the_same_instance_again_changes_nothing(tmp_path: Path) -> None:
    sender = FolderSender(tmp_path / "out")
    for _ in range(3):
        sender.send(clean(tmp_path, b"one"), INSTANCE)
    assert files(tmp_path / "out") == {"1.2.1/1.2.2/1.2.3.dcm": b"one"}


def test_other_bytes_with_the_same_uid_go_beside_the_first(tmp_path: Path) -> None:
    sender = FolderSender(tmp_path / "out")
    for content in (b"one", b"two", b"six", b"two"):
        sender.send(clean(tmp_path, content), INSTANCE)
    assert files(tmp_path / "out" / "1.2.1" / "1.2.2") == {
        "1.2.3.dcm": b"one",
        "1.2.3-2.dcm": b"two",
        "1.2.3-3.dcm": b"six",
    }


@pytest.mark.parametrize("uid", ["../../etc/x", "", "..", "1.2/3", "1.2.3\n", "1." * 40 + "1", "CON"])
@pytest.mark.parametrize("which", ["study_instance_uid", "series_instance_uid", "sop_instance_uid"])
def test_what_is_no_uid_becomes_no_name(tmp_path: Path, uid: str, which: str) -> None:
    with pytest.raises(Hold):
        FolderSender(tmp_path / "out").send(clean(tmp_path, b"one"), replace(INSTANCE, **{which: uid}))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_down_and_its_reason_quotes_no_uid(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("not a folder")
    sender = FolderSender(tmp_path / "out")
    with pytest.raises(DestinationDown) as caught:
        sender.send(clean(tmp_path, b"one"), INSTANCE)
    assert "1.2" not in str(caught.value)
    with pytest.raises(DestinationDown):
        sender.echo()


def test_what_a_crash_left_is_written_over(tmp_path: Path) -> None:
    left = tmp_path / "out" / "1.2.1" / "1.2.2" / ".0.1.dcm.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"something longer")
    FolderSender(tmp_path / "out").send(clean(tmp_path, b"one"), INSTANCE)
    assert files(tmp_path / "out") == {"1.2.1/1.2.2/1.2.3.dcm": b"one"}


def test_a_folder_answers_an_echo_and_stays_empty(tmp_path: Path) -> None:
    sender = FolderSender(tmp_path / "out")
    assert sender.echo() >= 0
    sender.close()
    assert files(tmp_path / "out") == {}
