"""High and low water over a real spool and ledger."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from dicom_node.errors import SpoolFull
from dicom_node.model import Origin, RedactedFile, SOPInstance, WaterMarks
from dicom_node.queue import Ledger, Queue, Spool, room
from tests.support.spools import WholeFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

INSTANCE = SOPInstance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")
ORIGIN = Origin("CT1", "NODE", "192.0.2.7", 1_700_000_000.0)
SIZE = 100


@pytest.fixture
def make_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[WaterMarks], Queue]]:
    """Make a queue that asks its ledger each time."""
    monkeypatch.setattr(room, "_COUNT_SECONDS", 0.0)
    monkeypatch.setattr(room, "_COUNT_SHARE", 0)
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.create()

    def make(marks: WaterMarks) -> Queue:
        spool = Spool(tmp_path / "spool", marks.minimum_free)
        spool.prepare()
        return Queue(spool, ledger, marks)

    yield make
    ledger.close()


def accept(queue: Queue) -> str:
    incoming = WholeFile(queue.spool.incoming / "being received", os.urandom(SIZE))
    return queue.accept(incoming, replace(INSTANCE, sop_instance_uid=f"1.2.{uuid.uuid4().int}"), ORIGIN)[0]


def redact(queue: Queue, clean: bytes = bytes(SIZE)) -> None:
    entry = queue.ledger.claim("redactor", 600.0)
    assert entry is not None
    path = queue.spool.write_redacted(entry.id, entry.attempts, lambda file: file.write(clean))
    queue.ledger.settle_redacted(entry, RedactedFile(path.name, path, INSTANCE, len(clean)), ["PACS"])


def test_above_high_water_nothing_comes_in_until_low_water_and_each_change_is_said_once(
    make_queue: Callable[[WaterMarks], Queue],
) -> None:
    queue = make_queue(WaterMarks(high_water=5 * SIZE, low_water=2 * SIZE))
    with capture_logs() as said:
        entries = [accept(queue) for _ in range(6)]
        for _ in range(3):
            with pytest.raises(SpoolFull, match="high-water"):
                accept(queue)
        for entry_id in entries[:3]:
            queue.drop(entry_id)
            with pytest.raises(SpoolFull, match="high-water"):
                accept(queue)
        queue.drop(entries[3])
        accept(queue)
    assert [line["action"] for line in said if line["event"] == "spool"] == [
        "takes no instances",
        "takes instances again",
    ]


def test_clean_files_and_what_is_held_count_too(make_queue: Callable[[WaterMarks], Queue]) -> None:
    queue = make_queue(WaterMarks(high_water=3 * SIZE, low_water=SIZE))
    accept(queue)
    redact(queue, clean=bytes(SIZE + 1))
    held = accept(queue)
    queue.ledger.hold(held, "no route fits")
    with pytest.raises(SpoolFull, match="high-water"):
        queue.room.check()


def test_without_marks_all_comes_in(make_queue: Callable[[WaterMarks], Queue]) -> None:
    queue = make_queue(WaterMarks())
    assert len({accept(queue) for _ in range(3)}) == 3


def test_room_that_waiting_instances_need_for_their_clean_files_is_not_given_away(
    make_queue: Callable[[WaterMarks], Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_queue(WaterMarks(minimum_free=10 * SIZE, resume_free=10 * SIZE))
    # A stand-in for the file system's answer: what is free on this machine changes under the test.
    monkeypatch.setattr(Spool, "_free", lambda _: (12 * SIZE, float("inf")))
    accept(queue)
    accept(queue)
    queue.room.check()
    accept(queue)
    with pytest.raises(SpoolFull, match="minimum"):
        queue.room.check()
    redact(queue)
    queue.room.check()


def test_a_disk_that_was_too_full_is_used_again_only_with_room_to_spare(
    make_queue: Callable[[WaterMarks], Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_queue(WaterMarks(minimum_free=1000, resume_free=2000))
    free = [1000]
    monkeypatch.setattr(Spool, "_free", lambda _: (free[0], float("inf")))  # a stand-in, as above
    queue.room.check()
    for now, is_open in [(999, False), (1999, False), (2000, True), (1000, True)]:
        free[0] = now
        if is_open:
            queue.room.check()
        else:
            with pytest.raises(SpoolFull, match="minimum"):
                queue.room.check()


def test_a_part_of_the_minimum_is_for_clean_files_and_the_last_of_it_for_the_ledger(
    make_queue: Callable[[WaterMarks], Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = make_queue(WaterMarks(minimum_free=1000, resume_free=1000)).spool
    monkeypatch.setattr(Spool, "_free", lambda _: (900, float("inf")))  # a stand-in, as above
    with pytest.raises(SpoolFull):
        spool.check_room()
    spool.check_room_to_redact(650)
    with pytest.raises(SpoolFull):
        spool.check_room_to_redact(651)


def test_what_was_accepted_since_the_ledger_was_asked_counts(
    make_queue: Callable[[WaterMarks], Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_queue(WaterMarks(high_water=2 * SIZE, low_water=SIZE))
    monkeypatch.setattr(room, "_COUNT_SECONDS", 600.0)
    for _ in range(3):
        accept(queue)
    with pytest.raises(SpoolFull, match="high-water"):
        accept(queue)


def test_a_ledger_that_is_away_leaves_the_last_numbers(
    make_queue: Callable[[WaterMarks], Queue], tmp_path: Path
) -> None:
    queue = make_queue(WaterMarks(high_water=SIZE, low_water=SIZE))
    queue.room.check()
    queue.ledger.close()
    (tmp_path / "ledger.db").write_bytes(b"not a database")
    queue.room.check()
