from __future__ import annotations

import stat
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, event, insert, select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.exc import OperationalError

from dicom_node.errors import SpoolFull
from dicom_node.model import Delivery, Origin, Priority, QueueEntry, RedactedFile, SOPInstance, State
from dicom_node.queue import Accepted, Ledger
from dicom_node.queue.database import SQLITE_VERSION
from dicom_node.queue.schema import delivery, instance, row_of
from dicom_node.queue.transitions import (
    DELIVERY_DEATHS,
    INSTANCE_DEATHS,
    claimable_deliveries,
    claimable_entries,
    is_dead,
)
from tests.support.ledgers import engine_on

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from sqlalchemy import Select

LEASE = 600.0
OVER = -1.0
LATER = 3600.0
CLEAN = SOPInstance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.5")


on_sqlite = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = Ledger(ledger_url)
    ledger.create()
    yield ledger
    ledger.close()


def new_entry(uid: str = "1.2.3", digest: str = "aa", received_at: float = 1.0, calling: str = "CT1") -> QueueEntry:
    instance = SOPInstance("1.2.840.10008.5.1.4.1.1.2", uid, "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")
    origin = Origin(calling, "NODE", "192.0.2.7", received_at)
    return QueueEntry(uuid.uuid4().hex, instance, origin, State.RECEIVED, digest, 512)


def accepted(ledger: Ledger, number: int = 1) -> QueueEntry:
    entry = new_entry(uid=f"1.2.3.{number}", received_at=float(number))
    assert ledger.accept(entry) is Accepted.NEW
    return entry


def clean_file(entry: QueueEntry) -> RedactedFile:
    name = f"{entry.id}.{entry.attempts}.dcm"
    return RedactedFile(name, Path("redacted") / name, CLEAN, 300)


def redacted(ledger: Ledger, number: int = 1, destinations: tuple[str, ...] = ("PACS",)) -> QueueEntry:
    accepted(ledger, number)
    entry = claimed(ledger)
    assert ledger.settle_redacted(entry, clean_file(entry), destinations)
    return entry


def claimed(ledger: Ledger, owner: str = "redactor", lease: float = LEASE) -> QueueEntry:
    entry = ledger.claim(owner, lease)
    assert entry is not None
    return entry


def sending(ledger: Ledger, destination: str = "PACS", owner: str = "sender", lease: float = LEASE) -> Delivery:
    (delivery,) = ledger.claim_deliveries(destination, owner, lease, 1)
    return delivery


def state(ledger: Ledger, entry: QueueEntry) -> State:
    return ledger.entry(entry.id).entry.state


# Accepting


def test_an_accepted_entry_is_claimed_with_all_that_was_said_of_it(ledger: Ledger) -> None:
    entry = accepted(ledger)
    assert ledger.entry(entry.id).entry == entry
    got = claimed(ledger, owner="me")
    assert (got.id, got.instance, got.origin, got.digest, got.size) == (
        entry.id,
        entry.instance,
        entry.origin,
        entry.digest,
        entry.size,
    )
    assert (got.attempts, got.owner, got.state) == (1, "me", State.RECEIVED)


def test_accepting_the_same_id_twice_changes_nothing(ledger: Ledger) -> None:
    entry = accepted(ledger)
    claim = claimed(ledger)
    assert ledger.accept(entry) is Accepted.NEW
    assert ledger.settle_held(claim, "still mine")
    assert ledger.counts()["HELD"] == 1


def test_the_same_bytes_from_the_same_ae_are_a_duplicate(ledger: Ledger) -> None:
    first, again = new_entry(), new_entry()
    ledger.accept(first)
    assert ledger.accept(again) is Accepted.DUPLICATE
    assert ledger.find(again) == first.id
    assert [each.entry.id for each in ledger.entries()] == [first.id]


def test_the_same_bytes_from_another_ae_are_no_duplicate_and_no_conflict(ledger: Ledger) -> None:
    ledger.accept(new_entry(calling="CT1"))
    assert ledger.accept(new_entry(calling="CT2")) is Accepted.NEW
    assert not any(each.entry.conflict for each in ledger.entries())


def test_other_bytes_under_the_same_sop_instance_uid_are_kept_and_flagged(ledger: Ledger) -> None:
    first, second = new_entry(digest="aa"), new_entry(digest="bb")
    ledger.accept(first)
    assert ledger.accept(second) is Accepted.NEW
    assert not ledger.entry(first.id).entry.conflict
    assert ledger.entry(second.id).entry.conflict


