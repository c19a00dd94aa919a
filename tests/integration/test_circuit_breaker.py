"""One probe for all: senders on several machines share what they know of a destination, and it outlives them."""

from __future__ import annotations

import threading
import uuid
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
from pydicom import dcmread
from sqlalchemy import select

from dicom_node.model import Origin, RedactedFile, RemoteAE, SOPInstance, State
from dicom_node.queue import Ledger, Queue, Spool
from dicom_node.queue.schema import destination
from dicom_node.stages import send_instance
from dicom_node.storage_scu import StorageSCU
from dicom_node.worker import Leases, Pace, work
from dicom_node.worker_send import Deliverer
from tests.support.images import copies_of, pydicom_file
from tests.support.ledgers import engine_on
from tests.support.processes import wait_until
from tests.support.scripted_scp import WELL, Behaviour, ScriptedSCP
from tests.support.spools import WholeFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dicom_node.model import Delivery

PACE = Pace(lease=30.0, poll=0.02, retry=0.3, retry_maximum=0.3, limit=60.0)
COUNT = 4
PROBES = 5


class Machine:
    """A sender with connections of its own, as a machine or a process that was started again has."""

    def __init__(self, url: str, spool: Spool, peer: ScriptedSCP) -> None:
        self.queue = Queue(spool, Ledger(url))
        self._scu = StorageSCU(RemoteAE(peer.ae_title, "127.0.0.1", peer.port, "NODE", 5.0, 5.0, 5.0))
        stage = partial(send_instance, spool=spool, sender=self._scu)
        deliverer = Deliverer("pacs", stage, self._scu, PACE)
        leases, owner = Leases(self.queue, PACE), uuid.uuid4().hex
        self._stop = threading.Event()
        step = partial(deliverer.send_next, self.queue, owner, leases, self._stop)
        self._thread = threading.Thread(target=work, args=(step, self._stop, PACE.poll))

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        self._scu.close()
        self.queue.ledger.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool")
    spool.prepare()
    return spool


@pytest.fixture
def peer() -> Iterator[ScriptedSCP]:
    peer = ScriptedSCP("PACS")
    yield peer
    peer.end()


def redacted(queue: Queue, image: Path) -> str:
    dataset = dcmread(image, stop_before_pixels=True)
    instance = SOPInstance(
        str(dataset.SOPClassUID),
        str(dataset.SOPInstanceUID),
        str(dataset.StudyInstanceUID),
        str(dataset.SeriesInstanceUID),
        str(dataset.file_meta.TransferSyntaxUID),
    )
    incoming = WholeFile(queue.spool.incoming / uuid.uuid4().hex, image.read_bytes())
    queue.accept(incoming, instance, Origin("CT1", "NODE", "127.0.0.1", 1.0))
    entry = queue.ledger.claim("redactor", 60.0)
    assert entry is not None
    path = queue.spool.write_redacted(entry.id, entry.attempts, lambda file: file.write(image.read_bytes()))
    assert queue.ledger.settle_redacted(entry, RedactedFile(path.name, path, instance, 1), ["pacs"])
    return entry.id


def failures(url: str) -> int:
    engine = engine_on(url)
    with engine.begin() as connection:
        found = connection.execute(select(destination.c.failures)).scalar() or 0
    engine.dispose()
    return found


def deliveries(ledger: Ledger, ids: list[str]) -> list[Delivery]:
    return [ledger.entry(entry_id).deliveries[0] for entry_id in ids]


def test_one_c_echo_a_wait_probes_for_all_senders_and_only_after_success_goes_an_instance_out(
    ledger_url: str, spool: Spool, peer: ScriptedSCP, tmp_path: Path
) -> None:
    with closing(Ledger(ledger_url)) as ledger:
        ledger.create()
        images = copies_of(pydicom_file("CT_small.dcm"), tmp_path / "images", COUNT)
        ids = [redacted(Queue(spool, ledger), image) for image in images]
        ledger.destination_down("pacs", "refused", 0.0)
        untouched = deliveries(ledger, ids)
        peer.become(Behaviour(echo=0x0110))
        for _ in range(2):  # the second time with senders that know nothing but what the ledger knows
            machines = [Machine(ledger_url, spool, peer) for _ in range(3)]
            seen = peer.echoes
            for machine in machines:
                machine.start()
            wait_until("it is probed", lambda seen=seen: peer.echoes >= seen + PROBES)  # type: ignore[misc]
            for machine in machines:
                machine.end()
            assert failures(ledger_url) == 1 + peer.echoes, (
                "each failure in a row is one C-ECHO of one of three senders"
            )
        assert peer.asked == []
        assert deliveries(ledger, ids) == untouched
        peer.behaviour = WELL
        seen = peer.echoes
        machines = [Machine(ledger_url, spool, peer) for _ in range(3)]
        for machine in machines:
            machine.start()
        wait_until("all is sent", lambda: {each.state for each in deliveries(ledger, ids)} == {State.SENT})
        for machine in machines:
            machine.end()
        assert peer.echoes == seen + 1
        assert len(peer.asked) == COUNT
        assert [each.attempts for each in deliveries(ledger, ids)] == [each.attempts + 1 for each in untouched]
        assert failures(ledger_url) == 0


def test_a_destination_where_nobody_listens_any_more_is_found_out_by_one_delivery_and_then_left_alone(
    ledger_url: str, spool: Spool, peer: ScriptedSCP, tmp_path: Path
) -> None:
    with closing(Ledger(ledger_url)) as ledger:
        ledger.create()
        images = copies_of(pydicom_file("CT_small.dcm"), tmp_path / "images", COUNT)
        ids = [redacted(Queue(spool, ledger), image) for image in images]
        machine = Machine(ledger_url, spool, peer)
        machine.start()
        wait_until("it is down", lambda: failures(ledger_url) >= 3)
        assert {(each.attempts, each.failures, each.reason) for each in deliveries(ledger, ids)} == {(1, 0, None)}
        peer.start()
        wait_until("all is sent", lambda: {each.state for each in deliveries(ledger, ids)} == {State.SENT})
        machine.end()
        assert peer.uids() == {str(dcmread(image).SOPInstanceUID) for image in images}
