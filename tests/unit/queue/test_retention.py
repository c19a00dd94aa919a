"""What is done goes after a time: originals of what is sent, rows of all that is done; and what is held, for good."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, update

from dicom_node.model import Origin, QueueEntry, RedactedFile, SOPInstance, State
from dicom_node.queue import Accepted, Ledger, Queue, Spool
from dicom_node.queue.schema import instance, row_of
from tests.support.ledgers import engine_on
from tests.support.spools import WholeFile, content, names, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LEASE = 600.0
DAY = 86400.0
ORIGIN = Origin("CT1", "NODE", "192.0.2.7", 1_700_000_000.0)
NOW = 0.0
"""Older than no time at all is everything."""
CLEAN_DIGEST = text_of(b"clean")


@pytest.fixture
def make_queue(tmp_path: Path, ledger_url: str) -> Iterator[Callable[..., Queue]]:
    ledger = Ledger(ledger_url)
    ledger.create()

    def make(keep_originals: float = 0.0) -> Queue:
        queue = Queue(Spool(tmp_path / "spool"), ledger, keep_originals=keep_originals)
        queue.spool.prepare()
        return queue

    yield make
    ledger.close()


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Queue:
    return make_queue()


def identity(number: int) -> SOPInstance:
    return SOPInstance("1.2.840.10008.5.1.4.1.1.2", f"1.2.{number}", "1.3.7", "1.4.7", "1.2.840.10008.1.2.1")


def accept(queue: Queue, number: int = 1) -> tuple[str, Accepted]:
    incoming = WholeFile(queue.spool.incoming / "being received", f"content {number}".encode())
    return queue.accept(incoming, identity(number), ORIGIN)


def redacted(queue: Queue, number: int = 1, destinations: tuple[str, ...] = ("PACS",)) -> QueueEntry:
    accept(queue, number)
    entry = queue.ledger.claim("redactor", LEASE)
    assert entry is not None
    path = queue.spool.write_redacted(entry.id, entry.attempts, lambda file: file.write(b"clean"))
    clean = RedactedFile(path.name, path, identity(number), 5, CLEAN_DIGEST)
    assert queue.ledger.settle_redacted(entry, clean, destinations)
    return entry


def sent(queue: Queue, number: int = 1) -> QueueEntry:
    entry = redacted(queue, number)
    (delivery,) = queue.ledger.claim_deliveries("PACS", "sender", LEASE, 1)
    assert queue.ledger.settle_sent(delivery, 0x0000)
    assert queue.finish(entry.id)
    return entry


def held(queue: Queue, number: int = 1) -> str:
    entry_id, _ = accept(queue, number)
    queue.ledger.hold(entry_id, "no route fits")
    return entry_id


def files(queue: Queue) -> set[str]:
    return names(queue.spool)


def make_older(url: str, seconds: float) -> None:
    """As if everything had happened so long ago."""
    engine = engine_on(url)
    with engine.begin() as connection:
        connection.execute(update(instance).values(updated_at=instance.c.updated_at - seconds))
    engine.dispose()


# Originals


def test_an_original_that_is_kept_stays_without_its_clean_file_until_its_time_is_over(
    make_queue: Callable[..., Queue], ledger_url: str
) -> None:
    queue = make_queue(keep_originals=DAY)
    entry = sent(queue)
    kept = {f"{entry.id}.dcm", f"{entry.id}.json"}
    assert files(queue) == kept
    assert queue.reconcile(NOW).deleted == 0
    assert files(queue) == kept
    make_older(ledger_url, 2 * DAY)
    assert queue.reconcile(NOW).deleted == 1
    assert files(queue) == set()
    assert accept(queue) == (entry.id, Accepted.DUPLICATE)


def test_an_original_that_is_kept_for_ever_goes_when_an_operator_says_so(
    make_queue: Callable[..., Queue], ledger_url: str
) -> None:
    queue = make_queue(keep_originals=math.inf)
    entry, waiting = sent(queue, 1), redacted(queue, 2)
    make_older(ledger_url, 10_000 * DAY)
    queue.reconcile(NOW)
    assert content(queue.spool, f"{entry.id}.dcm") == b"content 1"
    assert queue.purge(entry.id)
    assert not queue.spool.has_original(entry.id)
    assert not queue.purge(entry.id)
    assert not queue.purge(waiting.id)
    assert queue.spool.has_original(waiting.id)


# Rows


def test_rows_of_what_is_done_go_when_their_time_is_over_and_a_resend_is_a_new_instance_then(
    queue: Queue, ledger_url: str
) -> None:
    entry, dropped = sent(queue, 1), held(queue, 2)
    assert queue.drop(dropped)
    assert queue.expire_rows(DAY) == 0
    assert accept(queue, 1) == (entry.id, Accepted.DUPLICATE)
    make_older(ledger_url, 2 * DAY)
    assert queue.expire_rows(DAY) == 2
    assert queue.ledger.entries() == []
    assert accept(queue, 1)[1] is Accepted.NEW


def test_rows_of_what_is_not_done_stay_however_old_they_are(queue: Queue, ledger_url: str) -> None:
    redacted(queue, 1)
    held(queue, 2)
    accept(queue, 3)
    make_older(ledger_url, 10_000 * DAY)
    assert queue.expire_rows(NOW) == 0
    assert len(queue.ledger.entries()) == 3


def test_a_row_whose_bytes_are_still_there_stays_and_so_nothing_is_sent_twice(
    make_queue: Callable[..., Queue],
) -> None:
    queue = make_queue(keep_originals=DAY)
    entry, other = sent(queue, 1), sent(queue, 2)
    queue.purge(other.id)
    assert queue.expire_rows(NOW) == 1
    assert queue.reconcile(NOW).inserted == 0
    assert [each.entry.id for each in queue.ledger.entries()] == [entry.id]


def test_thousands_of_rows_go_in_bounded_batches_past_those_that_stay(
    make_queue: Callable[..., Queue], ledger_url: str
) -> None:
    queue = make_queue(keep_originals=DAY)
    sent(queue, 0)
    make_older(ledger_url, time.time() - 1)  # what stays is the oldest
    dropped = [
        QueueEntry(f"{number:032x}", identity(number), ORIGIN, State.DROPPED, "sha", 5) for number in range(1, 1200)
    ]
    engine = engine_on(ledger_url)
    with engine.begin() as connection:
        rows = [{**row_of(each), "state": State.DROPPED, "not_before": 1.0, "updated_at": 1e6} for each in dropped]
        connection.execute(insert(instance), rows)
    engine.dispose()
    assert queue.expire_rows(NOW, limit=500) == 499 + 500
    while queue.expire_rows(NOW, limit=500):
        pass
    assert len(queue.ledger.entries(limit=10)) == 1


def test_rows_that_are_kept_for_ever_are_not_even_looked_at(queue: Queue, ledger_url: str) -> None:
    sent(queue)
    make_older(ledger_url, 10_000 * DAY)
    assert queue.expire_rows(math.inf) == 0


# Removal of what is held


def test_what_is_held_is_overwritten_before_it_is_deleted_and_its_row_forgets_who_it_was(
    queue: Queue, tmp_path: Path
) -> None:
    entry = redacted(queue)
    (delivery,) = queue.ledger.claim_deliveries("PACS", "sender", LEASE, 1)
    queue.ledger.settle_delivery_held(delivery, "A900H", 0xA900)
    count = len(files(queue))
    for number, path in enumerate(sorted(path for path in queue.spool.incoming.parent.rglob("*") if path.is_file())):
        (tmp_path / str(number)).hardlink_to(path)
    sizes = [(tmp_path / str(number)).stat().st_size for number in range(count)]
    assert queue.drop_all([entry.id], overwrite=True) == 1
    assert files(queue) == set()
    assert [(tmp_path / str(number)).read_bytes() for number in range(count)] == [bytes(size) for size in sizes]
    row = queue.ledger.entry(entry.id)
    assert row.state is State.DROPPED
    told = repr(row)
    assert not [value for value in ("1.2.1", "1.3.7", "1.4.7", entry.digest, CLEAN_DIGEST) if f"'{value}'" in told]
    assert accept(queue)[1] is Accepted.NEW


@pytest.mark.parametrize("make", ["received", "redacted", "sent"])
def test_only_what_is_held_is_overwritten(queue: Queue, make: str) -> None:
    made = {
        "received": lambda: accept(queue)[0],
        "redacted": lambda: redacted(queue).id,
        "sent": lambda: sent(queue).id,
    }
    entry_id = made[make]()
    before = files(queue), queue.ledger.entry(entry_id)
    assert queue.drop_all([entry_id], overwrite=True) == 0
    assert (files(queue), queue.ledger.entry(entry_id)) == before


def test_what_is_on_its_way_to_another_destination_is_not_overwritten_under_it(queue: Queue) -> None:
    entry = redacted(queue, 1, ("ARCHIVE", "PACS"))
    (to_pacs,) = queue.ledger.claim_deliveries("PACS", "sender", LEASE, 1)
    queue.ledger.settle_delivery_held(to_pacs, "A900H", 0xA900)
    (to_archive,) = queue.ledger.claim_deliveries("ARCHIVE", "sender", LEASE, 1)
    assert queue.drop_all([entry.id], overwrite=True) == 0
    assert content(queue.spool, str(to_archive.redacted_file)) == b"clean"
    queue.ledger.give_back(to_archive)
    assert queue.drop_all([entry.id], overwrite=True) == 1


def test_a_removal_that_ended_in_the_middle_is_still_held_and_goes_on_when_it_is_told_again(queue: Queue) -> None:
    entry_id = held(queue)
    queue.ledger.hold_for_removal([entry_id])
    queue.spool.overwrite(entry_id, 0)
    summary = queue.ledger.entry(entry_id)
    assert (summary.state, summary.reason) == (State.HELD, "its removal has begun: drop it again")
    assert queue.drop_all([entry_id], overwrite=True) == 1
    assert files(queue) == set()
