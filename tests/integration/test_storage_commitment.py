"""Storage commitment with real associations: a PACS on one side, the parts of the node on the other.

Here the node's sender and receiver work in the process of the test; tests/acceptance has them as they are started.
"""

from __future__ import annotations

import logging
import ssl
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pydicom.config
import pytest
from pynetdicom import AE, _config, build_context
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from dicom_node.config import DestinationTLS, Receive, ReceiveTLS
from dicom_node.model import Origin, RedactedFile, RemoteAE, SOPInstance, State
from dicom_node.queue import Ledger, Queue, Spool
from dicom_node.storage_commitment import action_information
from dicom_node.storage_scp import StorageSCP
from dicom_node.storage_scu_commitment import StorageCommitmentSCU
from dicom_node.tls import sending
from dicom_node.worker import Pace
from dicom_node.worker_commitment import Committer
from tests.support.certificates import Authority
from tests.support.commitment import AE_TITLE, INSTANCE, CommittingPACS
from tests.support.processes import wait_until
from tests.support.spools import WholeFile, names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dicom_node.model import CommitmentReport

PACE = Pace(lease=5.0, poll=0.001, retry=0.2, retry_maximum=0.2, limit=60.0)
PULL_MODEL = "1.2.840.10008.1.20.2"
WAIT = 3600.0


@pytest.fixture(autouse=True)
def _libraries_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for switch in ("STORE_RECV_CHUNKED_DATASET", "UNRESTRICTED_STORAGE_SERVICE", "LOG_HANDLER_LEVEL"):
        monkeypatch.setattr(_config, switch, getattr(_config, switch))
    for mode in ("_reading_validation_mode", "_writing_validation_mode"):
        monkeypatch.setattr(pydicom.config.settings, mode, getattr(pydicom.config.settings, mode))
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)
    level = logging.getLogger("pynetdicom").level
    yield
    logging.getLogger("pynetdicom").setLevel(level)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    one = Queue(Spool(tmp_path / "spool"), Ledger(f"sqlite:///{tmp_path / 'ledger.db'}"))
    one.spool.prepare()
    one.ledger.create()
    yield one
    one.ledger.close()


@pytest.fixture
def make_pacs() -> Iterator[Callable[..., CommittingPACS]]:
    made: list[CommittingPACS] = []

    def make(*, commits: bool = True, at_once: bool = False, tls: ssl.SSLContext | None = None) -> CommittingPACS:
        made.append(CommittingPACS(commits=commits, at_once=at_once, tls=tls))
        return made[-1]

    yield make
    for pacs in made:
        pacs.end()


@pytest.fixture
def make_committer(queue: Queue) -> Iterator[Callable[..., Committer]]:
    made: list[Committer] = []

    def make(pacs: CommittingPACS, timeout: float = WAIT, tls: tuple[ssl.SSLContext, str] | None = None) -> Committer:
        remote = RemoteAE(AE_TITLE, "127.0.0.1", pacs.port, "DICOM_NODE", dimse_timeout=5.0)
        scu = StorageCommitmentSCU(remote, tls, partial(queue.commit, destinations=["pacs"], delay_seconds=0.0))
        made.append(Committer("pacs", scu, PACE, timeout))
        return made[-1]

    yield make
    for committer in made:
        committer.close()


@pytest.fixture
def make_scp(queue: Queue) -> Iterator[Callable[..., int]]:
    """Start a receiver, and return its port."""
    made: list[StorageSCP] = []

    def make(tls: ReceiveTLS | None = None, **reporters: list[str]) -> int:
        receive = Receive(host="127.0.0.1", tls=tls).model_copy(update={"port": 0})
        made.append(StorageSCP(receive, queue, reporters))
        return made[-1].start()[1]

    yield make
    for scp in made:
        scp.drain(0)


def stored(queue: Queue, count: int = 1) -> list[str]:
    """Make instances that the PACS has stored; return their SOP Instance UIDs."""
    return [_stored(queue, f"1.2.{uuid.uuid4().int % 10**30}") for _ in range(count)]


