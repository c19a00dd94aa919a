"""What the node keeps is for its own user alone; that is seen to when the queue is opened."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from dicom_node.errors import ConfigurationError
from dicom_node.queue import open_queue

if TYPE_CHECKING:
    from pathlib import Path


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def opened(data_dir: Path) -> None:
    open_queue(data_dir, f"sqlite:///{data_dir / 'ledger.db'}").ledger.close()


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o702])
def test_a_data_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    data_dir.chmod(mode)
    with pytest.raises(ConfigurationError, match=r"data_dir: .*data: others may write there; .*chmod go-w"):
        opened(data_dir)
    assert list(data_dir.iterdir()) == []


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
def test_in_a_data_folder_that_others_may_read_spool_and_ledger_are_the_node_s_alone(tmp_path: Path, mode: int) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    data_dir.chmod(mode)
    opened(data_dir)
    assert permissions(data_dir / "spool") == 0o700
    assert permissions(data_dir / "ledger.db") == 0o600


def test_a_ledger_that_others_may_read_is_put_right(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    opened(data_dir)
    files = [data_dir / f"ledger.db{journal}" for journal in ("", "-wal", "-shm")]
    for file in files:
        file.touch()
        file.chmod(0o644)
    queue = open_queue(data_dir, f"sqlite:///{data_dir / 'ledger.db'}")
    assert [permissions(file) for file in files if file.exists()] == [0o600] * len([*data_dir.glob("ledger.db*")])
    queue.ledger.close()


def test_a_spool_that_others_may_read_is_refused(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    opened(data_dir)
    (data_dir / "spool" / "received").chmod(0o750)
    with pytest.raises(ConfigurationError, match=r"received: others may read or write there; allowed is mode 0700"):
        opened(data_dir)
