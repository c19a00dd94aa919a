from __future__ import annotations

import errno
import os
import stat
import uuid
from pathlib import Path
from typing import BinaryIO

import pytest

from dicom_node.errors import ConfigurationError, SpoolFull
from dicom_node.model import Origin, SOPInstance
from dicom_node.queue import Sidecar, Spool
from tests.support.spools import WholeFile

INSTANCE = SOPInstance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")
SIDECAR = Sidecar(INSTANCE, Origin("MODALITY", "NODE", "192.0.2.7", 1_700_000_000.25), "ab" * 32, 7)
AN_HOUR = 3600.0


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool")
    spool.prepare()
    return spool


def received(spool: Spool, content: bytes = b"content") -> str:
    entry_id = uuid.uuid4().hex
    incoming = WholeFile(spool.incoming / "pynetdicom.tmp", content)
    spool.put(incoming, entry_id, SIDECAR)
    return entry_id


def files(spool: Spool) -> set[Path]:
    return {path for path in spool.root.rglob("*") if path.is_file()}


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make_old(path: Path) -> None:
    os.utime(path, (0, 0))


def test_directories_are_0700_and_files_0600_whatever_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        spool = Spool(tmp_path / "spool")
        spool.prepare()
        entry_id = received(spool)
        spool.write_redacted(entry_id, 1, lambda file: file.write(b"clean"))
    finally:
        os.umask(previous)
    directories = [spool.root, *(path for path in spool.root.rglob("*") if path.is_dir())]
    assert {permissions(path) for path in directories} == {0o700}
    assert {permissions(path) for path in files(spool)} == {0o600}
    assert (len(directories), len(files(spool))) == (4, 3)


def test_preparing_twice_changes_nothing(spool: Spool) -> None:
    entry_id = received(spool)
    spool.prepare()
    assert spool.original(entry_id).read_bytes() == b"content"


@pytest.mark.parametrize("mode", [0o750, 0o707, 0o722])
def test_a_spool_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    root = tmp_path / "spool"
    root.mkdir()
    root.chmod(mode)
    with pytest.raises(ConfigurationError, match="0700"):
        Spool(root).prepare()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_spool_of_another_user_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    root.mkdir(mode=0o700)
    os.chown(root, 12345, -1)
    with pytest.raises(ConfigurationError, match="belong"):
        Spool(root).prepare()


def test_a_spool_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    with pytest.raises(ConfigurationError, match="cannot be prepared"):
        Spool(tmp_path / "spool").prepare()


def test_what_was_put_is_there_byte_for_byte_with_its_sidecar(spool: Spool) -> None:
    entry_id = received(spool, bytes(range(256)))
    assert spool.original(entry_id).read_bytes() == bytes(range(256))
    assert spool.sidecar(entry_id) == SIDECAR
    assert list(spool.entry_ids()) == [entry_id]
    assert not list(spool.incoming.iterdir())


def test_a_digest_that_is_no_text_is_none() -> None:
    with pytest.raises(ValueError, match=r"^not a sidecar$"):
        Sidecar.from_json(SIDECAR.to_json().replace(b'"digest": "', b'"digest": 1, "priority": "'))


def test_a_sidecar_of_an_older_release_is_read() -> None:
    theirs = SIDECAR.to_json().replace(b'"digest"', b'"sha256"')
    assert Sidecar.from_json(theirs) == SIDECAR


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"instance": {}, "origin": {}}', b'"text"', b"\xff"])
def test_a_damaged_sidecar_is_a_value_error_that_quotes_nothing(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"^not a sidecar$"):
        Sidecar.from_json(text)


def test_a_put_that_fails_takes_nothing_in_and_leaves_nothing_half(spool: Spool) -> None:
    incoming = WholeFile(spool.incoming / "is not there", b"content")
    Path(incoming.path).unlink()
    with pytest.raises(SpoolFull):
        spool.put(incoming, uuid.uuid4().hex, SIDECAR)
    assert files(spool) == set()


@pytest.mark.parametrize("name", ["../../etc/x", "1.2.840.1", "", "A" * 32, f"{'a' * 32}\n"])
def test_only_the_nodes_own_ids_become_file_names(spool: Spool, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        spool.original(name)
    with pytest.raises(ValueError, match="name"):
        spool.redacted(f"{name}.1.dcm")


def test_every_attempt_writes_a_file_of_its_own(spool: Spool) -> None:
    entry_id = received(spool)
    first = spool.write_redacted(entry_id, 1, lambda file: file.write(b"first"))
    second = spool.write_redacted(entry_id, 2, lambda file: file.write(b"second"))
    assert (first.read_bytes(), second.read_bytes()) == (b"first", b"second")
    assert spool.redacted(second.name) == second


def test_a_clean_file_that_could_not_be_written_leaves_nothing(spool: Spool) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"half")
        msg = "codec"
        raise RuntimeError(msg)

    entry_id = received(spool)
    before = files(spool)
    with pytest.raises(RuntimeError, match="codec"):
        spool.write_redacted(entry_id, 1, write)
    assert files(spool) == before


