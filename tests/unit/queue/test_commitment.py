"""Stored is not sent: what the ledger makes of requests for storage commitment, and of reports on them."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dicom_node.model import CommitmentReport, Origin, QueueEntry, RedactedFile, SOPInstance, State
from dicom_node.queue import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

LEASE = 600.0
WAIT = 3600.0
OVER = 0.0
"""A time-out that is over as soon as it begins."""


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = Ledger(ledger_url)
    ledger.create()
    yield ledger
    ledger.close()


def redacted(ledger: Ledger, number: int, destinations: tuple[str, ...]) -> QueueEntry:
    origin = Origin("CT1", "NODE", "192.0.2.7", float(number))
    instance = SOPInstance("1.2.840.10008.5.1.4.1.1.2", f"1.2.{number}", "1.3", "1.4", "1.2.840.10008.1.2.1")
    ledger.accept(QueueEntry(uuid.uuid4().hex, instance, origin, State.RECEIVED, f"sha of {number}", 512))
    entry = ledger.claim("redactor", LEASE)
    assert entry is not None
    clean = RedactedFile(f"{entry.id}.1.dcm", Path("clean.dcm"), instance, 300)
    assert ledger.settle_redacted(entry, clean, destinations)
    return entry


def stored(ledger: Ledger, number: int = 1, destinations: tuple[str, ...] = ("PACS",)) -> QueueEntry:
    entry = redacted(ledger, number, destinations)
    store_next(ledger)
    return entry


def store_next(ledger: Ledger, destination: str = "PACS") -> None:
    (delivery,) = ledger.claim_deliveries(destination, "sender", LEASE, 1)
    assert ledger.settle_stored(delivery, 0x0000)


def state(ledger: Ledger, entry: QueueEntry) -> tuple[State, str | None]:
    summary = ledger.entry(entry.id)
    return summary.state, summary.reason


def ask(ledger: Ledger, transaction_uid: str, timeout: float = WAIT) -> list[str]:
    return [each.entry_id for each in ledger.begin_commitment("PACS", transaction_uid, 100, timeout)]


def report(transaction_uid: str, *committed: int, failed: dict[int, int] | None = None) -> CommitmentReport:
    failures = {f"1.2.{number}": reason for number, reason in (failed or {}).items()}
    return CommitmentReport(transaction_uid, frozenset(f"1.2.{number}" for number in committed), failures)


def settle(ledger: Ledger, said: CommitmentReport, destination: str = "PACS") -> list[str]:
    return ledger.settle_report(said, [destination], 0.0)


def test_what_is_stored_is_not_sent_and_not_sent_again_while_it_waits(ledger: Ledger) -> None:
    entry = stored(ledger)
    assert state(ledger, entry) == (State.STORED, None)
    assert ledger.counts()["STORED"] == 1
    assert [each.entry.id for each in ledger.entries([State.STORED])] == [entry.id]
    assert not ledger.claim_deliveries("PACS", "sender", LEASE, 1)


def test_its_clean_file_is_still_needed(ledger: Ledger) -> None:
    entry = stored(ledger)
    assert ledger.unfinished() == [(entry.id, State.REDACTED, f"{entry.id}.1.dcm")]


def test_it_is_asked_for_once_and_sent_when_its_destination_has_committed(ledger: Ledger) -> None:
    first, second = stored(ledger, 1), stored(ledger, 2)
    assert ask(ledger, "2.25.1") == [first.id, second.id]
    assert ask(ledger, "2.25.2") == []
    assert sorted(settle(ledger, report("2.25.1", 1, 2))) == sorted([first.id, second.id])
    assert ledger.counts()["SENT"] == 2


def test_an_instance_is_sent_with_the_last_of_its_destinations(ledger: Ledger) -> None:
    entry = stored(ledger, 1, ("ARCHIVE", "PACS"))
    assert state(ledger, entry)[0] is State.REDACTED
    ask(ledger, "2.25.1")
    assert settle(ledger, report("2.25.1", 1)) == []
    (delivery,) = ledger.claim_deliveries("ARCHIVE", "sender", LEASE, 1)
    ledger.settle_sent(delivery, 0x0000)
    assert state(ledger, entry)[0] is State.SENT


@pytest.mark.parametrize(("transaction_uid", "destination"), [("2.25.9", "PACS"), ("2.25.1", "ARCHIVE")])
def test_a_report_on_another_transaction_or_of_another_destination_changes_nothing(
    ledger: Ledger, transaction_uid: str, destination: str
) -> None:
    entry = stored(ledger)
    ask(ledger, "2.25.1")
    assert settle(ledger, report(transaction_uid, 1), destination) == []
    assert state(ledger, entry)[0] is State.STORED


def test_what_a_report_does_not_name_goes_on_waiting(ledger: Ledger) -> None:
    entry = stored(ledger)
    ask(ledger, "2.25.1")
    assert settle(ledger, report("2.25.1", 2)) == []
    assert state(ledger, entry)[0] is State.STORED


def test_what_a_report_names_as_both_committed_and_failed_has_failed(ledger: Ledger) -> None:
    entry = stored(ledger)
    ask(ledger, "2.25.1")
    assert settle(ledger, report("2.25.1", 1, failed={1: 0x0110})) == []
    assert state(ledger, entry)[0] is State.REDACTED


def test_what_the_destination_does_not_have_is_sent_again_and_after_three_times_held(ledger: Ledger) -> None:
    entry, other = stored(ledger, 1), stored(ledger, 2)
    ask(ledger, "2.25.1")
    assert settle(ledger, report("2.25.1", 2, failed={1: 0x0112})) == [other.id]
    reason = "PACS: the destination has not committed to its storage: 0112H"
    for again in (2, 3):
        assert state(ledger, entry) == (State.REDACTED, reason)
        store_next(ledger)
        assert ask(ledger, f"2.25.{again}") == [entry.id]
        settle(ledger, report(f"2.25.{again}", failed={1: 0x0112}))
    assert state(ledger, entry) == (State.HELD, reason)
    assert ledger.retry(entry.id)
    store_next(ledger)
    ask(ledger, "2.25.4")
    assert settle(ledger, report("2.25.4", 1)) == [entry.id]


def test_a_failure_that_would_come_again_is_held_at_once(ledger: Ledger) -> None:
    entry = stored(ledger)
    ask(ledger, "2.25.1")
    settle(ledger, report("2.25.1", failed={1: 0x0122}))
    assert state(ledger, entry) == (State.HELD, "PACS: the destination has not committed to its storage: 0122H")


def test_without_a_report_it_is_asked_for_three_times_and_held_and_a_late_report_still_counts(ledger: Ledger) -> None:
    entry = stored(ledger)
    for number in (1, 2, 3):
        assert ask(ledger, f"2.25.{number}", OVER) == [entry.id]
        assert state(ledger, entry)[0] is State.STORED
    assert ask(ledger, "2.25.4", OVER) == []
    assert state(ledger, entry)[0] is State.HELD
    assert settle(ledger, report("2.25.3", 1)) == [entry.id]
    assert state(ledger, entry) == (State.SENT, None)


def test_only_the_last_request_counts(ledger: Ledger) -> None:
    entry = stored(ledger)
    ask(ledger, "2.25.1", OVER)
    ask(ledger, "2.25.2")
    assert settle(ledger, report("2.25.1", 1)) == []
    assert settle(ledger, report("2.25.2", 1)) == [entry.id]


def test_a_request_that_was_not_taken_is_made_again_and_does_not_count(ledger: Ledger) -> None:
    entry = stored(ledger)
    for number in range(5):
        assert ask(ledger, f"2.25.{number}") == [entry.id]
        ledger.settle_unasked(f"2.25.{number}", "no association", 0.0)
    assert state(ledger, entry) == (State.STORED, "PACS: no association")


def test_where_no_request_is_taken_at_all_an_operator_has_to_look(ledger: Ledger) -> None:
    entry = stored(ledger)
    ask(ledger, "2.25.1")
    ledger.hold_unasked("2.25.1", "not accepted")
    assert state(ledger, entry) == (State.HELD, "PACS: not accepted")


def test_a_destination_that_is_down_is_not_asked(ledger: Ledger) -> None:
    stored(ledger)
    ledger.destination_down("PACS", "no association", WAIT)
    assert ask(ledger, "2.25.1") == []


def test_a_report_on_what_was_released_anew_meanwhile_says_nothing_of_the_new_content(ledger: Ledger) -> None:
    entry = stored(ledger)
    ask(ledger, "2.25.1")
    assert ledger.hold(entry.id, "operator")
    assert ledger.release(entry.id, "all-text", ["PACS"])
    again = ledger.claim("redactor", LEASE)
    assert again is not None
    ledger.settle_redacted(again, RedactedFile(f"{again.id}.2.dcm", Path("clean.dcm"), again.instance, 3), ["PACS"])
    assert settle(ledger, report("2.25.1", 1)) == []
    assert state(ledger, entry)[0] is State.REDACTED


def test_what_is_dropped_is_not_asked_for_and_no_report_brings_it_back(ledger: Ledger) -> None:
    entry, dropped = stored(ledger, 1), stored(ledger, 2)
    ask(ledger, "2.25.1", OVER)
    assert ledger.drop(dropped.id)
    assert ask(ledger, "2.25.2") == [entry.id]
    assert settle(ledger, report("2.25.1", 2)) == []
    assert state(ledger, dropped)[0] is State.DROPPED


def test_where_commitment_is_no_longer_asked_for_stored_counts_as_sent(ledger: Ledger) -> None:
    entry, partly = stored(ledger, 1), stored(ledger, 2, ("ARCHIVE", "PACS"))
    assert ledger.settle_uncommitted(["PACS"]) == 2
    assert state(ledger, entry)[0] is State.SENT
    assert state(ledger, partly)[0] is State.REDACTED
    assert ledger.settle_uncommitted(["PACS"]) == 0


def test_a_destination_that_is_no_longer_configured_holds_what_it_has_stored(ledger: Ledger) -> None:
    entry = stored(ledger)
    assert ledger.hold_unknown_destinations(["ARCHIVE"]) == 1
    assert state(ledger, entry)[0] is State.HELD
