from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from dicom_node.errors import ConfigurationError, SpoolFull
from dicom_node.model import Kept, Origin, Priority, QueueEntry, RedactedFile, SOPInstance, State
from dicom_node.queue import Accepted, Ledger, Queue, Reconciliation, Sidecar, open_queue
from dicom_node.queue.schema import instance
from tests.support.ledgers import empty, engine_on
from tests.support.processes import free_port
from tests.support.spools import WholeFile, content, damage, lose, make_spool, names, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEASE = 600.0
INSTANCE = SOPInstance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")
ORIGIN = Origin("CT1", "NODE", "192.0.2.7", 1_700_000_000.0)
NOTHING_TO_DO = Reconciliation()


@pytest.fixture
def queue(tmp_path: Path, spool_url: str, ledger_url: str) -> Iterator[Queue]:
    queue = Queue(make_spool(spool_url, tmp_path), Ledger(ledger_url))
    queue.ledger.create()
    yield queue
    queue.ledger.close()


def incoming(queue: Queue, content: bytes) -> WholeFile:
    return WholeFile(queue.spool.incoming / "being received", content)


def accept(queue: Queue, content: bytes = b"content") -> str:
    entry_id, accepted = queue.accept(incoming(queue, content), INSTANCE, ORIGIN)
    assert accepted is Accepted.NEW
    return entry_id


def claimed(queue: Queue) -> QueueEntry:
    entry = queue.ledger.claim("redactor", LEASE)
    assert entry is not None
    return entry


def claimed_after_accept(queue: Queue) -> QueueEntry:
    accept(queue)
    return claimed(queue)


def redacted(queue: Queue, content: bytes = b"content") -> QueueEntry:
    accept(queue, content)
    entry = claimed(queue)
    path = queue.spool.write_redacted(entry.id, entry.attempts, lambda file: file.write(b"clean"))
    assert queue.ledger.settle_redacted(entry, RedactedFile(path.name, path, INSTANCE, 5), ["PACS"])
    return entry


def redacted_in_the_end(queue: Queue, clean: bytes) -> tuple[QueueEntry, str]:
    """Redact as the worker does: what could not be written waits, and has another attempt."""
    entry = claimed(queue)
    try:
        return entry, queue.spool.write_redacted(entry.id, entry.attempts, lambda file: file.write(clean)).name
    except SpoolFull:
        assert queue.ledger.put_last(entry)
        return redacted_in_the_end(queue, clean)


def sent(queue: Queue) -> QueueEntry:
    entry = redacted(queue)
    (delivery,) = queue.ledger.claim_deliveries("PACS", "sender", LEASE, 1)
    assert queue.ledger.settle_sent(delivery, 0x0000)
    return entry


def files(queue: Queue) -> set[str]:
    return names(queue.spool)


def state(queue: Queue, entry_id: str) -> State:
    return queue.ledger.entry(entry_id).state


def bytes_without_a_row(queue: Queue, content: bytes, entry_id: str = "a" * 32) -> str:
    """What a receiver leaves that dies between the bytes and the row."""
    sidecar = Sidecar(INSTANCE, ORIGIN, text_of(content), len(content))
    queue.spool.put(incoming(queue, content), entry_id, sidecar)
    return entry_id


# Opening