def test_removing_takes_all_files_of_one_entry_and_may_be_repeated(spool: Spool) -> None:
    entry_id, other = received(spool), received(spool)
    for attempts in (1, 3):
        spool.write_redacted(entry_id, attempts, lambda file: file.write(b"clean"))
    spool.remove(entry_id, attempts=3)
    spool.remove(entry_id, attempts=3)
    assert {path.name for path in files(spool)} == {f"{other}.dcm", f"{other}.json"}


def test_sweep_takes_only_what_is_stale_and_belongs_to_no_entry(spool: Spool) -> None:
    entry_id, gone = received(spool), received(spool)
    for each in (entry_id, gone):
        spool.write_redacted(each, 1, lambda file: file.write(b"clean"))
    spool.original(gone).unlink()
    (spool.incoming / "torn").touch()
    (spool.root / "redacted" / "torn.tmp").touch()
    for path in files(spool):
        make_old(path)
    (spool.incoming / "being received").touch()
    assert spool.sweep(AN_HOUR) == 4
    names = {f"{entry_id}.dcm", f"{entry_id}.json", f"{entry_id}.1.dcm", "being received"}
    assert {path.name for path in files(spool)} == names


def test_sweep_keeps_the_clean_file_of_an_entry_that_is_still_known(spool: Spool) -> None:
    entry_id = received(spool)
    clean = spool.write_redacted(entry_id, 1, lambda file: file.write(b"clean"))
    spool.original(entry_id).unlink()
    assert spool.sweep(0.0, keep={entry_id}) == 0
    assert clean.exists()


def test_a_file_that_is_not_the_nodes_is_neither_listed_nor_swept(spool: Spool) -> None:
    stranger = spool.root / "received" / "notes.dcm"
    stranger.touch()
    make_old(stranger)
    assert list(spool.entry_ids()) == []
    assert spool.sweep(AN_HOUR) == 0


def test_there_is_no_room_when_less_than_the_minimum_is_free(spool: Spool) -> None:
    spool.check_room()
    with pytest.raises(SpoolFull, match="minimum"):
        Spool(spool.root, minimum_free_bytes=1 << 62).check_room()


def test_a_spool_that_is_gone_has_no_room(tmp_path: Path) -> None:
    with pytest.raises(SpoolFull):
        Spool(tmp_path / "gone").check_room()


# A disk with I/O errors. Stands for a real one, which tests/acceptance/test_disk.py has where it may mount.


def fails(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO), "a path")


def test_a_received_file_whose_fsync_failed_is_gone_and_is_never_synced_again(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        if synced[-1].parent == spool.incoming:
            fails()

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(SpoolFull, match=r"^the spool cannot be written: Input/output error$"):
        received(spool)
    assert files(spool) == set()
    assert len(synced) == len(set(synced))


@pytest.mark.parametrize("which", [1, 2])
def test_a_clean_file_whose_fsync_failed_is_gone(spool: Spool, monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    """First the file is synced, then its folder."""
    entry_id = received(spool)
    before = files(spool)
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == which:
            fails()

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(SpoolFull):
        spool.write_redacted(entry_id, 1, lambda file: file.write(b"clean"))
    assert files(spool) == before


def test_what_the_disk_refuses_is_told_from_what_a_codec_raises(spool: Spool) -> None:
    """An original that cannot be read is the instance's fault: to try again would go on for ever."""
    entry_id = received(spool)
    with pytest.raises(OSError, match="Input/output error"):
        spool.write_redacted(entry_id, 1, fails)
    assert {path.name for path in files(spool)} == {f"{entry_id}.dcm", f"{entry_id}.json"}


def test_used_bytes_are_those_on_the_disk(spool: Spool) -> None:
    entry_id = received(spool, bytes(1000))
    spool.write_redacted(entry_id, 1, lambda file: file.write(bytes(200)))
    (spool.incoming / "being received").write_bytes(bytes(30))
    sidecar = spool.original(entry_id).with_suffix(".json").stat().st_size
    assert spool.used_bytes() == 1230 + sidecar
