"""The redact stage over a real spool: what leaves, what is held, and that the original is never altered."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicom_node.config import Configuration
from dicom_node.errors import Damaged, Defer, Hold, RedactAgain
from dicom_node.folder import FolderSender
from dicom_node.model import Origin, Outcome, Priority, QueueEntry
from dicom_node.policies import policies
from dicom_node.queue import Queue, open_queue
from dicom_node.redaction.boxes import Box
from dicom_node.redaction.part10 import identity, write
from dicom_node.stages import Redacted, redact_instance, send_instance
from tests.support.spools import WholeFile, content, damage, lose, text_of
from tests.unit.redaction.made import FindsBoxes, image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydicom import FileDataset

BOX = Box(2, 3, 4, 5)
FRAME = np.random.default_rng(1).integers(0, 255, (1, 16, 16)).astype("u1")


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = open_queue(tmp_path / "data", f"sqlite:///{tmp_path / 'ledger.db'}")
    yield queue
    queue.ledger.close()


def configuration(*routes: dict[str, Any], **redact: Any) -> Configuration:  # noqa: ANN401 - as YAML gives it
    content = {
        "destinations": {"clean": {"folder": "out"}, "other": {"folder": "other"}},
        "routes": [{"name": f"route-{n}", "destinations": ["clean"], **route} for n, route in enumerate(routes)],
        "redact": redact,
    }
    return Configuration.model_validate(content)


def received(queue: Queue, dataset: FileDataset) -> QueueEntry:
    """Accept an instance as it came, with a preamble of its own, and claim it."""
    file = BytesIO()
    write(dataset, file)
    content = b"DOE JANE".ljust(128) + file.getvalue()[128:]
    incoming = WholeFile(queue.spool.incoming / uuid.uuid4().hex, content)
    queue.accept(incoming, identity(dataset), Origin("MODALITY", "DICOM_NODE", "127.0.0.1", 1.0))
    entry = queue.ledger.claim("worker", 60.0)
    assert entry is not None
    return entry


def redacted(queue: Queue, entry: QueueEntry, told: Configuration, *boxes: Box) -> Redacted:
    return redact_instance(entry, queue.spool, told, policies(told), FindsBoxes(*boxes))


def digest(path: Path) -> str:
    return text_of(path.read_bytes())


def test_an_instance_is_painted_into_a_file_of_its_own_and_the_original_stays(queue: Queue) -> None:
    entry = received(queue, image(FRAME))
    done = redacted(queue, entry, configuration({}), BOX)
    assert (done.route, done.policy, done.destinations) == ("route-0", "keep-safe-text", ("clean",))
    assert done.redaction.outcome is Outcome.CLEANED
    clean = dcmread(done.file.path)
    assert len(np.unique(clean.pixel_array[2:6, 3:8])) == 1
    assert (done.file.size, done.file.instance) == (done.file.path.stat().st_size, identity(clean))
    assert b"DOE" not in done.file.path.read_bytes()
    assert text_of(content(queue.spool, f"{entry.id}.dcm")) == entry.digest


def test_a_large_original_is_never_altered_although_it_is_painted_in_its_map(queue: Queue) -> None:
    entry = received(queue, image(np.full((1, 4100, 4200), 7, "u1")))
    done = redacted(queue, entry, configuration({"policy": "all-text"}, fill=99), BOX)
    assert set(np.unique(dcmread(done.file.path).pixel_array)) == {7, 99}
    assert text_of(content(queue.spool, f"{entry.id}.dcm")) == entry.digest


def test_pass_copies_the_bytes_exactly_and_looks_at_nothing(queue: Queue) -> None:
    entry = received(queue, image(FRAME))
    done = redacted(queue, entry, configuration({"policy": "pass"}, maximum_bytes=1), BOX)
    assert done.redaction.outcome is Outcome.PASSED
    assert digest(done.file.path) == entry.digest
    assert done.file.instance == entry.instance


def test_without_a_route_that_fits_an_instance_is_held(queue: Queue) -> None:
    entry = received(queue, image(FRAME))
    with pytest.raises(Hold, match="no route fits"):
        redacted(queue, entry, configuration({"match": {"Modality": "US"}}, {"match": {"CallingAETitle": "OTHER"}}))


def test_what_is_too_large_to_look_at_is_held_and_not_passed(queue: Queue) -> None:
    entry = received(queue, image(FRAME))
    with pytest.raises(Hold, match=r"redact\.maximum_bytes"):
        redacted(queue, entry, configuration({}, {"policy": "pass"}, maximum_bytes=entry.size - 1))
    assert redacted(queue, entry, configuration({}, maximum_bytes=entry.size)).redaction.outcome is Outcome.UNCHANGED


def test_what_cannot_be_read_any_more_is_held(queue: Queue) -> None:
    entry = received(queue, image(FRAME))
    lose(queue.spool, f"{entry.id}.dcm")
    with pytest.raises(Hold, match="its bytes cannot be read"):
        redacted(queue, entry, configuration({}))


@pytest.mark.parametrize("policy", ["all-text", "pass"])
def test_an_original_that_the_disk_has_not_kept_is_held_and_nothing_of_it_goes_on(queue: Queue, policy: str) -> None:
    entry = received(queue, image(FRAME))
    kept = content(queue.spool, f"{entry.id}.dcm")
    damage(queue.spool, f"{entry.id}.dcm", kept[:-64] + bytes(64))
    with pytest.raises(Damaged):
        redacted(queue, entry, configuration({"policy": policy}))
    assert not list(queue.spool.clean_files(0.0))


def test_what_an_older_release_has_received_is_redacted_and_what_it_has_redacted_is_sent(
    queue: Queue, tmp_path: Path
) -> None:
    entry = received(queue, image(FRAME))
    kept = content(queue.spool, f"{entry.id}.dcm")
    older = replace(entry, digest=hashlib.sha256(kept).hexdigest())
    done = redacted(queue, older, configuration({"policy": "all-text"}), BOX)
    assert queue.ledger.settle_redacted(entry, done.file, ["clean"])
    (delivery,) = queue.ledger.claim_deliveries("clean", "sender", 60.0, 1)
    theirs = hashlib.sha256(done.file.path.read_bytes()).hexdigest()
    send_instance(replace(delivery, redacted_digest=theirs), queue.spool, FolderSender(tmp_path / "clean"))
    with pytest.raises(RedactAgain):
        send_instance(replace(delivery, redacted_digest=older.digest), queue.spool, FolderSender(tmp_path / "other"))
    damage(queue.spool, f"{entry.id}.dcm", kept[:-64] + bytes(64))
    with pytest.raises(Damaged):
        redacted(queue, older, configuration({"policy": "all-text"}), BOX)


@pytest.mark.parametrize("policy", ["all-text", "pass"])
def test_a_clean_file_goes_out_as_it_was_written_or_is_made_again(queue: Queue, policy: str, tmp_path: Path) -> None:
    done = redacted(queue, entry := received(queue, image(FRAME)), configuration({"policy": policy}), BOX)
    assert done.file.digest == digest(done.file.path)
    assert queue.ledger.settle_redacted(entry, done.file, ["clean"])
    (delivery,) = queue.ledger.claim_deliveries("clean", "sender", 60.0, 1)
    written = done.file.path.read_bytes()
    damage(queue.spool, done.file.name, written[:-64] + bytes(64))
    with pytest.raises(RedactAgain):
        send_instance(delivery, queue.spool, FolderSender(tmp_path / "clean"))
    assert not list(tmp_path.rglob("clean/**/*.dcm"))
    done.file.path.unlink()
    with pytest.raises(Defer, match="cannot be read"):
        send_instance(delivery, queue.spool, FolderSender(tmp_path / "clean"))
    assert not list(tmp_path.rglob("clean/**/*.dcm"))
    damage(queue.spool, done.file.name, written)
    send_instance(replace(delivery, redacted_digest=None), queue.spool, FolderSender(tmp_path / "older release"))
    send_instance(delivery, queue.spool, FolderSender(tmp_path / "clean"))
    assert [path.read_bytes() for path in tmp_path.rglob("clean/**/*.dcm")] == [written]


@pytest.mark.parametrize(("policy", "outcome"), [("all-text", Outcome.CLEANED), ("pass", Outcome.PASSED)])
def test_a_release_takes_the_operators_word_and_nothing_of_a_route(queue: Queue, policy: str, outcome: Outcome) -> None:
    entry = replace(received(queue, image(FRAME)), policy=policy, destinations=("other",))
    route = {"policy": "keep-safe-text", "overlays": "redact", "ultrasound_regions": True, "strict": True}
    done = redacted(queue, entry, configuration(route), BOX)
    assert (done.policy, done.destinations, done.redaction.outcome) == (policy, ("other",), outcome)
    assert "second_look" not in done.redaction.seconds


def test_the_priority_is_the_route_s_and_after_a_release_what_it_was_received_with(queue: Queue) -> None:
    entry = received(queue, image(FRAME))
    assert redacted(queue, entry, configuration({"priority": "low"})).priority is Priority.LOW
    released = replace(entry, policy="pass", destinations=("other",), priority=Priority.HIGH)
    assert redacted(queue, released, configuration({"priority": "low"})).priority is Priority.HIGH


def test_a_rule_and_found_text_are_painted_together(queue: Queue, tmp_path: Path) -> None:
    rules = tmp_path / "banner.yaml"
    rules.write_text("- {name: banner, match: {Modality: CT}, regions: [{left: 10, top: 9, width: 99, height: 2}]}\n")
    entry = received(queue, image(FRAME))
    done = redacted(queue, entry, configuration({"policy": "all-text", "rules": [str(rules)]}), BOX)
    assert [(r.source, r.row, r.column, r.height, r.width) for r in done.redaction.regions] == [
        ("rule", 9, 10, 2, 6),
        ("text", *BOX),
    ]
    after = dcmread(done.file.path).pixel_array
    assert len(np.unique(np.concatenate([after[9:11, 10:].ravel(), after[2:6, 3:8].ravel()]))) == 1


def test_a_rule_may_ask_for_a_plane_that_is_removed_after_it(queue: Queue, tmp_path: Path) -> None:
    rules = tmp_path / "banner.recipe"
    rules.write_text(
        "FORMAT dicom\n\n%filter graylist\n\nLABEL Banner\npresent IconImageSequence\n  ctpcoordinates 0,0,9,2\n"
    )
    entry = received(queue, image(FRAME, IconImageSequence=[Dataset()]))
    told = configuration({"policy": "all-text", "rules": [str(rules)]})
    done = redacted(queue, entry, told)
    assert [region.source for region in done.redaction.regions] == ["rule"]
    assert done.redaction.actions == ("icon removed",)


def test_what_lies_outside_of_the_ultrasound_regions_goes_by_the_word_of_a_route(queue: Queue) -> None:
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 4, 4
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 11, 11
    entry = received(queue, image(FRAME, SequenceOfUltrasoundRegions=[region]))
    done = redacted(queue, entry, configuration({"ultrasound_regions": True}, fill=0))
    after = dcmread(done.file.path).pixel_array
    assert np.array_equal(after[4:12, 4:12], FRAME[0, 4:12, 4:12])
    outside = np.ones((16, 16), bool)
    outside[4:12, 4:12] = False
    assert set(np.unique(after[outside])) == {0}


def test_every_attempt_writes_a_file_of_its_own(queue: Queue) -> None:
    entry = received(queue, image(FRAME))
    names = {
        redacted(queue, replace(entry, attempts=attempts), configuration({}), BOX).file.name for attempts in (1, 2)
    }
    assert len(names) == 2
    assert not any(ExplicitVRLittleEndian in name or entry.instance.sop_instance_uid in name for name in names)
    assert entry.instance.sop_class_uid == SecondaryCaptureImageStorage
