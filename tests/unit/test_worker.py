"""The worker over a real ledger and spool; its stages are callables that do what a test says."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import OperationalError

from dicom_node.errors import Damaged, Defer, DestinationBusy, DestinationDown, Hold, RedactAgain, SpoolFull
from dicom_node.model import Origin, Outcome, RedactedFile, Redaction, SOPInstance, State, StoreStatus
from dicom_node.queue import Accepted, Ledger, Queue, Spool
from dicom_node.stages import Redacted
from dicom_node.worker import EXIT_STUCK, Leases, Pace, work
from dicom_node.worker_redact import redact_next
from dicom_node.worker_send import Deliverer
from tests.support.processes import ROOT, wait_until
from tests.support.spools import WholeFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from dicom_node.model import Delivery, QueueEntry

PACE = Pace(lease=5.0, poll=0.01, retry=0.4, retry_maximum=0.4, limit=60.0)
INSTANCE = SOPInstance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")
ORIGIN = Origin("MODALITY", "DICOM_NODE", "127.0.0.1", 1.0)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    spool = Spool(tmp_path / "spool")
    spool.prepare()
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.create()
    yield Queue(spool, ledger)
    ledger.close()


@pytest.fixture
def leases(queue: Queue) -> Leases:
    return Leases(queue, replace(PACE, lease=1e6))  # its thread outlives the test: it must not renew after it


def receive(queue: Queue, content: bytes = b"an instance", study: str = "1.2.3.4", received_at: float = 1.0) -> str:
    incoming = WholeFile(queue.spool.incoming / uuid.uuid4().hex, content)
    instance = replace(INSTANCE, sop_instance_uid=f"1.2.{uuid.uuid4().int}", study_instance_uid=study)
    return queue.accept(incoming, instance, replace(ORIGIN, received_at=received_at))[0]


def state(queue: Queue, entry_id: str) -> tuple[State, str | None]:
    summary = queue.ledger.entry(entry_id)
    return summary.state, summary.reason


def redacts(queue: Queue, *destinations: str) -> Callable[[QueueEntry], Redacted]:
    def stage(entry: QueueEntry) -> Redacted:
        path = queue.spool.write_redacted(entry.id, entry.attempts, lambda file: file.write(b"clean"))
        clean = RedactedFile(path.name, path, entry.instance, 5)
        return Redacted(clean, destinations, Redaction(Outcome.CLEANED), "all", "all-text")

    return stage


class Sending:
    """A destination that answers what a test says; stands for the network, which test_storage_scu has for real."""

    echo_seconds = 60.0

    def __init__(self, *answers: Exception | None, echo: Exception | None = None) -> None:
        self.answers = list(answers)
        self.sent: list[str] = []
        self.echoes = 0
        self.echo_answer = echo

    def __call__(self, delivery: Delivery, waiting: Sequence[tuple[str, str]]) -> StoreStatus:
        assert waiting
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        self.sent.append(delivery.entry_id)
        return StoreStatus(0x0000)

    def echo(self) -> float:
        self.echoes += 1
        if self.echo_answer is not None:
            raise self.echo_answer
        return 0.0

    def close(self) -> None:
        pass


def deliver(queue: Queue, leases: Leases, sending: Sending, name: str = "a") -> bool:
    deliverer = Deliverer(name, sending, sending, PACE)  # type: ignore[arg-type]  # a stand-in for the network
    return deliverer.send_next(queue, "sender", leases, threading.Event())


def test_nothing_is_done_when_nothing_waits(queue: Queue, leases: Leases) -> None:
    assert not redact_next(queue, "w", leases, PACE, redacts(queue, "a"))
    assert not deliver(queue, leases, Sending())


def test_a_redacted_instance_goes_to_each_destination_and_its_bytes_go_after_the_last(
    queue: Queue, leases: Leases
) -> None:
    entry_id = receive(queue)
    assert redact_next(queue, "w", leases, PACE, redacts(queue, "a", "b"))
    assert deliver(queue, leases, Sending(), "a")
    assert state(queue, entry_id) == (State.REDACTED, None)
    assert queue.spool.has_original(entry_id)
    assert deliver(queue, leases, Sending(), "b")
    assert state(queue, entry_id) == (State.SENT, None)
    assert not queue.spool.has_original(entry_id)


@pytest.mark.parametrize(
    ("raised", "reason"),
    [(Hold("no route fits"), "no route fits"), (ValueError("DOE^JANE"), "unexpected: ValueError")],
)
def test_whatever_a_redaction_raises_holds_the_instance_and_tells_no_value(
    queue: Queue, leases: Leases, raised: Exception, reason: str
) -> None:
    entry_id = receive(queue)

    def stage(_entry: QueueEntry) -> Redacted:
        raise raised

    assert redact_next(queue, "w", leases, PACE, stage)
    assert state(queue, entry_id) == (State.HELD, reason)
    assert not deliver(queue, leases, Sending())


def test_a_resend_of_what_the_disk_has_not_kept_is_taken_in_anew(queue: Queue, leases: Leases) -> None:
    entry_id = receive(queue)

    def stage(_entry: QueueEntry) -> Redacted:
        raise Damaged

    assert redact_next(queue, "w", leases, PACE, stage)
    assert state(queue, entry_id) == (State.HELD, "its bytes are not those that arrived")
    damaged, incoming = queue.ledger.entry(entry_id).entry, WholeFile(queue.spool.incoming / "again", b"an instance")
    again, accepted = queue.accept(incoming, damaged.instance, damaged.origin)
    assert (again != entry_id, accepted) == (True, Accepted.NEW)
    assert redact_next(queue, "w", leases, PACE, redacts(queue, "a"))
    assert state(queue, again) == (State.REDACTED, None)


def test_an_instance_for_whose_clean_file_there_is_no_room_waits_and_is_not_held(queue: Queue, leases: Leases) -> None:
    entry_id = receive(queue)

    def stage(_entry: QueueEntry) -> Redacted:
        msg = "no room"
        raise SpoolFull(msg)

    with pytest.raises(SpoolFull):
        redact_next(queue, "w", leases, PACE, stage)
    assert state(queue, entry_id) == (State.RECEIVED, None)
    assert redact_next(queue, "w", leases, PACE, redacts(queue, "a"))


def test_a_late_worker_settles_nothing(queue: Queue, leases: Leases) -> None:
    entry_id = receive(queue)

    def stage(entry: QueueEntry) -> Redacted:
        queue.ledger.expire("slow")
        assert redact_next(queue, "quick", leases, PACE, redacts(queue, "a"))
        return redacts(queue, "b")(entry)

    assert redact_next(queue, "slow", leases, PACE, stage)
    assert [d.destination for d in queue.ledger.entry(entry_id).deliveries] == ["a"]


def test_a_destination_that_is_down_is_probed_before_the_backlog_and_then_gets_it(queue: Queue, leases: Leases) -> None:
    ids = [receive(queue) for _ in range(3)]
    for _ in ids:
        redact_next(queue, "w", leases, PACE, redacts(queue, "a", "b"))
    down = Sending(DestinationDown("refused"))
    assert deliver(queue, leases, down)
    assert not deliver(queue, leases, down), "it waits for its back-off"
    other = Sending()
    assert deliver(queue, leases, other, "b")
    assert len(other.sent) == 3
    time.sleep(2 * PACE.retry_maximum)
    still_down = Sending(echo=DestinationDown("no answer"))
    assert not deliver(queue, leases, still_down)
    assert (still_down.echoes, still_down.sent) == (1, [])
    time.sleep(2 * PACE.retry_maximum)
    up = Sending()
    while deliver(queue, leases, up):
        pass
    assert up.echoes == 1
    assert sorted(up.sent) == sorted(ids)
    assert [state(queue, entry_id)[0] for entry_id in ids] == [State.SENT] * 3


def test_a_deferred_delivery_is_tried_again_and_delays_no_other(queue: Queue, leases: Leases) -> None:
    ids = [receive(queue) for _ in range(2)]
    for _ in ids:
        redact_next(queue, "w", leases, PACE, redacts(queue, "a"))
    sending = Sending(Defer("lost"))
    assert deliver(queue, leases, sending)
    assert len(sending.sent) == 1
    time.sleep(2 * PACE.retry_maximum)
    assert deliver(queue, leases, sending)
    assert sorted(sending.sent) == sorted(ids)


def test_a_clean_file_that_the_disk_has_not_kept_is_made_again_and_sent(queue: Queue, leases: Leases) -> None:
    entry_id = receive(queue)
    redact_next(queue, "w", leases, PACE, redacts(queue, "a", "b"))
    sending = Sending(RedactAgain())
    assert deliver(queue, leases, sending)
    assert state(queue, entry_id)[0] is State.RECEIVED
    assert not deliver(queue, leases, Sending(), "b"), "it would send the same file"
    assert redact_next(queue, "w", leases, PACE, redacts(queue, "a", "b"))
    time.sleep(2 * PACE.retry_maximum)
    assert deliver(queue, leases, sending)
    assert deliver(queue, leases, sending, "b")
    assert sending.sent == [entry_id] * 2
    assert state(queue, entry_id) == (State.SENT, None)


def test_a_failed_probe_touches_no_delivery(queue: Queue, leases: Leases) -> None:
    entry_id = receive(queue)
    redact_next(queue, "w", leases, PACE, redacts(queue, "a"))
    queue.ledger.destination_down("a", "refused", -1.0)
    before = queue.ledger.entry(entry_id)
    assert not deliver(queue, leases, Sending(echo=DestinationDown("no answer")))
    assert queue.ledger.entry(entry_id) == before
    assert queue.ledger.destination_failures("a") == 2


def test_a_destination_that_takes_no_verification_has_answered_all_the_same(queue: Queue, leases: Leases) -> None:
    receive(queue)
    redact_next(queue, "w", leases, PACE, redacts(queue, "a"))
    queue.ledger.destination_down("a", "refused", -1.0)
    sending = Sending(echo=Hold("accepts none of the proposed"))
    assert deliver(queue, leases, sending)
    assert (sending.echoes, len(sending.sent)) == (1, 1)


def test_a_destination_that_takes_three_in_a_row_not_rests_and_the_backlog_is_not_tried(
    queue: Queue, leases: Leases
) -> None:
    ids = [receive(queue) for _ in range(6)]
    for _ in ids:
        redact_next(queue, "w", leases, PACE, redacts(queue, "a"))
    sending = Sending(*[DestinationBusy("A700H") for _ in range(6)])
    assert deliver(queue, leases, sending)
    assert len(sending.answers) == 3
    assert not deliver(queue, leases, sending), "it waits for its back-off"
    untried = [queue.ledger.entry(entry_id).deliveries[0] for entry_id in ids[3:]]
    assert [(each.failures, each.reason) for each in untried] == [(0, None)] * 3


def test_refusals_that_are_one_instance_s_own_let_the_others_go_on(queue: Queue, leases: Leases) -> None:
    ids = [receive(queue) for _ in range(6)]
    for _ in ids:
        redact_next(queue, "w", leases, PACE, redacts(queue, "a"))
    sending = Sending(*[Defer("C000H") for _ in range(5)])
    assert deliver(queue, leases, sending)
    assert len(sending.sent) == 1
    assert queue.ledger.destination_failures("a") == 0


def test_where_the_order_is_kept_nothing_of_a_study_goes_past_one_that_has_to_be_tried_again(
    queue: Queue, leases: Leases
) -> None:
    ids = [receive(queue, study=study, received_at=at) for at, study in enumerate(["1.1", "1.1", "1.1", "1.2"])]
    for _ in ids:
        redact_next(queue, "w", leases, PACE, redacts(queue, "a"))
    sending = Sending(None, Defer("C000H"))
    pace = replace(PACE, retry=3.0, retry_maximum=3.0)  # longer than a slow server takes for the others
    deliverer = Deliverer("a", sending, sending, pace, by_study=True)  # type: ignore[arg-type]  # as in deliver
    while deliverer.send_next(queue, "sender", leases, threading.Event()):
        pass
    assert sending.sent == [ids[0], ids[3]]
    time.sleep(pace.retry_maximum)
    while deliverer.send_next(queue, "sender", leases, threading.Event()):
        pass
    assert sending.sent == [ids[0], ids[3], ids[1], ids[2]]


@pytest.mark.parametrize(
    ("raised", "reason"), [(Hold("A900H"), "a: A900H"), (KeyError("DOE^JANE"), "a: unexpected: KeyError")]
)
def test_a_delivery_that_cannot_succeed_is_held_with_its_reason(
    queue: Queue, leases: Leases, raised: Exception, reason: str
) -> None:
    entry_id = receive(queue)
    redact_next(queue, "w", leases, PACE, redacts(queue, "a"))
    assert deliver(queue, leases, Sending(raised))
    assert state(queue, entry_id) == (State.HELD, reason)


def test_leases_of_live_jobs_are_renewed(queue: Queue) -> None:
    receive(queue)
    pace = replace(PACE, lease=0.4)
    live = Leases(queue, pace)

    def stage(entry: QueueEntry) -> Redacted:
        deadline = time.monotonic() + 3 * pace.lease
        while time.monotonic() < deadline:
            assert queue.ledger.claim("thief", 1.0) is None
            time.sleep(0.05)
        return redacts(queue, "a")(entry)

    assert redact_next(queue, "w", live, pace, stage)
    assert queue.ledger.counts()["REDACTED"] == 1


STUCK = """
import sys, time
from pathlib import Path
from dicom_node.queue import open_queue
from dicom_node.worker import Leases, Pace
from dicom_node.worker_redact import redact_next
pace = Pace(lease=0.4, poll=0.1, retry=1, retry_maximum=1, limit=0.2)
queue = open_queue(Path(sys.argv[1]), sys.argv[2])
redact_next(queue, sys.argv[3], Leases(queue, pace), pace, lambda entry: time.sleep(60))
"""


def test_a_stage_that_never_ends_ends_its_process_and_after_two_of_them_the_instance_is_held(
    tmp_path: Path, queue: Queue, leases: Leases
) -> None:
    entry_id = receive(queue)
    for owner in ("first", "second"):
        told = [sys.executable, "-c", STUCK, str(tmp_path), f"sqlite:///{tmp_path / 'ledger.db'}", owner]
        assert subprocess.run(told, cwd=ROOT, check=False, timeout=60).returncode == EXIT_STUCK
        queue.ledger.expire(owner)
    assert not redact_next(queue, "third", leases, PACE, redacts(queue, "a"))
    held, reason = state(queue, entry_id)
    assert held is State.HELD
    assert "died twice" in str(reason)


def test_a_step_that_raises_is_followed_by_others_until_the_stop() -> None:
    stop = threading.Event()
    steps: list[int] = []

    def step() -> bool:
        steps.append(len(steps))
        if len(steps) == 3:
            stop.set()
        msg = "the ledger is away"
        raise ConnectionError(msg)

    work(step, stop, 0.01)
    assert steps == [0, 1, 2]


@dataclass(frozen=True)
class LedgerFile:
    """The file of a ledger that goes away and comes back, at once both ways.

    A thread that opens it would make an empty ledger where there is none for a moment.
    """

    queue: Queue
    path: Path

    def go(self) -> None:
        """Leave something that cannot be opened: a link to itself."""
        self.queue.ledger.close()
        self._away.hardlink_to(self.path)
        nowhere = self.path.with_name("nowhere")
        nowhere.symlink_to(self.path)
        nowhere.replace(self.path)
        self.queue.ledger.close()  # a thread may have opened it again before

    def come_back(self) -> None:
        self._away.replace(self.path)

    @property
    def _away(self) -> Path:
        return self.path.with_name("away")


@pytest.fixture
def ledger_file(queue: Queue, tmp_path: Path) -> LedgerFile:
    return LedgerFile(queue, tmp_path / "ledger.db")


@pytest.mark.parametrize("holds", [False, True], ids=["redacted", "held"])
def test_a_result_is_settled_once_the_ledger_is_back_and_nobody_died(
    queue: Queue,
    leases: Leases,
    ledger_file: LedgerFile,
    holds: bool,  # noqa: FBT001 - parametrized
) -> None:
    entry_id = receive(queue)
    back = threading.Timer(0.3, ledger_file.come_back)

    def stage(entry: QueueEntry) -> Redacted:
        done = redacts(queue, "a")(entry)
        ledger_file.go()
        back.start()
        if holds:
            msg = "not sure"
            raise Hold(msg)
        return done

    assert redact_next(queue, "w", leases, PACE, stage)
    back.join()
    assert state(queue, entry_id) == ((State.HELD, "not sure") if holds else (State.REDACTED, None))


def test_a_ledger_that_stays_away_ends_the_settling_with_the_lease_and_the_work_is_done_again(
    queue: Queue, leases: Leases, ledger_file: LedgerFile
) -> None:
    entry_id = receive(queue)

    def stage(_entry: QueueEntry) -> Redacted:
        ledger_file.go()
        msg = "not sure"
        raise Hold(msg)

    with pytest.raises(OperationalError):
        redact_next(queue, "w", leases, replace(PACE, lease=0.2), stage)
    ledger_file.come_back()
    assert state(queue, entry_id) == (State.RECEIVED, None)
    queue.ledger.expire("w")
    assert redact_next(queue, "w", leases, PACE, redacts(queue, "a"))
    assert state(queue, entry_id) == (State.REDACTED, None)


def test_a_full_disk_that_comes_and_goes_under_ledger_and_spool_holds_nothing(
    queue: Queue, ledger_file: LedgerFile
) -> None:
    """Each time the ledger is away for longer than a lease: a worker that had died so would be counted."""
    entry_id = receive(queue)
    pace = replace(PACE, lease=0.2)
    living = Leases(queue, pace)

    def stage(_entry: QueueEntry) -> Redacted:
        ledger_file.go()
        msg = "no room"
        raise SpoolFull(msg)

    for _ in range(3):
        with pytest.raises(OperationalError):
            redact_next(queue, "w", living, pace, stage)
        ledger_file.come_back()
        wait_until("nobody has it in hand", lambda: not queue.ledger.entry(entry_id).entry.owner)
    assert redact_next(queue, "another", living, PACE, redacts(queue, "a"))
    assert state(queue, entry_id) == (State.REDACTED, None)