def _stored(queue: Queue, uid: str) -> str:
    incoming = WholeFile(queue.spool.incoming / uid, uid.encode())
    instance = SOPInstance("1.2.840.10008.5.1.4.1.1.2", uid, "1.2.4", "1.2.5", "1.2.840.10008.1.2.1")
    queue.accept(incoming, instance, Origin("MODALITY", "DICOM_NODE", "127.0.0.1", 1e9))
    entry = queue.ledger.claim("redactor", 60.0)
    assert entry is not None
    path = queue.spool.write_redacted(entry.id, entry.attempts, lambda file: file.write(b"clean"))
    queue.ledger.settle_redacted(entry, RedactedFile(path.name, path, instance, 5), ["pacs"])
    (delivery,) = queue.ledger.claim_deliveries("pacs", "sender", 60.0, 1)
    queue.ledger.settle_stored(delivery, 0x0000)
    return uid


def standing(queue: Queue) -> dict[str, tuple[State, str | None]]:
    return {
        summary.entry.instance.sop_instance_uid: (summary.state, summary.reason) for summary in queue.ledger.entries()
    }


def spooled(queue: Queue) -> list[str]:
    return sorted(names(queue.spool))


def ask(committer: Committer, queue: Queue) -> None:
    wait_until("it asks", lambda: committer.ask_next(queue))


# The node as SCU


def test_what_is_reported_on_the_same_association_is_sent_and_its_bytes_go(
    queue: Queue, make_pacs: Callable[..., CommittingPACS], make_committer: Callable[..., Committer]
) -> None:
    pacs = make_pacs(at_once=True)
    uids = stored(queue, 3)
    assert len(spooled(queue)) == 9
    ask(make_committer(pacs), queue)
    wait_until("all are sent", lambda: set(standing(queue).values()) == {(State.SENT, None)}, lambda: standing(queue))
    ((_, asked),) = pacs.requests
    assert sorted(asked) == sorted(uids)
    wait_until("no bytes are left", lambda: not spooled(queue), lambda: spooled(queue))


def test_of_two_the_one_that_failed_is_sent_again_and_its_original_stays(
    queue: Queue, make_pacs: Callable[..., CommittingPACS], make_committer: Callable[..., Committer]
) -> None:
    pacs = make_pacs(at_once=True)
    good, bad = stored(queue, 2)
    pacs.failing = {bad: 0x0112}
    ask(make_committer(pacs), queue)
    wait_until("one is sent", lambda: standing(queue)[good][0] is State.SENT)
    assert standing(queue)[bad] == (State.REDACTED, "pacs: the destination has not committed to its storage: 0112H")
    (again,) = queue.ledger.claim_deliveries("pacs", "sender", 60.0, 10)
    assert again.instance.sop_instance_uid == bad
    assert queue.spool.has_redacted(str(again.redacted_file))
    assert queue.spool.has_original(again.entry_id)


def test_a_destination_that_never_reports_is_asked_three_times_with_three_transactions_and_then_it_is_held(
    queue: Queue, make_pacs: Callable[..., CommittingPACS], make_committer: Callable[..., Committer]
) -> None:
    pacs = make_pacs()
    (uid,) = stored(queue)
    committer = make_committer(pacs, timeout=0.05)

    def held() -> bool:
        committer.ask_next(queue)
        return standing(queue)[uid][0] is State.HELD

    wait_until("it is held", held)
    assert standing(queue)[uid][1] == "pacs: it is stored, but 3 requests for storage commitment brought no commitment"
    assert [uids for _, uids in pacs.requests] == [[uid]] * 3
    assert len({transaction for transaction, _ in pacs.requests}) == 3
    assert len(spooled(queue)) == 3


def test_a_destination_that_does_not_accept_the_push_model_holds_what_it_has_stored_with_that_reason(
    queue: Queue, make_pacs: Callable[..., CommittingPACS], make_committer: Callable[..., Committer]
) -> None:
    (uid,) = stored(queue)
    ask(make_committer(make_pacs(commits=False)), queue)
    reason = "pacs: it is stored, but the destination does not accept Storage Commitment Push Model"
    assert standing(queue)[uid] == (State.HELD, reason)


@pytest.mark.parametrize(("status", "state"), [(0x0213, State.STORED), (0x0122, State.HELD)])
def test_a_request_that_is_refused_for_now_is_made_again_and_one_that_is_refused_for_good_is_held(
    queue: Queue,
    make_pacs: Callable[..., CommittingPACS],
    make_committer: Callable[..., Committer],
    status: int,
    state: State,
) -> None:
    pacs = make_pacs(at_once=True)
    pacs.answers = status
    (uid,) = stored(queue)
    committer = make_committer(pacs)
    ask(committer, queue)
    reason = f"pacs: it is stored, but the request for storage commitment was answered {status:04X}H"
    assert standing(queue)[uid] == (state, reason)
    pacs.answers = 0x0000
    if state is State.STORED:
        ask(committer, queue)
        wait_until("it is sent", lambda: standing(queue)[uid][0] is State.SENT)


