"""Real files and real PDUs, mutated at random: whatever comes, the receiver keeps its promises.

Everything follows from a seed, which is printed when a test fails. Longer, and with another seed::

    DICOM_NODE_FUZZ=200000 DICOM_NODE_FUZZ_SEED=7 python -m pytest tests/acceptance/test_fuzz_receiver.py -s

The number is how many mutated data sets are sent, and as many streams of mutated PDUs.
"""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from tests.support.images import pydicom_file
from tests.support.mutations import data_sets, mutated, mutated_stream
from tests.support.node import Node
from tests.support.watch import Watch, data_set_hash, parts_of
from tests.support.wire import (
    ASSOCIATE_AC,
    C_STORE_RQ,
    RELEASE,
    Wire,
    associate_rq,
    command_set,
    p_data,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = int(os.environ.get("DICOM_NODE_FUZZ", "200"))
SEED = int(os.environ.get("DICOM_NODE_FUZZ_SEED", "1"))
BATCH = 100
MEBIBYTES = 150

FILES = [
    pydicom_file(name)
    for name in (
        "CT_small.dcm",
        "MR_small_implicit.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "image_dfl.dcm",
        "reportsi.dcm",
        "JPEG2000.dcm",
        "liver_1frame.dcm",
        "test-SR.dcm",
        "rtplan.dcm",
        "examples_overlay.dcm",
        "badVR.dcm",
    )
]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    everything = {"name": "all", "policy": "all-text", "destinations": ["clean"]}
    folder = tmp_path_factory.mktemp("fuzz") / "node"
    one = Node(folder, [everything], {"clean": {"folder": "out"}}, receive={"network_timeout": 5.0})
    try:
        one.start("--role", "receive")
        yield one
    finally:
        one.kill()


@pytest.fixture(scope="module")
def watch(node: Node) -> Watch:
    return Watch(node, FILES[0])


def looked_after(watch: Watch, done: int) -> None:
    """See after each batch that all is well."""
    watch.all_is_well(MEBIBYTES)
    watch.nothing_is_left_over()
    watch.what_had_success_and_nothing_else_is_kept()
    print(f"seed {SEED}: {done} of {COUNT}, receiver at most {watch.peak_mebibytes()} MiB")  # noqa: T201


def test_mutated_data_sets_are_refused_or_kept_as_they_came(node: Node, watch: Watch) -> None:
    chance = random.Random(SEED)  # noqa: S311 - to be had again, not to be secret
    statuses: dict[int | None, int] = {}
    started = time.monotonic()
    for start in range(0, COUNT, BATCH):
        for _ in range(BATCH // 10):
            path = chance.choice(FILES)
            sop_class, syntax, uid, original = parts_of(path)
            with Wire(node.port) as wire:
                assert wire.associate(associate_rq(sop_class, [syntax])) == ASSOCIATE_AC
                for _ in range(10):
                    data_set = mutated(chance, original)
                    status = wire.store(sop_class, uid, data_set, length=chance.choice((100, 1000, 16000)))
                    statuses[status] = statuses.get(status, 0) + 1
                    if status == 0x0000:
                        watch.confirmed.add(data_set_hash(data_set))
                wire.send(RELEASE)
        looked_after(watch, start + BATCH)
    print({f"{status:04X}H": count for status, count in statuses.items() if status is not None})  # noqa: T201
    print(f"{COUNT} mutated data sets in {time.monotonic() - started:.1f} s")  # noqa: T201
    # Both happen: most mutations hit pixels or values, which are not the receiver's to judge.
    assert set(statuses) <= {0x0000, 0xA900, 0xC000, 0x0117}
    assert statuses[0x0000]
    assert statuses[0xC000]


def test_mutated_pdus_end_their_own_association_at_most(node: Node, watch: Watch) -> None:
    chance = random.Random(SEED)  # noqa: S311 - to be had again, not to be secret
    sop_class, syntax, uid, data_set = parts_of(FILES[0])
    recorded = [
        associate_rq(sop_class, [syntax, ExplicitVRLittleEndian]),
        p_data(command_set(C_STORE_RQ, sop_class, uid), command=True),
        *(
            p_data(data_set[start : start + 16000], last=start + 16000 >= len(data_set))
            for start in range(0, len(data_set), 16000)
        ),
        RELEASE,
    ]
    started = time.monotonic()
    for start in range(0, COUNT, BATCH):
        for _ in range(BATCH):
            with Wire(node.port) as wire:
                stream = mutated_stream(chance, recorded)
                sent = [data_set_hash(each) for each in data_sets(stream)]
                wire.send(*stream)
                wire.finish()
                # A connection that ends early may have been stored without its Success being heard.
                watch.possible.update(sent)
                watch.confirmed.update(
                    digest for digest, status in zip(sent, wire.statuses(), strict=False) if status == 0x0000
                )
        looked_after(watch, start + BATCH)
    print(f"{COUNT} streams of mutated PDUs in {time.monotonic() - started:.1f} s")  # noqa: T201