def test_those_who_arrive_together_each_hear_whether_theirs_was_known(ledger: Ledger) -> None:
    known = [accepted(ledger, number) for number in range(8)]
    again = [replace(entry, id=uuid.uuid4().hex) for entry in known]
    new = [new_entry(uid=f"1.2.4.{number}") for number in range(8)]
    mixed = [entry for three in zip(new, again, known, strict=True) for entry in three]
    with ThreadPoolExecutor(8) as threads:
        heard = list(threads.map(ledger.accept, mixed))
    assert heard == [Accepted.NEW, Accepted.DUPLICATE, Accepted.NEW] * 8
    assert {each.entry.id for each in ledger.entries()} == {entry.id for entry in (*known, *new)}


def test_a_row_that_the_database_refuses_is_not_called_a_duplicate(ledger: Ledger) -> None:
    entry = replace(new_entry(uid="1.2.3.99999"), size=None)  # type: ignore[arg-type] # NOT NULL is what refuses it
    with pytest.raises(SpoolFull) as raised:
        ledger.accept(entry)
    assert "1.2.3.99999" not in str(raised.value)
    assert ledger.entries() == []


def test_a_ledger_that_is_not_there_refuses_without_quoting_an_element_value(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'none' / 'ledger.db'}")
    with pytest.raises(SpoolFull) as raised:
        ledger.accept(new_entry(uid="1.2.3.99999"))
    assert "1.2.3.99999" not in f"{raised.value} {raised.value.__cause__}"
    with pytest.raises(SpoolFull):
        ledger.find(new_entry())
    ledger.close()


def test_an_error_of_the_database_quotes_no_value(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'has no tables.db'}")
    with pytest.raises(OperationalError) as raised:
        ledger.entry("1.2.3.99999")
    assert "no such table" in str(raised.value)
    assert "1.2.3.99999" not in str(raised.value)
    ledger.close()


# Claiming


def test_instances_are_claimed_oldest_first_and_each_once(ledger: Ledger) -> None:
    entries = [accepted(ledger, number) for number in (3, 1, 2)]
    order = [claimed(ledger).id for _ in entries]
    assert order == [entries[1].id, entries[2].id, entries[0].id]
    assert ledger.claim("other", LEASE) is None


def test_a_receiver_whose_clock_is_ahead_does_not_delay_its_instances(ledger: Ledger) -> None:
    entry = new_entry(received_at=4e9)
    ledger.accept(entry)
    assert claimed(ledger).id == entry.id


def test_another_worker_takes_over_when_the_lease_ran_out(ledger: Ledger) -> None:
    accepted(ledger)
    late = claimed(ledger, owner="late", lease=OVER)
    heir = claimed(ledger, owner="heir")
    assert (heir.id, heir.attempts) == (late.id, 2)


def test_a_late_worker_cannot_settle_what_another_took_over(ledger: Ledger) -> None:
    accepted(ledger)
    late = claimed(ledger, owner="late", lease=OVER)
    heir = claimed(ledger, owner="heir")
    assert not ledger.settle_held(late, "late")
    assert not ledger.settle_redacted(late, clean_file(late), ["PACS"])
    assert not ledger.give_back(late)
    assert state(ledger, heir) is State.RECEIVED
    assert ledger.settle_redacted(heir, clean_file(heir), ["PACS"])


def test_the_fence_counts_attempts_when_the_same_owner_claims_again(ledger: Ledger) -> None:
    accepted(ledger)
    first = claimed(ledger, lease=OVER)
    second = claimed(ledger)
    assert not ledger.settle_held(first, "late")
    assert ledger.settle_held(second, "mine")


def test_an_entry_that_nobody_claimed_cannot_be_settled(ledger: Ledger) -> None:
    entry = accepted(ledger)
    assert not ledger.settle_held(entry, "not mine")
    assert state(ledger, entry) is State.RECEIVED


def test_a_worker_that_is_late_but_alone_still_settles(ledger: Ledger) -> None:
    accepted(ledger)
    entry = claimed(ledger, lease=OVER)
    assert ledger.settle_held(entry, "unreadable")