def test_a_destination_that_is_down_is_asked_when_it_is_back(
    queue: Queue, make_pacs: Callable[..., CommittingPACS], make_committer: Callable[..., Committer]
) -> None:
    gone = make_pacs()
    gone.end()
    (uid,) = stored(queue)
    ask(make_committer(gone), queue)
    assert standing(queue)[uid][0] is State.STORED
    assert queue.ledger.destination_failures("pacs") == 1
    back = make_committer(make_pacs(at_once=True))
    assert not back.ask_next(queue)
    queue.ledger.destination_up("pacs")  # as the sender does once its C-ECHO is answered (test_circuit_breaker)
    ask(back, queue)
    wait_until("it is sent", lambda: standing(queue)[uid][0] is State.SENT)


def test_closing_waits_for_a_report_that_is_being_written_down(
    queue: Queue, make_pacs: Callable[..., CommittingPACS]
) -> None:
    pacs, begun, taken = make_pacs(at_once=True), threading.Event(), []

    def take(report: CommitmentReport) -> int:
        begun.set()
        time.sleep(0.5)
        taken.append(queue.commit(report, ["pacs"]))
        return taken[-1]

    stored(queue, 2)
    scu = StorageCommitmentSCU(RemoteAE(AE_TITLE, "127.0.0.1", pacs.port, "DICOM_NODE"), None, take)
    waiting = queue.ledger.begin_commitment("pacs", "2.25.7", 10, WAIT)
    scu.request("2.25.7", [each.instance for each in waiting])
    assert begun.wait(30)
    scu.close()
    assert taken == [2]
    wait_until("the response has arrived", lambda: pacs.heard == [0x0000], lambda: pacs.heard)


# Over TLS, with certificates on both sides


@dataclass(frozen=True)
class Secured:
    """What both sides need for mutual TLS."""

    authority: Authority
    pacs: ssl.SSLContext
    node: tuple[ssl.SSLContext, str]
    receiver: ReceiveTLS

    def calling_as(self, name: str) -> ssl.SSLContext:
        """Make the context of somebody with a certificate of this name."""
        own = self.authority.sign(f"calling-{name}", name)
        context = ssl.create_default_context(cafile=str(self.authority.ca))
        context.load_cert_chain(own.certificate, own.key)
        return context


@pytest.fixture
def secured(tmp_path: Path) -> Secured:
    authority = Authority(tmp_path / "tls")
    pacs, node = (authority.sign(name, name) for name in ("pacs", "node"))
    listening = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.ca))
    listening.verify_mode = ssl.CERT_REQUIRED
    listening.load_cert_chain(pacs.certificate, pacs.key)
    sender = DestinationTLS(ca=authority.ca, certificate=node.certificate, key=node.key)
    receiver = ReceiveTLS(
        certificate=node.certificate,
        key=node.key,
        ca=authority.ca,
        require_client_certificate=True,
        calling_ae_titles={"pacs": (AE_TITLE,), "other": ("OTHER",)},
    )
    return Secured(authority, listening, (sending(sender, "pacs"), "127.0.0.1"), receiver)


def test_over_mutual_tls_it_is_asked_and_reports_on_the_same_association(
    queue: Queue, make_pacs: Callable[..., CommittingPACS], make_committer: Callable[..., Committer], secured: Secured
) -> None:
    pacs = make_pacs(at_once=True, tls=secured.pacs)
    stored(queue)
    ask(make_committer(pacs, tls=secured.node), queue)
    wait_until("it is sent", lambda: set(standing(queue).values()) == {(State.SENT, None)}, lambda: standing(queue))


def test_over_mutual_tls_only_the_certificate_of_the_destination_reports(
    queue: Queue,
    make_pacs: Callable[..., CommittingPACS],
    make_committer: Callable[..., Committer],
    make_scp: Callable[..., int],
    secured: Secured,
) -> None:
    pacs, port = make_pacs(tls=secured.pacs), make_scp(tls=secured.receiver, PACS=["pacs"])
    (uid,) = stored(queue)
    ask(make_committer(pacs, tls=secured.node), queue)
    assert pacs.associate(port, tls=secured.calling_as("other")).is_rejected
    assert standing(queue)[uid][0] is State.STORED
    assert pacs.report(port, tls=secured.calling_as("pacs")) == 0x0000
    assert standing(queue)[uid] == (State.SENT, None)