def test_a_ledger_that_cannot_be_reached_is_a_configuration_error_that_quotes_no_password(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^ledger: cannot be used: OperationalError$"):
        open_queue(tmp_path / "data", f"postgresql+psycopg://node:secret@127.0.0.1:{free_port()}/node")


# Accepting


def test_a_priority_is_the_row_s_and_the_sidecar_s_so_that_a_lost_ledger_has_it_again(
    queue: Queue, ledger_url: str
) -> None:
    queue.accept(incoming(queue, b"content"), INSTANCE, ORIGIN, Priority.HIGH)
    entry = claimed(queue)
    assert entry.priority is Priority.HIGH
    empty(ledger_url)
    assert queue.reconcile().inserted == 1
    assert claimed(queue).priority is Priority.HIGH


def test_a_sidecar_from_before_there_were_priorities_is_read(queue: Queue) -> None:
    entry_id = accept(queue)
    told = json.loads(content(queue.spool, f"{entry_id}.json"))
    del told["priority"]
    assert Sidecar.from_json(json.dumps(told).encode()) == queue.spool.sidecar(entry_id)


def test_accepting_takes_the_file_and_leaves_bytes_sidecar_and_row(queue: Queue) -> None:
    entry_id = accept(queue, b"some bytes")
    assert content(queue.spool, f"{entry_id}.dcm") == b"some bytes"
    assert files(queue) == {f"{entry_id}.dcm", f"{entry_id}.json"}
    entry = queue.ledger.entry(entry_id).entry
    assert (entry.instance, entry.origin, entry.state) == (INSTANCE, ORIGIN, State.RECEIVED)
    assert (entry.digest, entry.size) == (text_of(b"some bytes"), 10)


def test_a_duplicate_names_the_first_entry_and_leaves_no_bytes_of_its_own(queue: Queue) -> None:
    first = accept(queue)
    before = files(queue)
    assert queue.accept(incoming(queue, b"content"), INSTANCE, ORIGIN) == (first, Accepted.DUPLICATE)
    assert files(queue) == before


def test_a_resend_of_what_was_sent_is_a_duplicate(queue: Queue) -> None:
    entry = sent(queue)
    queue.finish(entry.id)
    assert queue.accept(incoming(queue, b"content"), INSTANCE, ORIGIN) == (entry.id, Accepted.DUPLICATE)
    assert files(queue) == set()


def test_no_room_means_that_nothing_is_accepted(tmp_path: Path, spool_url: str, queue: Queue) -> None:
    queue = Queue(make_spool(spool_url, tmp_path, 1 << 62), queue.ledger)
    with pytest.raises(SpoolFull):
        queue.accept(incoming(queue, b"content"), INSTANCE, ORIGIN)
    assert files(queue) == {"being received"}
    assert queue.ledger.entries() == []


def test_a_received_file_that_is_gone_is_not_accepted(queue: Queue) -> None:
    gone = incoming(queue, b"content")
    Path(gone.path).unlink()
    with pytest.raises(SpoolFull):
        queue.accept(gone, INSTANCE, ORIGIN)
    assert queue.ledger.entries() == []


# Finishing and dropping


def test_only_what_is_sent_is_finished(queue: Queue) -> None:
    waiting = redacted(queue)
    before = files(queue)
    assert not queue.finish(waiting.id)
    assert files(queue) == before


def test_finishing_deletes_all_bytes_and_may_be_repeated(queue: Queue) -> None:
    entry = sent(queue)
    assert queue.finish(entry.id)
    assert queue.finish(entry.id)
    assert files(queue) == set()
    assert state(queue, entry.id) is State.SENT


def test_dropping_deletes_all_bytes_and_a_resend_is_processed(queue: Queue) -> None:
    entry = redacted(queue)
    assert queue.drop(entry.id)
    assert not queue.drop(entry.id)
    assert files(queue) == set()
    assert accept(queue) != entry.id


# Reconciling


def test_reconciling_what_agrees_changes_nothing(queue: Queue) -> None:
    redacted(queue, b"one")
    accept(queue, b"two")
    before = queue.ledger.entries(), files(queue)
    assert queue.reconcile(older_than_seconds=0.0) == NOTHING_TO_DO
    assert (queue.ledger.entries(), files(queue)) == before


def test_a_wiped_ledger_is_rebuilt_from_the_spool(queue: Queue, ledger_url: str) -> None:
    entries = {accept(queue, bytes([number])) for number in range(5)}
    before = {each.entry for each in queue.ledger.entries()}
    empty(ledger_url)
    assert queue.ledger.entries() == []
    assert queue.reconcile().inserted == 5
    # Which of them came as a conflict follows the order of insertion.
    after = {each.entry for each in queue.ledger.entries()}
    assert {(each.id, each.instance, each.origin, each.digest, each.size, each.state) for each in after} == {
        (each.id, each.instance, each.origin, each.digest, each.size, each.state) for each in before
    }
    assert {claimed(queue).id for _ in entries} == entries


def test_redacted_work_lost_with_the_ledger_is_done_again_and_overwrites_nothing_unclean(
    queue: Queue, ledger_url: str
) -> None:
    entry = redacted(queue)
    empty(ledger_url)
    queue.reconcile()
    again, name = redacted_in_the_end(queue, b"clean again")
    assert again.id == entry.id
    assert content(queue.spool, name) == b"clean again"


def test_bytes_without_a_row_get_one_and_their_receiver_may_still_insert_it(queue: Queue) -> None:
    entry_id = bytes_without_a_row(queue, b"content")
    assert queue.reconcile() == Reconciliation(inserted=1)
    entry = queue.ledger.entry(entry_id).entry
    assert queue.ledger.accept(entry) is Accepted.NEW
    assert content(queue.spool, f"{entry_id}.dcm") == b"content"


def test_bytes_without_a_row_that_are_a_duplicate_go_but_only_when_they_are_old(queue: Queue) -> None:
    first = accept(queue)
    second = bytes_without_a_row(queue, b"content")
    assert queue.reconcile() == NOTHING_TO_DO
    assert queue.spool.has_original(second)
    assert queue.reconcile(older_than_seconds=0.0) == Reconciliation(duplicates=1)
    assert files(queue) == {f"{first}.dcm", f"{first}.json"}


def test_a_duplicate_does_not_go_while_the_first_one_is_not_what_arrived(queue: Queue) -> None:
    first, _ = queue.accept(incoming(queue, b"the same"), INSTANCE, ORIGIN)
    damage(queue.spool, f"{first}.dcm", b"zeros!!!")
    again = bytes_without_a_row(queue, b"the same")
    assert queue.reconcile(older_than_seconds=0.0).duplicates == 0
    claimed = queue.ledger.claim("redactor", 60.0)
    assert claimed is not None
    assert queue.ledger.settle_damaged(claimed, "its bytes are not those that arrived")
    assert queue.reconcile(older_than_seconds=0.0).inserted == 1
    assert queue.ledger.entry(again).entry.state is State.RECEIVED


def test_the_last_copy_is_not_taken_for_a_duplicate_of_a_row_without_bytes(queue: Queue) -> None:
    first = accept(queue)
    second = bytes_without_a_row(queue, b"content")
    lose(queue.spool, f"{first}.dcm")
    done = queue.reconcile(older_than_seconds=0.0)
    assert (done.held, done.inserted, done.duplicates) == (1, 1, 0)
    assert content(queue.spool, f"{second}.dcm") == b"content"


@pytest.mark.parametrize("end", [State.SENT, State.DROPPED])
def test_bytes_that_are_left_of_what_is_done_are_deleted(queue: Queue, end: State) -> None:
    entry = sent(queue) if end is State.SENT else redacted(queue)
    if end is State.DROPPED:
        queue.ledger.drop(entry.id)
    assert queue.reconcile() == Reconciliation(deleted=1)
    assert files(queue) == set()
    assert state(queue, entry.id) is end


@pytest.mark.parametrize("make", [claimed_after_accept, redacted])
def test_a_row_without_its_bytes_is_held_and_a_resend_is_welcome(
    queue: Queue,
    make: Callable[[Queue], QueueEntry],
) -> None:
    entry = make(queue)
    lose(queue.spool, f"{entry.id}.dcm")
    assert queue.reconcile() == Reconciliation(held=1)
    assert queue.reconcile() == NOTHING_TO_DO
    assert queue.ledger.entry(entry.id).reason == "its bytes are missing from the spool"
    assert accept(queue) != entry.id


def test_the_last_file_of_a_held_entry_is_not_swept(queue: Queue) -> None:
    entry = redacted(queue)
    lose(queue.spool, f"{entry.id}.dcm")
    assert queue.reconcile(older_than_seconds=0.0) == Reconciliation(held=1)
    assert queue.reconcile(older_than_seconds=0.0) == NOTHING_TO_DO
    assert files(queue) == {f"{entry.id}.json", f"{entry.id}.1.dcm"}


def test_a_row_without_its_clean_file_is_redacted_again(queue: Queue) -> None:
    entry = redacted(queue)
    lose(queue.spool, f"{entry.id}.1.dcm")
    assert queue.reconcile() == Reconciliation(redact_again=1)
    assert queue.ledger.claim_deliveries("PACS", "sender", LEASE, 1) == []
    again = claimed(queue)
    assert (again.id, again.attempts) == (entry.id, 2)


def test_what_an_older_release_redacts_again_is_not_compared_with_the_digest_of_the_file_before(
    queue: Queue, ledger_url: str
) -> None:
    entry = claimed_after_accept(queue)
    path = queue.spool.write_redacted(entry.id, entry.attempts, lambda file: file.write(b"clean"))
    assert queue.ledger.settle_redacted(entry, RedactedFile(path.name, path, INSTANCE, 5, "0" * 64), ["PACS"])
    assert queue.ledger.redact_again(entry.id, path.name)
    engine = engine_on(ledger_url)
    with engine.begin() as connection:  # what that release writes, by the columns that it knows
        connection.execute(update(instance).values(state=State.REDACTED, redacted_file=f"{entry.id}.2.dcm"))
    engine.dispose()
    (delivery,) = queue.ledger.claim_deliveries("PACS", "sender", LEASE, 1)
    assert delivery.redacted_digest is None


def test_what_was_settled_since_the_look_is_left_alone(queue: Queue) -> None:
    entry = redacted(queue)
    assert not queue.ledger.redact_again(entry.id, "an older file")
    (delivery,) = queue.ledger.claim_deliveries("PACS", "sender", LEASE, 1)
    queue.ledger.settle_sent(delivery, 0x0000)
    assert not queue.ledger.redact_again(entry.id, f"{entry.id}.1.dcm")
    assert not queue.ledger.hold_without_bytes(entry.id)
    assert state(queue, entry.id) is State.SENT


@pytest.mark.parametrize("damaged", [None, b"", b"{}"])
def test_bytes_without_a_readable_sidecar_are_never_deleted(queue: Queue, damaged: bytes | None) -> None:
    entry_id = bytes_without_a_row(queue, b"content")
    lose(queue.spool, f"{entry_id}.json")
    if damaged is not None:
        damage(queue.spool, f"{entry_id}.json", damaged)
    assert queue.reconcile(older_than_seconds=0.0) == Reconciliation(unreadable=1)
    assert content(queue.spool, f"{entry_id}.dcm") == b"content"
    assert queue.ledger.entries() == []


def test_what_a_crash_left_is_swept_when_it_is_stale(queue: Queue) -> None:
    stale = incoming(queue, b"torn")
    assert queue.reconcile() == NOTHING_TO_DO
    os.utime(stale.path, (0, 0))
    assert queue.reconcile() == Reconciliation(swept=1)
    assert files(queue) == set()


def test_bytes_that_the_disk_refuses_keep_nobody_from_looking_at_the_others(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = accept(queue, b"given up, and not deleted yet")
    assert queue.ledger.drop(refused)
    other = bytes_without_a_row(queue, b"content", "f" * 32)
    remove = queue.spool.remove

    def refuse(entry_id: str, attempts: int) -> None:
        if entry_id == refused:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        remove(entry_id, attempts)

    monkeypatch.setattr(queue.spool, "remove", refuse)
    assert queue.reconcile() == Reconciliation(inserted=1, unreadable=1)
    assert state(queue, other) is State.RECEIVED


def test_a_row_whose_bytes_are_back_goes_on(queue: Queue) -> None:
    entry_id = accept(queue)
    lose(queue.spool, f"{entry_id}.dcm")
    assert queue.reconcile() == Reconciliation(held=1)
    damage(queue.spool, f"{entry_id}.dcm", b"content")
    assert queue.reconcile() == Reconciliation(found_again=1)
    assert claimed(queue).id == entry_id


# A store that is away: tests/acceptance/test_object_store.py.
@pytest.mark.parametrize("spool_url", [""], ids=["directory"])
def test_while_the_spool_is_not_there_no_row_is_held(queue: Queue) -> None:
    entry_id = accept(queue)
    root = queue.spool.incoming.parent
    away = root.rename(root.with_name("not mounted"))
    with pytest.raises(SpoolFull):
        queue.reconcile()
    assert state(queue, entry_id) is State.RECEIVED
    away.rename(root)
    assert queue.reconcile() == NOTHING_TO_DO


def test_bytes_without_a_row_that_are_not_those_that_arrived_are_held(queue: Queue) -> None:
    entry_id = bytes_without_a_row(queue, b"content")
    damage(queue.spool, f"{entry_id}.dcm", b"c\0\0tent")
    assert queue.reconcile() == Reconciliation(held=1)
    assert queue.ledger.entry(entry_id).reason == "its bytes are not those that arrived"
    assert queue.reconcile() == NOTHING_TO_DO
    assert accept(queue, content=b"content") != entry_id  # its sender still has it
    assert claimed(queue).id != entry_id


def test_clean_files_of_attempts_that_came_to_nothing_are_swept_and_the_one_that_counts_stays(queue: Queue) -> None:
    accept(queue)
    first = claimed(queue)
    left = queue.spool.write_redacted(first.id, first.attempts, lambda file: file.write(b"left"))
    queue.ledger.give_back(first)
    assert queue.reconcile(older_than_seconds=0.0) == NOTHING_TO_DO  # it may still be in hand
    second = claimed(queue)
    path = queue.spool.write_redacted(second.id, second.attempts, lambda file: file.write(b"clean"))
    assert queue.ledger.settle_redacted(second, RedactedFile(path.name, path, INSTANCE, 5), ["PACS"])
    assert queue.reconcile() == NOTHING_TO_DO  # too young
    assert queue.reconcile(older_than_seconds=0.0) == Reconciliation(swept=1)
    assert left.name not in names(queue.spool)
    assert path.name in names(queue.spool)


def test_the_clean_file_of_a_held_delivery_is_not_swept(queue: Queue) -> None:
    entry = redacted(queue)
    (delivery,) = queue.ledger.claim_deliveries("PACS", "sender", LEASE, 1)
    assert queue.ledger.settle_delivery_held(delivery, "refused", 0xA900)
    assert queue.reconcile(older_than_seconds=0.0) == NOTHING_TO_DO
    assert queue.spool.has_redacted(f"{entry.id}.1.dcm")


def test_bytes_are_counted_by_what_they_wait_for(queue: Queue) -> None:
    redacted(queue, b"12345")
    held = accept(queue, b"123")
    queue.ledger.hold(held, "no route fits")
    accept(queue, b"1")
    assert queue.ledger.kept() == {
        State.RECEIVED: Kept(1, 1, 0),
        State.REDACTED: Kept(1, 5, 5),
        State.STORED: Kept(),
        State.HELD: Kept(1, 3, 0),
    }


# Workers that outlive their ledger


def test_what_there_was_no_room_for_comes_after_what_waits_too(queue: Queue) -> None:
    first, second = accept(queue, b"first"), accept(queue, b"second")
    large = claimed(queue)
    assert queue.ledger.put_last(large)
    order = [claimed(queue).id, claimed(queue).id]
    assert order == [each for each in (first, second) if each != large.id] + [large.id]


def test_nobody_died_of_a_claim_that_could_not_be_settled(queue: Queue) -> None:
    """Again and again: two deaths would hold the instance."""
    accept(queue)
    for number in range(5):
        outlived = queue.ledger.claim(f"redactor {number}", LEASE)
        assert outlived is not None
        queue.ledger.expire(f"redactor {number}")
        if number % 2:
            taken_over = claimed(queue)
            queue.ledger.give_back_all([outlived])
            assert queue.ledger.give_back(taken_over)
        else:
            queue.ledger.give_back_all([outlived])
    assert claimed(queue).attempts == 8


def test_nobody_died_of_a_claim_that_was_settled_too_late(queue: Queue) -> None:
    """A machine that is slow for longer than a lease, again and again: the result does not count, nor does a death."""
    accept(queue)
    for number in range(5):
        late = queue.ledger.claim(f"redactor {number}", LEASE)
        assert late is not None
        queue.ledger.expire(f"redactor {number}")
        taken_over = claimed(queue)
        assert not queue.ledger.settle_held(late, "too late")
        assert queue.ledger.give_back(taken_over)
    assert claimed(queue).attempts == 11
