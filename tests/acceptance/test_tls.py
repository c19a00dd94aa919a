"""TLS (PS3.15 B.12) between the node and others' implementations: dcmtk, pynetdicom, OpenSSL's own client."""

from __future__ import annotations

import socket
import ssl
import subprocess
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest
from pydicom import dcmread
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from tests.support.certificates import Authority, Certificate
from tests.support.images import pydicom_file, uid_of
from tests.support.node import AE_TITLE, COMMAND_SECONDS, Node
from tests.support.processes import environment, free_port, is_listening, wait_until
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pynetdicom.association import Association

CT = pydicom_file("CT_small.dcm")
NETWORK_TIMEOUT = 5.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Certificate:
    return authority.sign("node", "node.example")


@pytest.fixture(scope="module")
def modality(authority: Authority) -> Certificate:
    return authority.sign("ct1", "ct1.example", "DNS:ct1.hospital.example")


@pytest.fixture(scope="module")
def by_fingerprint(authority: Authority) -> Certificate:
    return authority.sign("mr1", "unnamed")


@pytest.fixture(scope="module")
def node(
    tmp_path_factory: pytest.TempPathFactory,
    authority: Authority,
    ours: Certificate,
    by_fingerprint: Certificate,
) -> Iterator[Node]:
    """A receiver with mutual TLS, that knows which certificate may use which AE titles."""
    tls = {
        "certificate": str(ours.certificate),
        "key": str(ours.key),
        "ca": str(authority.ca),
        "require_client_certificate": True,
        "calling_ae_titles": {
            "CT1.hospital.example": ["CT1", "CT2"],
            "node.example": ["NODE"],
            by_fingerprint.fingerprint: ["MR1"],
        },
    }
    everything = {"name": "all", "policy": "all-text", "destinations": ["clean"]}
    receive = {"network_timeout": NETWORK_TIMEOUT, "tls": tls}
    folder = tmp_path_factory.mktemp("tls") / "node"
    one = Node(folder, [everything], {"clean": {"folder": "out"}}, receive=receive)
    try:
        said = one.start("--role", "receive")
        assert "ready" in said, one.logged
        yield one
    finally:
        one.kill()


def dcmtk(node: Node, authority: Authority, own: Certificate | None, calling: str, *files: Path) -> int:
    """C-STORE by dcmtk over TLS; return its exit code."""
    mine = ["+tls", str(own.key), str(own.certificate)] if own else ["+tla"]
    command = ["storescu", *mine, "+cf", str(authority.ca), "-xe", "-aet", calling, "-aec", AE_TITLE]
    done = subprocess.run(
        [*command, "127.0.0.1", str(node.port), *map(str, files)],
        env=environment(node.folder),
        timeout=COMMAND_SECONDS,
        capture_output=True,
        check=False,
    )
    return done.returncode


def client(authority: Authority, own: Certificate | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.ca)
    if own:
        context.load_cert_chain(own.certificate, own.key)
    return context