def test_two_deaths_hold_the_instance_and_the_next_one_is_claimed(ledger: Ledger) -> None:
    poison, other = accepted(ledger, 1), accepted(ledger, 2)
    for _ in range(2):
        assert claimed(ledger, lease=OVER).id == poison.id
    assert claimed(ledger).id == other.id
    held = ledger.entry(poison.id).entry
    assert (held.state, held.reason) == (State.HELD, "the worker process died twice on this instance")


def test_a_job_that_was_given_back_is_due_at_once_and_no_death(ledger: Ledger) -> None:
    entry = accepted(ledger)
    for attempts in range(1, 6):
        claim = claimed(ledger)
        assert (claim.id, claim.attempts) == (entry.id, attempts)
        assert ledger.give_back(claim)


def test_the_work_of_a_dead_process_is_free_at_once_and_that_of_others_is_not(ledger: Ledger) -> None:
    first, second = accepted(ledger, 1), accepted(ledger, 2)
    claimed(ledger, owner="dead")
    claimed(ledger, owner="alive")
    ledger.expire("dead")
    assert claimed(ledger).id == first.id
    assert ledger.claim("other", LEASE) is None
    ledger.expire("redactor")
    assert ledger.claim("other", LEASE) is None
    assert state(ledger, first) is State.HELD
    assert state(ledger, second) is State.RECEIVED


def test_renewing_keeps_live_jobs_only(ledger: Ledger) -> None:
    accepted(ledger, 1)
    accepted(ledger, 2)
    live = claimed(ledger, lease=OVER)
    ledger.renew([live], LEASE)
    forgotten = claimed(ledger, lease=OVER)
    ledger.renew([live], LEASE)
    assert claimed(ledger, owner="other").id == forgotten.id
    assert ledger.claim("other", LEASE) is None


def test_renewing_does_not_take_a_job_back_from_its_heir(ledger: Ledger) -> None:
    accepted(ledger)
    late = claimed(ledger, owner="late", lease=OVER)
    claimed(ledger, owner="heir", lease=OVER)
    ledger.renew([late], LEASE)
    assert ledger.claim("third", LEASE) is None
    assert state(ledger, late) is State.HELD


# Delivering


def test_a_clean_instance_is_delivered_to_each_destination_and_then_sent(ledger: Ledger) -> None:
    entry = redacted(ledger, destinations=("PACS", "RESEARCH"))
    assert state(ledger, entry) is State.REDACTED
    first = sending(ledger, "PACS")
    assert (first.instance, first.redacted_file, first.size) == (CLEAN, f"{entry.id}.1.dcm", 300)
    assert (first.entry_id, first.attempts, first.owner, first.origin) == (entry.id, 1, "sender", entry.origin)
    assert ledger.settle_sent(first, 0x0000)
    assert state(ledger, entry) is State.REDACTED
    assert ledger.settle_sent(sending(ledger, "RESEARCH"), 0xB000)
    assert state(ledger, entry) is State.SENT
    assert [each.status for each in ledger.entry(entry.id).deliveries] == [0x0000, 0xB000]


def test_only_redacted_instances_are_delivered(ledger: Ledger) -> None:
    accepted(ledger)
    claimed(ledger)
    assert ledger.claim_deliveries("PACS", "sender", LEASE, 10) == []


def test_redacted_without_a_destination_is_an_error_not_a_state(ledger: Ledger) -> None:
    accepted(ledger)
    entry = claimed(ledger)
    with pytest.raises(ValueError, match="destination"):
        ledger.settle_redacted(entry, clean_file(entry), [])
    assert ledger.settle_held(entry, "no destination")


def test_deliveries_are_claimed_oldest_first_up_to_the_limit_and_each_once(ledger: Ledger) -> None:
    entries = [redacted(ledger, number) for number in (3, 1, 2)]
    first = ledger.claim_deliveries("PACS", "one", LEASE, 2)
    rest = ledger.claim_deliveries("PACS", "two", LEASE, 10)
    assert [each.entry_id for each in first + rest] == [entries[1].id, entries[2].id, entries[0].id]
    assert ledger.claim_deliveries("PACS", "three", LEASE, 10) == []


def test_a_late_sender_cannot_settle_what_another_took_over(ledger: Ledger) -> None:
    entry = redacted(ledger)
    late = sending(ledger, owner="late", lease=OVER)
    heir = sending(ledger, owner="heir")
    assert not ledger.settle_sent(late, 0x0000)
    assert not ledger.settle_deferred(late, "late", LATER)
    assert not ledger.settle_delivery_held(late, "late", None)
    assert state(ledger, entry) is State.REDACTED
    assert ledger.settle_sent(heir, 0x0000)


