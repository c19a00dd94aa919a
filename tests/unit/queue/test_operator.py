from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dicom_node.model import Origin, QueueEntry, RedactedFile, SOPInstance, State
from dicom_node.queue import Accepted, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEASE = 600.0
INSTANCE = SOPInstance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = Ledger(ledger_url)
    ledger.create()
    yield ledger
    ledger.close()


def received(ledger: Ledger, number: int = 1) -> QueueEntry:
    origin = Origin("CT1", "NODE", "192.0.2.7", float(number))
    entry = QueueEntry(uuid.uuid4().hex, INSTANCE, origin, State.RECEIVED, f"sha of {number}", 512)
    ledger.accept(entry)
    return entry


def claimed(ledger: Ledger) -> QueueEntry:
    entry = ledger.claim("redactor", LEASE)
    assert entry is not None
    return entry


def held(ledger: Ledger, number: int = 1) -> QueueEntry:
    received(ledger, number)
    entry = claimed(ledger)
    assert ledger.settle_held(entry, "cannot be decoded")
    return entry


def redacted(ledger: Ledger, number: int = 1, destinations: tuple[str, ...] = ("PACS",)) -> QueueEntry:
    received(ledger, number)
    entry = claimed(ledger)
    file = RedactedFile(f"{entry.id}.1.dcm", Path("clean.dcm"), INSTANCE, 300)
    assert ledger.settle_redacted(entry, file, destinations)
    return entry


def delivery_held(ledger: Ledger, number: int = 1) -> QueueEntry:
    entry = redacted(ledger, number)
    (delivery,) = ledger.claim_deliveries("PACS", "sender", LEASE, 1)
    assert ledger.settle_delivery_held(delivery, "refused", 0xA900)
    return entry


def sent(ledger: Ledger, number: int = 1) -> QueueEntry:
    entry = redacted(ledger, number)
    (delivery,) = ledger.claim_deliveries("PACS", "sender", LEASE, 1)
    assert ledger.settle_sent(delivery, 0x0000)
    return entry


def one_of_each(ledger: Ledger) -> dict[str, QueueEntry]:
    """Every state once; the received one last, because claims take the oldest."""
    entries = {
        "held": held(ledger, 1),
        "sent": sent(ledger, 2),
        "delivery held": delivery_held(ledger, 3),
        "redacted": redacted(ledger, 4),
        "dropped": held(ledger, 5),
        "received": received(ledger, 6),
    }
    ledger.drop(entries["dropped"].id)
    return entries


def test_counts_say_where_instances_stand_and_a_held_delivery_counts_as_held(ledger: Ledger) -> None:
    assert ledger.counts() == dict.fromkeys(("RECEIVED", "REDACTED", "STORED", "SENT", "HELD", "DROPPED"), 0)
    one_of_each(ledger)
    assert ledger.counts() == {"RECEIVED": 1, "REDACTED": 1, "STORED": 0, "SENT": 1, "HELD": 2, "DROPPED": 1}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (None, ["received", "dropped", "redacted", "delivery held", "sent", "held"]),
        ([State.HELD], ["delivery held", "held"]),
        ([State.REDACTED, State.RECEIVED], ["received", "redacted"]),
        ([State.SENT], ["sent"]),
        ([], []),
    ],
)
def test_entries_are_listed_by_what_they_are_shown_as(
    ledger: Ledger,
    states: list[State] | None,
    expected: list[str],
) -> None:
    entries = one_of_each(ledger)
    listed = ledger.entries(states)
    assert [summary.entry.id for summary in listed] == [entries[name].id for name in expected]
    assert states is None or {summary.state for summary in listed} <= set(states)


def test_a_list_is_as_long_as_asked_and_has_the_deliveries_of_each(ledger: Ledger) -> None:
    redacted(ledger, 1, ("PACS",))
    redacted(ledger, 2, ("PACS", "RESEARCH"))
    both, latest = ledger.entries(limit=2), ledger.entries(limit=1)
    assert [len(summary.deliveries) for summary in both] == [2, 1]
    assert latest == both[:1]


def test_an_entry_is_found_by_the_beginning_of_its_id(ledger: Ledger) -> None:
    entry = received(ledger)
    for prefix in (entry.id, entry.id[:8], entry.id[:1]):
        assert ledger.entry(prefix).entry.id == entry.id


def test_a_prefix_that_fits_none_or_several_finds_nothing(ledger: Ledger) -> None:
    received(ledger, 1)
    received(ledger, 2)
    with pytest.raises(LookupError, match="several"):
        ledger.entry("")
    with pytest.raises(LookupError, match="no entry"):
        ledger.entry("no such id")


