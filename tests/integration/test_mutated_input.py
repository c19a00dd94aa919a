"""Real files and PDUs that hypothesis mutates, in this process: what fails is made as small as it can be.

A whole node meets more of them, with a seed, in ``tests/acceptance/test_fuzz_receiver.py``. Longer::

    DICOM_NODE_FUZZ=100000 python -m pytest tests/integration/test_mutated_input.py --hypothesis-seed=7
"""

from __future__ import annotations

import os
import socket
import struct
import tempfile
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.errors import Refuse
from dicom_node.queue import open_queue
from dicom_node.storage_scp_association import Acceptor, Association, StoreRequest
from dicom_node.storage_scp_commitment import Reports
from dicom_node.storage_scp_header import Content, read_header
from dicom_node.storage_scp_message import decode
from dicom_node.storage_scp_negotiation import Request
from dicom_node.storage_scp_stream import Stream
from tests.support.images import pydicom_file
from tests.support.mutations import data_sets, mutated, mutated_stream
from tests.support.watch import parts_of
from tests.support.wire import C_STORE_RQ, RELEASE, associate_rq, command_set, p_data

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

fuzz = settings(max_examples=int(os.environ.get("DICOM_NODE_FUZZ", "100")), deadline=None)
CHANCE = st.randoms(use_true_random=False)
INFLATED = 1 << 22
FILES = [
    pydicom_file(name)
    for name in (
        "CT_small.dcm",
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_RLE.dcm",
        "image_dfl.dcm",
        "reportsi.dcm",
        "rtplan.dcm",
        "badVR.dcm",
    )
]


@fuzz
@given(CHANCE, st.sampled_from(FILES))
def test_a_mutated_file_is_an_instance_or_is_refused(chance: random.Random, path: Path) -> None:
    _, syntax, _, data_set = parts_of(path)
    before = path.read_bytes().removesuffix(data_set)
    with suppress(Refuse):
        read_header(memoryview(before + mutated(chance, data_set)), syntax, INFLATED)


@fuzz
@given(CHANCE)
def test_a_mutated_command_set_is_one_or_is_none(chance: random.Random) -> None:
    with suppress(ValueError):
        decode(mutated(chance, command_set(C_STORE_RQ, "1.2.840.10008.5.1.4.1.1.2", "1.2.3")))


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reports]:
    folder = tmp_path_factory.mktemp("data")
    queue = open_queue(folder, f"sqlite:///{folder}/ledger.db")
    with closing(queue.ledger):
        yield Reports(queue, {})


@fuzz
@given(CHANCE)
def test_mutated_pdus_store_only_what_is_whole_in_them_and_leave_no_file(
    reports: Reports, chance: random.Random
) -> None:
    sop_class, syntax, uid, data_set = parts_of(FILES[0])
    request = Request(associate_rq(sop_class, [syntax, ExplicitVRLittleEndian]))
    recorded = [
        p_data(command_set(C_STORE_RQ, sop_class, uid), command=True),
        *(p_data(data_set[at : at + 16000], last=at + 16000 >= len(data_set)) for at in range(0, len(data_set), 16000)),
        RELEASE,
    ]
    stream, stored = mutated_stream(chance, recorded), []

    def store(request: StoreRequest) -> tuple[int, str]:
        request.file.finish()
        with request.file.content() as content:
            stored.append(received_data_set(content))
        return 0x0000, ""

    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory() as folder, ours, theirs:
        incoming = Path(folder)
        acceptor = Acceptor(incoming, lambda: None, store, reports)
        sender = threading.Thread(target=say, args=(theirs, stream))
        sender.start()
        with suppress(EOFError, OSError, ValueError):
            Association(acceptor, ours, Stream(ours, 10.0), request, "127.0.0.1").serve()
        ours.shutdown(socket.SHUT_RDWR)
        sender.join()
        assert not list(incoming.iterdir())
    assert stored == data_sets(stream)[: len(stored)]


def say(peer: socket.socket, stream: list[bytes]) -> None:
    """Send everything, as far as it is read."""
    with suppress(OSError):
        peer.sendall(b"".join(stream))
        peer.shutdown(socket.SHUT_WR)


def received_data_set(content: Content) -> bytes:
    """Return what stands behind the File Meta Information."""
    return bytes(content[144 + struct.unpack_from("<I", content, 140)[0] :])