# The node as receiver of reports


def test_a_destination_reports_on_an_association_of_its_own(
    queue: Queue,
    make_pacs: Callable[..., CommittingPACS],
    make_committer: Callable[..., Committer],
    make_scp: Callable[..., int],
) -> None:
    pacs, port = make_pacs(), make_scp(PACS=["pacs"])
    good, bad = stored(queue, 2)
    ask(make_committer(pacs), queue)
    pacs.failing = {bad: 0x0110}
    assert pacs.report(port) == 0x0000
    assert standing(queue)[good] == (State.SENT, None)
    assert standing(queue)[bad][0] is State.REDACTED
    assert pacs.report(port) == 0x0000, "the same report again changes nothing"
    assert standing(queue)[good] == (State.SENT, None)


def test_a_report_on_a_transaction_that_is_not_known_changes_nothing(
    queue: Queue,
    make_pacs: Callable[..., CommittingPACS],
    make_committer: Callable[..., Committer],
    make_scp: Callable[..., int],
) -> None:
    pacs, port = make_pacs(), make_scp(PACS=["pacs"], OTHER=["other"])
    (uid,) = stored(queue)
    ask(make_committer(pacs), queue)
    assert pacs.report(port, calling="OTHER") == 0x0000
    pacs.requests.append(("2.25.7", [uid]))
    assert pacs.report(port) == 0x0000
    assert standing(queue)[uid][0] is State.STORED


def test_storage_commitment_is_not_offered_to_anyone_who_asks_for_it(
    make_pacs: Callable[..., CommittingPACS], make_scp: Callable[..., int]
) -> None:
    pacs = make_pacs()
    for port in (make_scp(), make_scp(PACS=["pacs"])):
        association = pacs.associate(port, as_scp=False)
        accepted = [context.abstract_syntax for context in association.accepted_contexts]
        (rejected,) = association.rejected_contexts
        association.release()
        assert accepted == [Verification]
        assert (rejected.abstract_syntax, rejected.result) == (StorageCommitmentPushModel, 3)


@pytest.mark.parametrize(("reporters", "calling"), [({}, "PACS"), ({"PACS": ["pacs"]}, "OTHER")])
def test_nobody_reports_but_a_destination_that_is_asked(
    make_pacs: Callable[..., CommittingPACS],
    make_scp: Callable[..., int],
    reporters: dict[str, list[str]],
    calling: str,
) -> None:
    association = make_pacs().associate(make_scp(**reporters), calling)
    accepted = [context.abstract_syntax for context in association.accepted_contexts]
    association.release()
    assert accepted == [Verification]


def test_the_pull_model_is_no_storage(make_scp: Callable[..., int]) -> None:
    association = AE("MODALITY").associate(
        "127.0.0.1", make_scp(), [build_context(PULL_MODEL), build_context(Verification)], "DICOM_NODE"
    )
    (rejected,) = association.rejected_contexts
    association.release()
    assert (rejected.abstract_syntax, rejected.result) == (PULL_MODEL, 3)


def test_who_may_report_may_not_ask(
    queue: Queue, make_pacs: Callable[..., CommittingPACS], make_scp: Callable[..., int]
) -> None:
    association = make_pacs().associate(make_scp(PACS=["pacs"]))
    (context,) = [each for each in association.accepted_contexts if each.abstract_syntax == StorageCommitmentPushModel]
    assert (context.as_scu, context.as_scp) == (False, True)
    context._as_scu = True  # noqa: SLF001 - pynetdicom would not send it
    association._accepted_cx[context.context_id] = context  # noqa: SLF001
    asked = action_information("2.25.7", [])
    association.send_n_action(asked, 1, StorageCommitmentPushModel, INSTANCE)
    wait_until("the node has ended the association", lambda: association.is_aborted)
    assert queue.ledger.entries() == []


def test_a_report_longer_than_any_ends_its_association_and_is_not_kept_in_memory(
    queue: Queue, make_pacs: Callable[..., CommittingPACS], make_scp: Callable[..., int]
) -> None:
    pacs, port = make_pacs(), make_scp(PACS=["pacs"])
    pacs.requests.append(("2.25.7", [f"1.2.{10**50 + number}" for number in range(20_000)]))
    before = time.monotonic()
    assert pacs.report(port) is None
    assert time.monotonic() - before < 60
    assert queue.ledger.entries() == []