def test_a_held_instance_is_retried_from_the_start_with_its_deaths_forgiven(ledger: Ledger) -> None:
    entry = received(ledger)
    for _ in range(2):
        ledger.claim("dying", -1.0)
    assert ledger.claim("redactor", LEASE) is None
    assert ledger.retry(entry.id)
    again = claimed(ledger)
    assert (again.id, again.attempts, again.reason) == (entry.id, 3, None)
    ledger.expire("redactor")
    assert claimed(ledger).id == entry.id


def test_a_held_delivery_is_retried_at_once_without_another_redaction(ledger: Ledger) -> None:
    entry = delivery_held(ledger)
    assert ledger.retry(entry.id)
    assert ledger.claim("redactor", LEASE) is None
    (delivery,) = ledger.claim_deliveries("PACS", "sender", LEASE, 1)
    assert (delivery.entry_id, delivery.failures, delivery.reason) == (entry.id, 0, None)


def test_only_what_is_held_is_retried_or_released(ledger: Ledger) -> None:
    entries = one_of_each(ledger)
    for name in ("received", "redacted", "sent", "dropped"):
        assert not ledger.retry(entries[name].id)
        assert not ledger.release(entries[name].id, "pass", ["PACS"])
    assert ledger.counts() == {"RECEIVED": 1, "REDACTED": 1, "STORED": 0, "SENT": 1, "HELD": 2, "DROPPED": 1}


@pytest.mark.parametrize("make", [held, delivery_held])
def test_a_released_instance_is_claimed_with_the_operators_policy_and_destinations(
    ledger: Ledger,
    make: Callable[[Ledger], QueueEntry],
) -> None:
    entry = make(ledger)
    assert ledger.release(entry.id, "all-text", ["RESEARCH", "PACS"])
    again = claimed(ledger)
    assert (again.id, again.policy, again.destinations) == (entry.id, "all-text", ("RESEARCH", "PACS"))
    assert (again.state, again.reason) == (State.RECEIVED, None)


def test_holding_takes_the_work_out_of_every_hand(ledger: Ledger) -> None:
    redacting = received(ledger)
    claim = claimed(ledger)
    assert ledger.hold(redacting.id, "operator")
    assert not ledger.settle_redacted(claim, RedactedFile("clean", Path("clean"), INSTANCE, 1), ["PACS"])
    waiting = redacted(ledger, 2)
    assert ledger.hold(waiting.id, "operator")
    assert ledger.claim_deliveries("PACS", "sender", LEASE, 10) == []
    assert ledger.counts()["HELD"] == 2


def test_deliveries_of_what_is_held_are_out_of_the_way_of_every_claim_and_back_after_the_next_redaction(
    ledger: Ledger,
) -> None:
    entry = redacted(ledger, 1, ("PACS", "RESEARCH"))
    ledger.hold(entry.id, "operator")
    assert [each.state for each in ledger.entry(entry.id).deliveries] == [State.HELD] * 2
    assert ledger.retry(entry.id)
    again = claimed(ledger)
    assert ledger.settle_redacted(again, RedactedFile("clean", Path("clean"), INSTANCE, 1), ["PACS", "RESEARCH"])
    for name in ("PACS", "RESEARCH"):
        assert len(ledger.claim_deliveries(name, "sender", LEASE, 10)) == 1


def test_an_instance_held_while_it_is_sent_is_not_sent_twice_and_stays_held(ledger: Ledger) -> None:
    entry = redacted(ledger)
    (delivery,) = ledger.claim_deliveries("PACS", "sender", LEASE, 1)
    ledger.hold(entry.id, "operator")
    assert ledger.settle_sent(delivery, 0x0000)
    summary = ledger.entry(entry.id)
    assert (summary.state, summary.deliveries[0].state) == (State.HELD, State.SENT)


def test_a_dropped_instance_is_worked_on_by_nobody_and_a_resend_is_new(ledger: Ledger) -> None:
    entry = redacted(ledger, 1, ("PACS", "RESEARCH"))
    (sending,) = ledger.claim_deliveries("PACS", "sender", LEASE, 1)
    assert ledger.drop(entry.id)
    assert not ledger.settle_sent(sending, 0x0000)
    assert ledger.claim_deliveries("RESEARCH", "sender", LEASE, 10) == []
    assert {each.state for each in ledger.entry(entry.id).deliveries} == {State.DROPPED}
    resend = QueueEntry(uuid.uuid4().hex, entry.instance, entry.origin, State.RECEIVED, entry.digest, entry.size)
    assert ledger.accept(resend) is Accepted.NEW


def test_what_is_sent_or_dropped_never_changes_again(ledger: Ledger) -> None:
    entries = one_of_each(ledger)
    for name in ("sent", "dropped"):
        before = ledger.entry(entries[name].id)
        assert not ledger.hold(entries[name].id, "operator")
        assert not ledger.drop(entries[name].id)
        assert ledger.entry(entries[name].id) == before