def test_a_deferred_delivery_waits_and_counts_its_failures(ledger: Ledger) -> None:
    redacted(ledger)
    assert ledger.settle_deferred(sending(ledger), "time-out", OVER)
    again = sending(ledger)
    assert (again.failures, again.reason, again.attempts) == (1, "time-out", 2)
    assert ledger.settle_deferred(again, "time-out", LATER)
    assert ledger.claim_deliveries("PACS", "sender", LEASE, 10) == []


def test_deferring_is_never_a_death(ledger: Ledger) -> None:
    entry = redacted(ledger)
    for _ in range(12):
        assert ledger.settle_deferred(sending(ledger), "time-out", OVER)
    assert sending(ledger).entry_id == entry.id


def test_a_held_delivery_shows_the_instance_as_held_and_lets_the_others_go_on(ledger: Ledger) -> None:
    entry = redacted(ledger, destinations=("PACS", "RESEARCH"))
    assert ledger.settle_delivery_held(sending(ledger, "PACS"), "refused for good", 0xA900)
    assert ledger.settle_sent(sending(ledger, "RESEARCH"), 0x0000)
    summary = ledger.entry(entry.id)
    assert (summary.entry.state, summary.state) == (State.REDACTED, State.HELD)
    assert summary.reason == "PACS: refused for good"
    assert [(each.state, each.status) for each in summary.deliveries] == [(State.HELD, 0xA900), (State.SENT, 0x0000)]


def test_a_delivery_is_held_only_after_ten_deaths(ledger: Ledger) -> None:
    entry = redacted(ledger)
    for _ in range(10):
        assert sending(ledger, lease=OVER).entry_id == entry.id
    assert ledger.claim_deliveries("PACS", "sender", LEASE, 10) == []
    assert ledger.entry(entry.id).state is State.HELD


def test_a_delivery_is_renewed_given_back_and_expired_like_an_instance(ledger: Ledger) -> None:
    redacted(ledger)
    live = sending(ledger, lease=OVER)
    ledger.renew([live], LEASE)
    assert ledger.claim_deliveries("PACS", "other", LEASE, 1) == []
    assert ledger.give_back(live)
    sending(ledger, owner="dead")
    ledger.expire("dead")
    assert sending(ledger).attempts == 3


def test_redacting_again_does_not_send_again_what_a_destination_has(ledger: Ledger) -> None:
    entry = redacted(ledger, destinations=("OLD", "PACS", "RESEARCH"))
    assert ledger.settle_sent(sending(ledger, "PACS"), 0x0000)
    waiting = sending(ledger, "RESEARCH")
    assert ledger.redact_again(entry.id, f"{entry.id}.1.dcm")
    assert ledger.claim_deliveries("OLD", "sender", LEASE, 10) == []
    again = claimed(ledger)
    assert ledger.settle_redacted(again, clean_file(again), ["PACS", "RESEARCH"])
    assert ledger.claim_deliveries("PACS", "sender", LEASE, 10) == []
    assert not ledger.settle_sent(waiting, 0x0000)
    assert ledger.settle_sent(sending(ledger, "RESEARCH"), 0x0000)
    assert state(ledger, entry) is State.SENT
    assert [each.destination for each in ledger.entry(entry.id).deliveries] == ["PACS", "RESEARCH"]


def test_redacting_again_for_destinations_that_all_have_it_is_sent(ledger: Ledger) -> None:
    entry = redacted(ledger, destinations=("PACS", "RESEARCH"))
    ledger.settle_sent(sending(ledger, "PACS"), 0x0000)
    ledger.redact_again(entry.id, f"{entry.id}.1.dcm")
    again = claimed(ledger)
    assert ledger.settle_redacted(again, clean_file(again), ["PACS"])
    assert state(ledger, entry) is State.SENT


# Destinations


def test_a_destination_that_is_down_delays_only_its_own_deliveries(ledger: Ledger) -> None:
    redacted(ledger, destinations=("PACS", "RESEARCH"))
    ledger.destination_down("PACS", "connection refused", LATER)
    assert ledger.claim_deliveries("PACS", "sender", LEASE, 10) == []
    assert len(ledger.claim_deliveries("RESEARCH", "sender", LEASE, 10)) == 1
    ledger.destination_up("PACS")
    assert len(ledger.claim_deliveries("PACS", "sender", LEASE, 10)) == 1


