"""What the node cannot clean it holds: an operator sees it, with a reason, and decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydicom import dcmread

from tests.support.images import aborting_rle, copies_of, copy_of, pydicom_file, truncated_jpeg_2000, uid_of
from tests.support.node import Node
from tests.support.peers import StoreSCP, storescu
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dicom_node.queue import EntrySummary

ROUTES = [{"name": "known", "match": {"Modality": ["CT", "MR", "SR"]}, "policy": "all-text", "destinations": ["pacs"]}]


@pytest.fixture(scope="module")
def pacs_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSCP]:
    pacs = StoreSCP(tmp_path_factory.mktemp("pacs") / "pacs")
    try:
        pacs.start()
        yield pacs
    finally:
        pacs.end()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, pacs_of_all: StoreSCP) -> Iterator[Node]:
    one = Node(tmp_path_factory.mktemp("node"), ROUTES, {"pacs": pacs_of_all.destination})
    try:
        one.start()
        yield one
    finally:
        one.kill()


def unmatched(target: Path) -> Path:
    return copy_of(pydicom_file("CT_small.dcm"), target, Modality="OT")


def structured_report(target: Path) -> Path:
    return copy_of(pydicom_file("reportsi.dcm"), target)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (unmatched, "no route fits"),
        (truncated_jpeg_2000, "the pixel data cannot be decoded as JPEG 2000"),
        (structured_report, "no pixel data: only a route with the policy `pass` forwards it"),
    ],
)
def test_an_instance_that_cannot_be_cleaned_is_held_and_listed_with_its_reason(
    node: Node, pacs_of_all: StoreSCP, tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    image = make(tmp_path / "image.dcm")
    storescu(node.port, image)
    held = wait_until_held(node, image)
    listed = node.command("queue", "list", "--state", "HELD").stdout.splitlines()
    assert [line for line in listed if held.entry.id[:12] in line and reason in line]
    assert reason in node.command("queue", "show", held.entry.id[:12]).stdout
    assert uid_of(image) not in pacs_of_all.files()


def test_a_held_report_that_an_operator_releases_to_pass_goes_out_as_it_came(
    node: Node, pacs_of_all: StoreSCP, tmp_path: Path
) -> None:
    report = structured_report(tmp_path / "report.dcm")
    storescu(node.port, report)
    held = wait_until_held(node, report)
    done = node.command("queue", "release", held.entry.id[:12], "--policy", "pass")
    assert done.returncode == 0, done.stderr
    wait_until("it is sent", lambda: node.state(held.entry.id) == "SENT", node.entries)
    assert dcmread(pacs_of_all.files()[uid_of(report)]) == dcmread(report)


def test_what_an_operator_drops_is_deleted_and_a_resend_of_it_is_looked_at_anew(node: Node, tmp_path: Path) -> None:
    image = unmatched(tmp_path / "image.dcm")
    storescu(node.port, image)
    dropped = wait_until_held(node, image).entry.id
    assert [path for path in node.spooled() if dropped in path.name]
    storescu(node.port, image)
    assert len(entries_of(node, image)) == 1  # a resend of what is held is no second instance
    assert node.command("queue", "drop", dropped[:12]).returncode == 0
    assert not [path for path in node.spooled() if dropped in path.name]
    storescu(node.port, image)
    anew = wait_until_held(node, image).entry.id
    assert anew != dropped


def test_an_instance_that_kills_the_redactor_is_held_after_two_attempts_and_costs_the_others_only_the_restart(
    make_node: Callable[..., Node], pacs: StoreSCP, tmp_path: Path
) -> None:
    hook = tmp_path / "hook"
    deadly = aborting_rle(tmp_path / "deadly.dcm", hook)
    others = copies_of(pydicom_file("CT_small.dcm"), tmp_path / "others", 6)
    codec: dict[str, Any] = {"python_path": hook}
    node = make_node({"pacs": pacs.destination}, redactors=2, **codec)
    node.start()
    storescu(node.port, *others[:3], deadly, *others[3:])
    node.wait_for(SENT=6, HELD=1)
    assert set(pacs.files()) == set(map(uid_of, others))
    listed = node.command("queue", "list", "--state", "HELD").stdout
    assert "the worker process died twice on this instance" in listed
    assert node.logged.count('"exit_code": -6') == 2  # SIGABRT
    wait_until("there are two redactors again", lambda: len(node.roles("redact")) == 2)


def entries_of(node: Node, image: Path) -> list[EntrySummary]:
    return [each for each in node.entries() if each.entry.instance.sop_instance_uid == uid_of(image)]


def wait_until_held(node: Node, image: Path) -> EntrySummary:
    def held() -> list[EntrySummary]:
        return [each for each in entries_of(node, image) if each.state == "HELD"]

    return wait_until("it is held", held, node.entries)[0]