def shakes_hands(node: Node, context: ssl.SSLContext) -> str | None:
    """Return the version on which both agree; in TLS 1.3 only the first bytes tell whether our certificate will do."""
    with socket.create_connection(("127.0.0.1", node.port), COMMAND_SECONDS) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as peer:
                version = peer.version()
                peer.sendall(b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00")
                return version if peer.recv(1) == b"" else "?"
        except (ssl.SSLError, ConnectionError):
            return None


def test_dcmtk_stores_over_mutual_tls_under_the_title_of_its_certificate(
    node: Node, authority: Authority, modality: Certificate
) -> None:
    before = len(node.entries())
    assert dcmtk(node, authority, modality, "CT1", CT) == 0
    (entry,) = [summary.entry for summary in node.entries()][: len(node.entries()) - before]
    assert entry.instance.sop_instance_uid == uid_of(CT)
    assert entry.origin.calling_ae_title == "CT1"


def test_another_title_than_the_certificate_s_does_not_get_in(
    node: Node, authority: Authority, modality: Certificate, by_fingerprint: Certificate
) -> None:
    assert dcmtk(node, authority, modality, "CT2", CT) == 0
    assert dcmtk(node, authority, modality, "MR1", CT) != 0
    assert dcmtk(node, authority, by_fingerprint, "MR1", CT) == 0
    assert dcmtk(node, authority, by_fingerprint, "CT1", CT) != 0
    assert '"reason": "calling AE title"' in node.logged


def test_a_certificate_that_nobody_has_named_does_not_get_in(node: Node, authority: Authority) -> None:
    assert dcmtk(node, authority, authority.sign("other", "other.example"), "CT1", CT) != 0


def test_who_has_no_certificate_or_one_of_another_ca_does_not_get_in(
    node: Node, authority: Authority, modality: Certificate, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger").sign("ct1", "ct1.example", "DNS:ct1.hospital.example")
    assert shakes_hands(node, client(authority, modality)) == "TLSv1.3"
    assert shakes_hands(node, client(authority)) is None
    assert shakes_hands(node, client(authority, stranger)) is None
    assert dcmtk(node, authority, stranger, "CT1", CT) != 0


@pytest.mark.parametrize(
    ("version", "agreed"),
    [
        (ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        (ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        pytest.param(
            ssl.TLSVersion.TLSv1_1, None, marks=pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
        ),
    ],
)
def test_tls_1_2_and_1_3_are_spoken_and_nothing_older(
    node: Node, authority: Authority, modality: Certificate, version: ssl.TLSVersion, agreed: str | None
) -> None:
    context = client(authority, modality)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1 if agreed is None else version
    context.maximum_version = version
    assert shakes_hands(node, context) == agreed


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"])
def test_without_forward_secrecy_by_elliptic_curves_and_an_authenticated_cipher_there_is_no_handshake(
    node: Node, authority: Authority, modality: Certificate, cipher: str
) -> None:
    context = client(authority, modality)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    assert shakes_hands(node, context) is None


def test_clients_that_say_nothing_hold_up_no_other_and_are_ended(
    node: Node, authority: Authority, modality: Certificate
) -> None:
    """Also half a ClientHello, and an A-ASSOCIATE-RQ without TLS."""
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", node.port))) for _ in range(200)]
        silent[-1].sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        silent[-2].sendall(b"\x01\x00\x00\x00\x00\xcd\x00\x01")
        assert dcmtk(node, authority, modality, "CT1", CT) == 0
        for peer in silent:
            peer.settimeout(10 * NETWORK_TIMEOUT)
            assert hung_up(peer)


def hung_up(peer: socket.socket) -> bool:
    """Wait until the node ends a connection."""
    with suppress(ConnectionError):
        while peer.recv(1000):
            pass
    return True


def associate(node: Node, context: ssl.SSLContext, ae: AE) -> Association:
    # pynetdicom as requestor does not close a socket that the peer has closed first.
    end = (evt.EVT_CONN_CLOSE, lambda event: event.assoc.dul.socket.socket.close())
    tls = (context, "127.0.0.1")
    return ae.associate("127.0.0.1", node.port, ae_title=AE_TITLE, tls_args=tls, evt_handlers=[end])


def test_pynetdicom_sends_a_large_instance_whole(
    node: Node, authority: Authority, modality: Certificate, tmp_path: Path
) -> None:
    """Records that are decrypted already are not waited for; PDUs that are longer than a record are put together."""
    dataset = dcmread(CT)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4.5")
    dataset.Rows = dataset.Columns = 2048
    dataset.PixelData = bytes(range(256)) * (2 * 2048 * 2048 // 256)
    dataset.save_as(tmp_path / "large.dcm")
    ae = AE("CT1")
    ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = associate(node, client(authority, modality), ae)
    assert association.send_c_store(dataset).Status == 0x0000
    association.release()
    (entry,) = [s.entry for s in node.entries() if s.entry.instance.sop_instance_uid == "1.2.3.4.5"]
    kept = dcmread(node.data_dir / "spool" / "received" / f"{entry.id}.dcm")
    assert kept.PixelData == dataset.PixelData


def destination(port: int, authority: Authority, **others: Any) -> dict[str, Any]:  # noqa: ANN401 - of the configuration
    return {"ae_title": "PACS", "host": "127.0.0.1", "port": port, "tls": {"ca": str(authority.ca), **others}}


@pytest.fixture
def pacs(tmp_path: Path, authority: Authority) -> Iterator[tuple[int, Path]]:
    """Run dcmtk's storescp with mutual TLS; return its port and the folder it stores in."""
    own = authority.sign("pacs", "pacs.example", "DNS:pacs.example")
    port, received = free_port(), tmp_path / "pacs"
    received.mkdir()
    told = [
        "+tls",
        str(own.key),
        str(own.certificate),
        "+cf",
        str(authority.ca),
        "-rc",
        "-od",
        str(received),
        str(port),
    ]
    with subprocess.Popen(["storescp", *told], env=environment(tmp_path), stderr=subprocess.DEVNULL) as storescp:
        wait_until("storescp listens", lambda: is_listening(port))
        yield port, received
        storescp.kill()


def test_the_node_sends_over_mutual_tls_and_to_nobody_whose_certificate_is_not_the_destination_s(
    tmp_path: Path, authority: Authority, ours: Certificate, pacs: tuple[int, Path]
) -> None:
    port, received = pacs
    own = {"certificate": str(ours.certificate), "key": str(ours.key)}
    stranger = Authority(tmp_path / "stranger")
    destinations = {
        "pacs": destination(port, authority, server_name="pacs.example", **own),
        "of-another-name": destination(port, authority, **own),
        "of-another-ca": destination(port, stranger, server_name="pacs.example", **own),
    }
    everything = {"name": "all", "policy": "pass", "destinations": list(destinations)}
    node = Node(tmp_path / "node", [everything], destinations)
    try:
        node.start()
        echoes = {name: node.command("echo", name) for name in destinations}
        assert [done.returncode for done in echoes.values()] == [0, 1, 1]
        assert "IP address mismatch" in echoes["of-another-name"].stderr
        assert "self-signed certificate in certificate chain" in echoes["of-another-ca"].stderr
        subprocess.run(
            ["storescu", "-xe", "-aec", AE_TITLE, "127.0.0.1", str(node.port), str(CT)],
            env=environment(tmp_path),
            timeout=COMMAND_SECONDS,
            check=True,
        )
        (path,) = wait_until("it has arrived", lambda: list(received.iterdir()))
        wait_until("it is whole", lambda: dcmread(path, force=True).get("PixelData") == dcmread(CT).PixelData)
        assert len(list(received.iterdir())) == 1
    finally:
        node.kill()


def test_pynetdicom_verifies_over_tls_and_nobody_without(node: Node, authority: Authority, ours: Certificate) -> None:
    """And without TLS there is no answer."""
    ae = AE("NODE")
    ae.add_requested_context(Verification)
    association = associate(node, client(authority, ours), ae)
    assert association.send_c_echo().Status == 0x0000
    association.release()
    with Wire(node.port) as plain:
        assert plain.associate() == 0