def test_failures_of_a_destination_are_counted_until_it_is_up(ledger: Ledger) -> None:
    assert ledger.destination_failures("PACS") == 0
    for _ in range(3):
        ledger.destination_down("PACS", "connection refused", OVER)
    assert ledger.destination_failures("PACS") == 3
    assert ledger.destination_failures("RESEARCH") == 0
    ledger.destination_up("PACS")
    assert ledger.destination_failures("PACS") == 0


def test_a_destination_whose_wait_is_over_gets_nothing_before_it_is_verified(ledger: Ledger) -> None:
    redacted(ledger)
    ledger.destination_down("PACS", "connection refused", OVER)
    assert ledger.claim_deliveries("PACS", "sender", LEASE, 1) == []
    assert ledger.claim_probe("PACS", LATER)
    assert ledger.claim_deliveries("PACS", "sender", LEASE, 1) == []
    ledger.destination_up("PACS")
    assert sending(ledger).attempts == 1


def test_of_all_senders_one_verifies_a_destination_once_a_wait(ledger: Ledger, ledger_url: str) -> None:
    ledger.destination_down("PACS", "connection refused", LATER)
    assert not ledger.claim_probe("PACS", LATER)
    assert not ledger.claim_probe("never down", LATER)
    for _ in range(3):
        ledger.destination_down("PACS", "connection refused", OVER)
        machines = [Ledger(ledger_url) for _ in range(4)]
        with ThreadPoolExecutor(len(machines)) as threads:
            took = list(threads.map(lambda machine: machine.claim_probe("PACS", LATER), machines))
        assert sorted(took) == [False, False, False, True]
        for machine in machines:
            machine.close()
    assert ledger.destination_failures("PACS") == 4


def test_another_sender_verifies_a_destination_when_the_one_that_took_it_on_has_died(ledger: Ledger) -> None:
    ledger.destination_down("PACS", "connection refused", OVER)
    assert ledger.claim_probe("PACS", OVER)
    assert ledger.claim_probe("PACS", LATER)


def test_a_paused_destination_is_not_verified(ledger: Ledger) -> None:
    ledger.destination_down("PACS", "connection refused", OVER)
    ledger.pause("PACS")
    assert not ledger.claim_probe("PACS", LATER)
    ledger.resume("PACS")
    assert ledger.claim_probe("PACS", LATER)


def test_a_paused_destination_waits_until_it_is_resumed_even_if_it_is_up(ledger: Ledger) -> None:
    redacted(ledger, destinations=("PACS", "RESEARCH"))
    ledger.pause("PACS")
    ledger.destination_up("PACS")
    assert ledger.claim_deliveries("PACS", "sender", LEASE, 10) == []
    assert len(ledger.claim_deliveries("RESEARCH", "sender", LEASE, 10)) == 1
    ledger.resume("PACS")
    assert len(ledger.claim_deliveries("PACS", "sender", LEASE, 10)) == 1


# The database


@on_sqlite
def test_the_database_and_its_journal_can_be_read_by_nobody_else(ledger: Ledger, tmp_path: Path) -> None:
    accepted(ledger)
    files = list(tmp_path.glob("ledger.db*"))
    assert tmp_path / "ledger.db" in files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_commit_is_on_the_disk_and_the_journal_suits_this_sqlite(tmp_path: Path) -> None:
    asked: dict[str, object] = {}
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    names = ("synchronous", "foreign_keys", "journal_mode", "busy_timeout")

    def ask(connection: sqlite3.Connection, *_: object) -> None:
        asked.update({name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names})

    event.listen(Engine, "checkout", ask)
    try:
        ledger.create()
    finally:
        event.remove(Engine, "checkout", ask)
        ledger.close()
    journal = "wal" if SQLITE_VERSION >= (3, 51, 3) else "truncate"
    assert asked == {"synchronous": 2, "foreign_keys": 1, "journal_mode": journal, "busy_timeout": 30_000}


