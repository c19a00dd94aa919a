"""What a spool in a store has beside what every spool has (test_queue): copies, time-outs, stores that are not fit."""

from __future__ import annotations

import fcntl
import os
import uuid
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from obstore.store import S3Store

from dicom_node.errors import ConfigurationError, SpoolFull
from dicom_node.model import Origin, SOPInstance
from dicom_node.queue import Sidecar, Spool, open_queue
from dicom_node.queue.object_spool import ObjectSpool
from dicom_node.queue.object_store import AT_ONCE, check, open_store
from tests.support.processes import wait_until
from tests.support.s3 import S3
from tests.support.spools import WholeFile, content, names, store_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INSTANCE = SOPInstance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")
SIDECAR = Sidecar(INSTANCE, Origin("MODALITY", "NODE", "192.0.2.7", 1_700_000_000.25), "ab" * 32, 7)
LARGE = os.urandom(1 << 16) * (AT_ONCE // (1 << 16)) + b"and in parts"
SHORT = timedelta(seconds=1)


@pytest.fixture
def store_url(s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    # Nothing of whoever runs the tests.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3.new_bucket()


@pytest.fixture
def spool(store_url: str, tmp_path: Path) -> ObjectSpool:
    return made(store_url, tmp_path)


def made(url: str, folder: Path, timeout: timedelta = timedelta(seconds=60)) -> ObjectSpool:
    spool = ObjectSpool(open_store(store_of(url), timeout), Spool(folder / "spool"))
    spool.prepare()
    return spool


def received(spool: ObjectSpool, what: bytes = b"content") -> str:
    entry_id = uuid.uuid4().hex
    incoming = WholeFile(spool.incoming / "being received", what)
    spool.put(incoming, entry_id, SIDECAR)
    return entry_id


def local_files(spool: ObjectSpool) -> list[Path]:
    return [path for path in spool.incoming.parent.rglob("*") if path.is_file()]


# Once written


@pytest.mark.parametrize("what", [b"", b"content", LARGE], ids=["empty", "short", "in parts"])
def test_what_was_put_comes_back_byte_for_byte_and_nothing_stays_on_the_local_disk(
    spool: ObjectSpool, what: bytes
) -> None:
    entry_id = received(spool, what)
    with spool.original_file(entry_id) as path:
        assert path.read_bytes() == what
        assert path.parent.stat().st_mode & 0o077 == 0
    assert spool.sidecar(entry_id) == SIDECAR
    assert list(spool.entry_ids()) == [entry_id]
    assert local_files(spool) == []


def test_another_s_bytes_are_never_overwritten(spool: ObjectSpool) -> None:
    entry_id = received(spool, b"first")
    incoming = WholeFile(spool.incoming / "again", b"second")
    with pytest.raises(SpoolFull, match="answered 412"):
        spool.put(incoming, entry_id, SIDECAR)
    assert content(spool, f"{entry_id}.dcm") == b"first"


@pytest.mark.parametrize("late", [b"late", LARGE], ids=["short", "in parts"])
@pytest.mark.parametrize("first", [b"first", LARGE[::-1]], ids=["short", "in parts"])
def test_a_late_worker_with_the_same_attempt_never_overwrites_a_clean_file(
    spool: ObjectSpool, first: bytes, late: bytes
) -> None:
    entry_id = received(spool)
    name = spool.write_redacted(entry_id, 1, lambda file: file.write(first)).name
    with pytest.raises(SpoolFull, match="answered 412"):
        spool.write_redacted(entry_id, 1, lambda file: file.write(late))
    assert content(spool, name) == first


def test_a_clean_file_that_could_not_be_made_leaves_nothing(spool: ObjectSpool) -> None:
    def write(file: Any) -> None:  # noqa: ANN401 - a binary file
        file.write(b"half")
        msg = "codec"
        raise RuntimeError(msg)

    entry_id = received(spool)
    before = names(spool)
    with pytest.raises(RuntimeError, match="codec"):
        spool.write_redacted(entry_id, 1, write)
    assert names(spool) == before


@pytest.mark.parametrize("name", ["../../etc/x", "1.2.840.1", "", "A" * 32, f"{'a' * 32}\n"])
def test_only_the_nodes_own_ids_become_keys(spool: ObjectSpool, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        spool.has_original(name)
    with pytest.raises(ValueError, match="name"):
        spool.has_redacted(f"{name}.1.dcm")


# Sweeping, and lists of more than a page


def test_sweep_takes_only_what_belongs_to_no_entry(spool: ObjectSpool) -> None:
    entry_id, gone, kept = received(spool), received(spool), received(spool)
    for each in (entry_id, gone, kept):
        spool.write_redacted(each, 1, lambda file: file.write(b"clean"))
    spool.store.delete([f"received/{gone}.dcm", f"received/{kept}.dcm"])
    spool.store.put("received/notes.txt", b"a stranger's")
    assert spool.sweep(3600.0) == 0
    assert spool.sweep(0.0, keep={kept}) == 2
    left = {f"{entry_id}.dcm", f"{entry_id}.json", f"{entry_id}.1.dcm", f"{kept}.json", f"{kept}.1.dcm", "notes.txt"}
    assert names(spool) == left


def test_a_list_of_several_pages_is_whole(spool: ObjectSpool) -> None:
    entry_ids = {f"{number:032x}" for number in range(1100)}
    for entry_id in entry_ids:
        spool.store.put(f"received/{entry_id}.dcm", b"x")
    assert set(spool.entry_ids()) == entry_ids
    assert spool.used_bytes() == 1100
    look = spool.look()
    assert look.received == {f"{entry_id}.dcm" for entry_id in entry_ids}
    assert not look.has_original("f" * 32)


def test_a_copy_goes_with_its_worker_and_one_that_is_in_a_hand_is_not_swept(spool: ObjectSpool) -> None:
    entry_id = received(spool)
    with spool.original_file(entry_id) as path:
        assert spool.sweep(0.0) == 0
        assert path.read_bytes() == b"content"
    assert local_files(spool) == []
    # What a process leaves that is killed: the copy, and no lock.
    left = path.parent
    left.mkdir()
    path.write_bytes(b"content")
    assert spool.sweep(3600.0) == 0
    assert spool.sweep(0.0) == 1
    assert not left.exists()


def test_a_lock_that_another_process_holds_keeps_its_copy(spool: ObjectSpool) -> None:
    folder = spool.incoming.parent / "copies" / "of another"
    folder.mkdir()
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert spool.sweep(0.0) == 0
    os.close(lock)
    assert spool.sweep(0.0) == 1


# A store that is away


@pytest.fixture
def own_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with ExitStack() as stack:
        server = S3()
        stack.callback(server.end)
        server.start()
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def test_while_a_store_stands_still_nothing_is_accepted_nothing_is_called_missing_and_all_goes_on_afterwards(
    own_store: S3, tmp_path: Path
) -> None:
    spool = made(own_store.new_bucket(), tmp_path, SHORT)
    entry_id, done = received(spool), received(spool)
    own_store.stand_still()
    try:
        for asked in (
            lambda: received(spool, b"another"),
            lambda: spool.has_original(entry_id),
            lambda: list(spool.entry_ids()),
            lambda: spool.sidecar(entry_id),
            lambda: spool.original_file(entry_id).__enter__(),
            lambda: spool.write_redacted(entry_id, 1, lambda file: file.write(b"clean")),
            spool.look,
        ):
            with pytest.raises(SpoolFull, match="did not answer"):
                asked()
        with pytest.raises(OSError, match="did not answer"):
            spool.remove(done, 1)
    finally:
        own_store.go_on()
    # It carries out what was asked meanwhile: what was not heard to be done may be done all the same.
    wait_until("the rest is deleted", lambda: not spool.has_original(done))
    assert spool.has_original(entry_id)
    assert received(spool) != entry_id


def test_a_bucket_that_is_gone_is_no_spool_without_files(own_store: S3, tmp_path: Path) -> None:
    spool = made(own_store.new_bucket(), tmp_path)
    elsewhere = ObjectSpool(open_store(store_of("s3://no-such-bucket/spool")), Spool(tmp_path / "spool"))
    spool.check_there()
    for asked in (elsewhere.check_there, elsewhere.look, lambda: received(elsewhere)):
        with pytest.raises(SpoolFull, match="answered 404"):
            asked()


# Where it is, and whether it is fit


def test_a_bucket_that_is_not_there_is_named_with_the_key(store_url: str, tmp_path: Path) -> None:
    assert store_url
    with pytest.raises(ConfigurationError, match=r"^spool: s3://no-such-bucket: cannot be written: .*answered 404$"):
        open_queue(tmp_path / "data", f"sqlite:///{tmp_path / 'ledger.db'}", store=store_of("s3://no-such-bucket"))


def test_a_store_that_does_not_answer_is_an_error_that_quotes_no_secret(
    monkeypatch: pytest.MonkeyPatch, store_url: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SWORDFISH")
    with pytest.raises(ConfigurationError, match="did not answer") as caught:
        made(store_url, tmp_path)
    assert "SWORDFISH" not in str(caught.value)


def test_without_tls_only_where_the_endpoint_says_so(monkeypatch: pytest.MonkeyPatch, store_url: str) -> None:
    assert open_store(store_of(store_url)).client_options == {**_options(), "allow_http": "true"}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert open_store(store_of(store_url)).client_options == {**_options(), "allow_http": "false"}


def _options() -> dict[str, str]:
    return {"timeout": "20s", "connect_timeout": "5s"}


def test_credentials_come_from_the_file_where_the_environment_has_none(
    monkeypatch: pytest.MonkeyPatch, store_url: str, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    file = tmp_path / "credentials"
    file.write_text("[node]\naws_access_key_id = OF-THE-FILE\naws_secret_access_key = SWORDFISH%\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "node")
    assert open_store(store_of(store_url)).config["access_key_id"] == "OF-THE-FILE"
    check(open_store(store_of(store_url)))
    file.write_text("[node\nSWORDFISH")
    with pytest.raises(ConfigurationError, match="cannot be used: MissingSectionHeaderError") as caught:
        open_store(store_of(store_url))
    assert "SWORDFISH" not in str(caught.value)


class _Overwrites(S3Store):
    """A store that knows no If-None-Match, as there are some: moto does know it, so it is not passed on."""

    def put(self, path: str, file: Any, **_: Any) -> Any:  # noqa: ANN401 - obstore's
        return super().put(path, file)


class _ListsLate(S3Store):
    """A store that lists what it has some time later."""

    def list(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - obstore's
        return iter(())


@pytest.mark.parametrize(("kind", "said"), [(_Overwrites, "If-None-Match"), (_ListsLate, "strong consistency")])
def test_a_store_that_is_not_fit_is_refused_with_what_it_lacks(kind: type[S3Store], said: str, store_url: str) -> None:
    fit = open_store(store_of(store_url))
    options: Any = {"allow_http": True}
    unfit = kind(prefix=fit.prefix, config=fit.config, client_options=options)
    check(fit)
    with pytest.raises(ConfigurationError, match=said):
        check(unfit)


def test_instances_of_a_spool_without_a_store_are_not_left_behind(store_url: str, tmp_path: Path) -> None:
    local = Spool(tmp_path / "spool")
    local.prepare()
    local.put(WholeFile(local.incoming / "being received", b"content"), "a" * 32, SIDECAR)
    with pytest.raises(ConfigurationError, match="still instances"):
        made(store_url, tmp_path)
