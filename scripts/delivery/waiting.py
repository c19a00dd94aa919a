"""Whether what waits makes the queue slower: the rate of claim and settle, beside a ledger in which little waits.

Both ledgers are on the same disk or server, and take turns: each round, both settle the same number of rows.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, insert

from dicom_node import log
from dicom_node.folder import FolderSender
from dicom_node.model import Origin, QueueEntry, RedactedFile, SOPInstance, State
from dicom_node.queue import Queue, Spool
from dicom_node.queue.database import driver
from dicom_node.queue.ledger import Ledger
from dicom_node.queue.schema import delivery, instance, row_of
from dicom_node.stages import send_instance
from dicom_node.worker import Leases, Pace
from dicom_node.worker_send import BATCH, Deliverer

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.postgresql import PostgreSQL

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

FEW = 100
"""Waiting in the ledger that the other is compared with, at the beginning of each round; so many are settled in it."""

BAR = 2.0
_LEASE = 600.0
_STUDY = 200
"""Instances of a study."""

_OTHERS = 50
"""Destinations that are down beside the one that is measured."""

_AT_ONCE = 5000
_LATER = 1e6
_number = count()

Rates = tuple[list[float], list[float]]
_Rows = list[tuple[dict[str, Any], dict[str, Any] | None]]


@dataclass(frozen=True)
class Case:
    """What is in the larger ledger, and what is done in both."""

    name: str
    rows: Callable[[int], Iterable[tuple[dict[str, Any], dict[str, Any] | None]]]
    few: Callable[[int], Iterable[tuple[dict[str, Any], dict[str, Any] | None]]]
    step: Callable[[Ledger, int], int]
    adds_few: bool = True
    """Whether the larger ledger gets the few as well, because nothing else in it can be claimed."""
    prepare: Callable[[Ledger], None] = lambda _: None


def row(state: State, destination: str = "PACS", **of_delivery: object) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Make the rows of one instance and, unless it is only received, of its delivery."""
    number = next(_number)
    received_at = time.time() - _LATER + number
    uids = f"1.2.{number}", f"1.2.3.{number // _STUDY}"
    what = SOPInstance("1.2.840.10008.5.1.4.1.1.2", *uids, "1.2.3.5", "1.2.840.10008.1.2.1")
    origin = Origin("CT1", "NODE", "192.0.2.7", received_at)
    entry = QueueEntry(uuid.uuid4().hex, what, origin, State.RECEIVED, "0" * 64, 1)
    times = {"not_before": received_at, "updated_at": received_at}
    clean = {"redacted_file": f"{entry.id}.1.dcm", "redacted_size": 1, "redacted_instance": asdict(what), "attempts": 1}
    whole = {**row_of(entry), "fingerprint": entry.id, "conflict": False, "state": state, **times, **clean}
    if state is State.RECEIVED:
        return whole, None
    line = {"study_instance_uid": what.study_instance_uid, "arrived_at": received_at}
    sent = {"instance_id": entry.id, "destination": destination, "state": state, **times, **line, **of_delivery}
    return whole, sent


def waiting(number: int) -> Iterator[Any]:
    """Wait for PACS."""
    return (row(State.REDACTED) for _ in range(number))


def received(number: int) -> Iterator[Any]:
    """Wait for redaction."""
    return (row(State.RECEIVED) for _ in range(number))


def in_state(state: State) -> Callable[[int], Iterator[Any]]:
    """Be in a state at PACS."""
    return lambda number: (row(state) for _ in range(number))


def deferred(number: int) -> Iterator[Any]:
    """Wait for another try at PACS, later."""
    return (row(State.REDACTED, not_before=time.time() + _LATER, failures=3) for _ in range(number))


def defer_each_study(ledger: Ledger) -> None:
    """Let the first of every study wait for another try."""
    while batch := ledger.claim_run("PACS", "sender", _LEASE, BATCH):
        ledger.settle_deferred(batch[0], "A700H", _LATER, with_study=True)
        for each in batch[1:]:
            ledger.give_back(each)


def elsewhere(number: int) -> Iterator[Any]:
    """Wait for other destinations, which are down."""
    return (row(State.REDACTED, f"DOWN{index % _OTHERS}") for index in range(number))


def fill(url: str, rows: Iterable[tuple[dict[str, Any], dict[str, Any] | None]]) -> None:
    """Insert rows as they are."""
    engine = create_engine(url, **driver(url))
    made: _Rows = list(rows)
    with engine.begin() as connection:
        for start in range(0, len(made), _AT_ONCE):
            some = made[start : start + _AT_ONCE]
            connection.execute(insert(instance), [whole for whole, _ in some])
            # One insert for each set of columns: executemany takes its columns from the first row.
            for keys in {frozenset(sent) for _, sent in some if sent}:
                connection.execute(insert(delivery), [sent for _, sent in some if sent and frozenset(sent) == keys])
    engine.dispose()


def send(ledger: Ledger, number: int) -> int:
    """Claim up to a batch of deliveries, and settle each; return how many that were."""
    batch = ledger.claim_deliveries("PACS", "sender", _LEASE, min(number, BATCH))
    return sum(ledger.settle_sent(each, 0x0000) for each in batch)


def send_by_study(ledger: Ledger, number: int) -> int:
    """Do so in the order within studies."""
    batch = ledger.claim_run("PACS", "sender", _LEASE, min(number, BATCH))
    return sum(ledger.settle_sent(each, 0x0000) for each in batch)