@pytest.mark.parametrize("journal", ["WAL", "TRUNCATE"])
def test_only_arrivals_are_not_synced_by_themselves_and_only_in_a_write_ahead_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: str
) -> None:
    monkeypatch.setattr("dicom_node.queue.database._JOURNAL", journal)
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        ledger.create()
        accepted(ledger)
        kept = ledger._kept  # noqa: SLF001 - what arrivals go over is what is looked at
        assert kept is not None
        assert kept.exec_driver_sql("PRAGMA synchronous").scalar() == (1 if journal == "WAL" else 2)
        kept.rollback()
        synced: list[int] = []

        def ask(connection: sqlite3.Connection, *_: object) -> None:
            synced.append(connection.execute("PRAGMA synchronous").fetchone()[0])

        event.listen(Engine, "checkout", ask)
        try:
            assert ledger.accept(new_entry(uid="1.2.3.1", received_at=1.0)) is Accepted.DUPLICATE
            assert ledger.settle_held(claimed(ledger), "reason")
        finally:
            event.remove(Engine, "checkout", ask)
        assert set(synced) == {2}


def test_creating_twice_loses_nothing(ledger: Ledger) -> None:
    entry = accepted(ledger)
    ledger.create()
    assert ledger.entry(entry.id).entry.id == entry.id


def test_several_processes_that_start_at_once_make_one_ledger(ledger_url: str) -> None:
    ledgers = [Ledger(ledger_url) for _ in range(8)]
    with ThreadPoolExecutor(len(ledgers)) as threads:
        list(threads.map(Ledger.create, ledgers))
    entry = accepted(ledgers[0])
    assert [each.entry.id for each in ledgers[-1].entries()] == [entry.id]
    for each in ledgers:
        each.close()


def fill(path: Path, number: int) -> None:
    """Half of the instances wait for redaction, half for PACS."""
    rows = [
        {**row_of(new_entry(f"1.2.{n}", received_at=n)), "state": state, "not_before": n, "updated_at": n}
        for n in range(number // 2)
        for state in (State.RECEIVED, State.REDACTED)
    ]
    clean = {"redacted_file": "clean", "redacted_size": 1, "redacted_instance": asdict(CLEAN)}
    to_pacs = {"destination": "PACS", "state": State.REDACTED, "not_before": 1.0, "updated_at": 1.0}
    engine = engine_on(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(insert(instance), [{**row, **clean} for row in rows])
        sent = [{"instance_id": row["id"], **to_pacs} for row in rows if row["state"] is State.REDACTED]
        connection.execute(insert(delivery), sent)
    engine.dispose()


def plan(path: Path, query: Select[Any]) -> str:
    compiled = query.params(at=9e9).compile(dialect=SQLiteDialect_pysqlite(), compile_kwargs={"literal_binds": True})
    engine = engine_on(f"sqlite:///{path}")
    with engine.connect() as connection:
        found = "\n".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}"))
    engine.dispose()
    return found


@on_sqlite
def test_a_claim_among_5000_waiting_uses_its_index_and_sorts_nothing(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    fill(path, 5000)
    entries = plan(path, claimable_entries(Priority.MEDIUM))
    deliveries = plan(path, claimable_deliveries("PACS", Priority.MEDIUM, 10))
    assert "USING INDEX instance_due (state=? AND priority=? AND not_before<?)" in entries
    assert "USING INDEX delivery_due (destination=? AND state=? AND priority=? AND not_before<?)" in deliveries
    assert "TEMP B-TREE" not in entries + deliveries
    for limit in (INSTANCE_DEATHS, DELIVERY_DEATHS):
        dead = plan(path, select(limit.table).where(is_dead(limit)))
        assert f"USING INDEX {limit.table.name}_lease (state=? AND lease_until<?)" in dead
    assert claimed(ledger).origin.received_at == 0
    assert len(ledger.claim_deliveries("PACS", "sender", LEASE, 2400)) == 2400
    assert len(ledger.claim_deliveries("PACS", "sender", LEASE, 2400)) == 100


def test_on_postgresql_claims_skip_rows_that_another_is_claiming() -> None:
    entries = str(claimable_entries(Priority.LOW).compile(dialect=PGDialect_psycopg()))
    deliveries = str(claimable_deliveries("PACS", Priority.LOW, 1).compile(dialect=PGDialect_psycopg()))
    assert entries.endswith("FOR UPDATE SKIP LOCKED")
    assert deliveries.endswith("FOR UPDATE OF delivery SKIP LOCKED")
