"""Whose turn it is: priorities, and the order within a study at destinations that keep it."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from dicom_node.model import Delivery, Origin, Priority, QueueEntry, RedactedFile, SOPInstance, State
from dicom_node.queue import Ledger, turns
from tests.support.ledgers import engine_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Select

LEASE = 600.0
OVER = -1.0
LATER = 3600.0
DAY = 86400.0
INSTANCE = SOPInstance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")
MEDIUM, HIGH, LOW = Priority.MEDIUM, Priority.HIGH, Priority.LOW


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = Ledger(ledger_url)
    ledger.create()
    yield ledger
    ledger.close()


def received(ledger: Ledger, study: str = "A", at: float = 1.0, priority: Priority = MEDIUM) -> str:
    instance = replace(INSTANCE, study_instance_uid=study)
    origin = Origin("CT1", "NODE", "192.0.2.7", at)
    entry = QueueEntry(uuid.uuid4().hex, instance, origin, State.RECEIVED, uuid.uuid4().hex, 512, priority=priority)
    ledger.accept(entry)
    return entry.id


def redact(ledger: Ledger, priority: Priority | None = None, *destinations: str) -> QueueEntry:
    """Redact the next one."""
    entry = ledger.claim("redactor", LEASE)
    assert entry is not None
    file = RedactedFile("clean", Path("clean"), INSTANCE, 300)
    assert ledger.settle_redacted(
        entry, file, destinations or ["PACS"], entry.priority if priority is None else priority
    )
    return entry


def waiting(ledger: Ledger, *studies: str, priority: Priority = MEDIUM, first_at: float = 1.0) -> list[str]:
    """Let instances of these studies be received one after the other, and wait for PACS."""
    ids = [received(ledger, study, first_at + number, priority) for number, study in enumerate(studies)]
    for _ in ids:
        redact(ledger)
    return ids


def run(ledger: Ledger, limit: int = 10, last: str = "", owner: str = "sender", lease: float = LEASE) -> list[Delivery]:
    return ledger.claim_run("PACS", owner, lease, limit, last)


def ids(deliveries: list[Delivery]) -> list[str]:
    return [each.entry_id for each in deliveries]


def sent(ledger: Ledger, limit: int, last: str = "") -> list[str]:
    """Send the next run, and say what was in it."""
    claimed = run(ledger, limit, last)
    assert all(ledger.settle_sent(each, 0x0000) for each in claimed)
    return ids(claimed)


# Priorities


def test_instances_are_redacted_by_priority_and_then_by_age(ledger: Ledger) -> None:
    wanted = {
        received(ledger, at=at, priority=priority): rank
        for at, priority, rank in ((1, LOW, 4), (2, MEDIUM, 2), (3, MEDIUM, 3), (4, HIGH, 0), (5, HIGH, 1))
    }
    claimed = [ledger.claim("redactor", LEASE) for _ in wanted]
    assert [wanted[entry.id] for entry in claimed if entry] == [0, 1, 2, 3, 4]
    assert [entry.priority for entry in claimed if entry] == [HIGH, HIGH, MEDIUM, MEDIUM, LOW]


def test_deliveries_are_sent_by_the_priority_of_the_route_and_then_by_age(ledger: Ledger) -> None:
    low, medium, high = (received(ledger, at=at) for at in (1, 2, 3))
    for priority in (LOW, MEDIUM, HIGH):
        redact(ledger, priority)
    assert ids(ledger.claim_deliveries("PACS", "sender", LEASE, 2)) == [high, medium]
    (last,) = ledger.claim_deliveries("PACS", "sender", LEASE, 2)
    assert (last.entry_id, last.priority) == (low, LOW)


def test_what_is_urgent_is_a_day_ahead_and_nothing_waits_for_ever_behind_it(ledger: Ledger) -> None:
    now = time.time()
    older = received(ledger, at=now - 1.1 * DAY)
    received(ledger, at=now - 0.9 * DAY)
    high = received(ledger, at=now, priority=HIGH)
    lowest = received(ledger, at=now - 2.2 * DAY, priority=LOW)
    claimed = [ledger.claim("redactor", LEASE) for _ in range(4)]
    assert [entry.id for entry in claimed if entry][:3] == [lowest, older, high]


def test_an_urgent_delivery_that_failed_is_still_ahead_when_it_is_due_again(ledger: Ledger) -> None:
    now = time.time()
    high = received(ledger, at=now - 20, priority=HIGH)
    received(ledger, at=now - 1000)
    for _ in range(2):
        redact(ledger)
    (first,) = ledger.claim_deliveries("PACS", "sender", LEASE, 1)
    assert ledger.settle_deferred(first, "A700H", OVER)
    assert ids(ledger.claim_deliveries("PACS", "sender", LEASE, 1)) == [high]


# The order within a study


def test_a_study_goes_in_order_of_receipt_whatever_the_order_of_redaction(ledger: Ledger) -> None:
    last, first, middle = (received(ledger, "A", at) for at in (3, 1, 2))
    entries = [ledger.claim("redactor", LEASE) for _ in range(3)]
    for entry in reversed([entry for entry in entries if entry]):
        assert run(ledger) == [], "an earlier one is not redacted yet"
        ledger.settle_redacted(entry, RedactedFile("clean", Path("clean"), INSTANCE, 300), ["PACS"])
    assert ids(run(ledger)) == [first, middle, last]


def test_studies_go_one_after_the_other_and_not_mixed(ledger: Ledger) -> None:
    a1, b1, a2, b2, a3 = waiting(ledger, "A", "B", "A", "B", "A")
    assert sent(ledger, 2) == [a1, a2]
    assert sent(ledger, 2, last="A") == [a3]
    assert sent(ledger, 2, last="A") == [b1, b2]


def test_a_study_is_not_gone_on_with_when_another_waits_for_long(ledger: Ledger) -> None:
    a1, b1 = waiting(ledger, "A", "B")
    (a2,) = waiting(ledger, "A", first_at=2000.0)
    assert sent(ledger, 1) == [a1]
    assert sent(ledger, 1, last="A") == [b1]
    assert sent(ledger, 1, last="B") == [a2]


def test_an_urgent_study_goes_before_the_rest_of_another(ledger: Ledger) -> None:
    a1, a2 = waiting(ledger, "A", "A")
    assert sent(ledger, 1) == [a1]
    (b1,) = waiting(ledger, "B", first_at=5.0, priority=HIGH)
    assert sent(ledger, 1, last="A") == [b1]
    assert sent(ledger, 1, last="B") == [a2]


def test_a_deferred_instance_holds_back_the_later_ones_of_its_study_and_no_other(ledger: Ledger) -> None:
    a1, a2, b1, a3 = waiting(ledger, "A", "A", "B", "A")
    first, second, third = run(ledger)
    assert ids([first, second, third]) == [a1, a2, a3]
    assert ledger.settle_sent(first, 0x0000)
    assert ledger.settle_deferred(second, "A700H", LATER)
    assert ledger.give_back(third)
    assert ids(run(ledger, last="A")) == [b1]
    assert run(ledger) == []


def test_a_deferred_instance_that_is_due_goes_before_the_later_ones_of_its_study(ledger: Ledger) -> None:
    a1, a2 = waiting(ledger, "A", "A")
    first, second = run(ledger)
    assert ledger.settle_deferred(first, "A700H", OVER)
    assert ledger.give_back(second)
    assert ids(run(ledger)) == [a1, a2]


def test_what_is_behind_a_deferred_instance_waits_with_it_and_goes_with_it(ledger: Ledger) -> None:
    a1, a2, b1, a3 = waiting(ledger, "A", "A", "B", "A")
    first, second, _ = run(ledger)
    until = time.time() + LATER
    assert ledger.settle_deferred(first, "A700H", LATER, with_study=True)
    assert ledger.give_back(second)
    due = {entry_id: ledger.entry(entry_id).deliveries[0].not_before >= until for entry_id in (a1, a2, b1, a3)}
    assert due == {a1: True, a2: True, b1: False, a3: True}
    assert [ledger.entry(entry_id).deliveries[0].failures for entry_id in (a1, a2, a3)] == [1, 0, 0]


def test_a_held_instance_holds_back_nobody_and_goes_first_once_it_is_retried(ledger: Ledger) -> None:
    a1, a2, a3 = waiting(ledger, "A", "A", "A")
    assert ledger.settle_delivery_held(run(ledger, 1)[0], "A900H", 0xA900)
    assert sent(ledger, 1) == [a2]
    assert ledger.retry(a1)
    assert ids(run(ledger)) == [a1, a3]


@pytest.mark.parametrize("what", ["held at redaction", "held by an operator", "dropped", "without bytes"])
def test_what_is_out_of_the_line_holds_back_nobody(ledger: Ledger, what: str) -> None:
    first = received(ledger, "A", 1)
    if what == "held at redaction":
        entry = ledger.claim("redactor", LEASE)
        assert entry is not None
        ledger.settle_held(entry, "cannot be decoded")
    else:
        redact(ledger)
    (second,) = waiting(ledger, "A", first_at=2.0)
    if what == "held by an operator":
        ledger.hold(first, "operator")
    if what == "dropped":
        ledger.drop(first)
    if what == "without bytes":
        ledger.hold_without_bytes(first)
    assert ids(run(ledger)) == [second]


def test_what_goes_to_other_destinations_alone_holds_back_nobody(ledger: Ledger) -> None:
    received(ledger, "A", 1)
    redact(ledger, MEDIUM, "RESEARCH")
    (second,) = waiting(ledger, "A", first_at=2.0)
    assert ids(run(ledger)) == [second]


def test_a_study_in_one_sender_s_hands_is_not_another_s_and_the_next_study_is(ledger: Ledger) -> None:
    a1, a2, b1 = waiting(ledger, "A", "A", "B")
    assert ids(run(ledger, 1, owner="one")) == [a1]
    assert ids(run(ledger, 10, owner="two")) == [b1]
    assert run(ledger, 10, owner="two") == []
    ledger.expire("one")
    assert ids(run(ledger, 10, owner="two")) == [a1, a2]


def test_senders_that_claim_at_once_never_have_a_study_in_two_hands(ledger: Ledger, ledger_url: str) -> None:
    waiting(ledger, *"AAAABBBBCCCCDDDD")
    machines = [Ledger(ledger_url) for _ in range(6)]
    with ThreadPoolExecutor(len(machines)) as threads:
        runs = list(threads.map(lambda machine: machine.claim_run("PACS", uuid.uuid4().hex, LEASE, 2), machines))
    for machine in machines:
        machine.close()
    studies = [{each.study_instance_uid for each in some} for some in runs if some]
    assert sorted(map(sorted, studies)) == [["A"], ["B"], ["C"], ["D"]]
    assert all(len(some) == 2 for some in runs if some)


def test_a_destination_that_is_down_or_paused_gets_no_run(ledger: Ledger) -> None:
    (a1,) = waiting(ledger, "A")
    ledger.pause("PACS")
    assert run(ledger) == []
    ledger.resume("PACS")
    ledger.destination_down("PACS", "refused", OVER)
    assert run(ledger) == []
    ledger.destination_up("PACS")
    assert ids(run(ledger)) == [a1]


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_the_next_run_is_found_by_its_indices(ledger: Ledger, tmp_path: Path) -> None:
    waiting(ledger, *"AB")
    query: Select[Any] = turns.heads("PACS", MEDIUM)
    compiled = query.params(at=9e9).compile(dialect=SQLiteDialect_pysqlite(), compile_kwargs={"literal_binds": True})
    engine = engine_on(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.connect() as connection:
        plan = "\n".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}"))
    engine.dispose()
    assert "INDEX delivery_due (destination=? AND state=? AND priority=? AND not_before<?)" in plan
    assert "INDEX delivery_study (destination=? AND study_instance_uid=? AND state=? AND arrived_at<?)" in plan
    assert "INDEX instance_study (study_instance_uid=? AND state=? AND received_at<?)" in plan
    assert "TEMP B-TREE" not in plan