def redact(ledger: Ledger, _: int) -> int:
    """Claim an instance for redaction, and settle it."""
    entry = ledger.claim("redactor", _LEASE)
    file = RedactedFile("clean", Path("clean"), entry.instance, 1) if entry else None
    return int(bool(entry and file and ledger.settle_redacted(entry, file, ["ELSEWHERE"])))


CASES = (
    Case("waiting for a destination", waiting, waiting, send, adds_few=False),
    Case("the same, in the order within studies", waiting, waiting, send_by_study, adds_few=False),
    Case("waiting for redaction", received, received, redact, adds_few=False),
    Case(f"waiting for {_OTHERS} others that are down", elsewhere, waiting, send),
    Case("deferred at the same destination", deferred, waiting, send),
    Case("held", in_state(State.HELD), waiting, send),
    Case("held, seen from redaction", in_state(State.HELD), received, redact),
    Case("sent", in_state(State.SENT), waiting, send),
    Case("held back by the first of their studies", waiting, waiting, send_by_study, prepare=defer_each_study),
)


def settled(ledger: Ledger, step: Callable[[Ledger, int], int], number: int) -> float:
    """Settle so many, and return the rate: rows a second."""
    left, started = number, time.monotonic()
    while left:
        done = step(ledger, left)
        if not done:
            sys.exit(f"{left} were not claimed")
        left -= done
    return number / (time.monotonic() - started)


def compare(case: Case, urls: tuple[str, str], many: int, rounds: int) -> Rates:
    """Return the rates with few waiting and with many, of each round."""
    ledgers = tuple(Ledger(url) for url in urls)
    for ledger in ledgers:
        ledger.create()
    fill(urls[1], case.rows(many))
    for index in range(_OTHERS):
        ledgers[1].destination_down(f"DOWN{index}", "refused", _LATER)
    case.prepare(ledgers[1])
    rates: Rates = ([], [])
    for _ in range(rounds):
        for place, url in enumerate(urls):
            if place == 0 or case.adds_few:
                fill(url, case.few(FEW))
            rates[place].append(settled(ledgers[place], case.step, FEW))
    for ledger in ledgers:
        ledger.close()
    return rates


def to_a_folder(folder: Path, urls: tuple[str, str], many: int, rounds: int) -> Rates:
    """Do the same from spool to folder, as the sender does it, with files of a few bytes."""
    rates: Rates = ([], [])
    made = []
    for number, url in zip((FEW * rounds, many), urls, strict=True):
        spool = Spool(folder / f"spool-{number}")
        spool.prepare()
        queue = Queue(spool, Ledger(url))
        queue.ledger.create()
        rows = list(waiting(number))
        for whole, _ in rows:
            spool.original(whole["id"]).write_bytes(b"as it came")
            spool.redacted(whole["redacted_file"]).write_bytes(b"clean")
        made.append((queue, FolderSender(folder / f"pacs-{number}"), url, iter(rows)))
    fill(urls[1], made[1][3])
    for _ in range(rounds):
        for place, (queue, sender, url, rows) in enumerate(made):
            if place == 0:
                fill(url, [next(rows) for _ in range(FEW)])
            rates[place].append(_delivered(queue, sender))
    for queue, *_ in made:
        queue.ledger.close()
    return rates


def _delivered(queue: Queue, sender: FolderSender) -> float:
    pace = Pace(lease=_LEASE, poll=0.1, retry=1, retry_maximum=1, limit=_LATER)
    stop, left = threading.Event(), [FEW]

    def stage(one: Any, waiting: Any) -> Any:  # noqa: ANN401 - a stage's own
        left[0] -= 1
        if left[0] == 0:
            stop.set()
        return send_instance(one, queue.spool, sender, waiting)

    deliverer, leases, started = Deliverer("PACS", stage, sender, pace), Leases(queue, pace), time.monotonic()
    while not stop.is_set():
        deliverer.send_next(queue, "sender", leases, stop)
    return FEW / (time.monotonic() - started)


def run(arguments: argparse.Namespace) -> None:
    """Measure every case, and print the ratios; exit with an error when one misses the bar."""
    log.configure("error")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name, ExitStack() as stack:
        urls = _urls(arguments.ledger, Path(name), stack)
        cases = [(case.name, compare(case, next(urls), arguments.instances, arguments.rounds)) for case in CASES]
        folder = to_a_folder(Path(name), next(urls), arguments.instances, arguments.rounds)
        cases.append(("from the spool to a folder", folder))
    print(
        f"ledger on {arguments.ledger}: claimed and settled a second, with {FEW} waiting and with {arguments.instances}"
    )
    # Round by round: another's work on the same disk is in both halves of a round, and not in those of all rounds.
    ratios = [median(few / many for few, many in zip(*rates, strict=True)) for _, rates in cases]
    for (what, (few, many)), ratio in zip(cases, ratios, strict=True):
        print(f"  {what:45} {median(few):7.0f} {median(many):7.0f}   {ratio:5.2f} times")
    if max(ratios) > BAR:
        sys.exit(f"not within {BAR} times")


def _urls(kind: str, folder: Path, stack: ExitStack) -> Iterator[tuple[str, str]]:
    """Return pairs of ledgers that are not made yet."""
    if kind == "sqlite":
        return ((f"sqlite:///{folder / f'{n}.db'}", f"sqlite:///{folder / f'{n}-many.db'}") for n in count())
    server = PostgreSQL()
    stack.callback(server.end)
    server.start()
    return ((server.new_ledger(), server.new_ledger()) for _ in count())
