"""No element value leaves an instance: not into logs, not into file names, not into reasons."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue

from tests.support.images import copy_of, pydicom_file, truncated_jpeg_2000, ultrasound
from tests.support.node import run_command
from tests.support.peers import storescu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.node import Node
    from tests.support.peers import StoreSCP

SHORTEST = 4
SHORTEST_NUMBER = 8
"""Digits from which a number is looked for: shorter ones are in every time, size, process id and entry id."""

NAMES = (
    "CT_small",
    "MR_small_implicit",
    "badVR",
    "reportsi",
    "test-SR",
    "examples_overlay",
    "examples_jpeg2k",
    "rtplan",
)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Return images that are cleaned, held, and odd enough for every library to speak of their values."""
    folder = tmp_path / "images"
    images = [copy_of(pydicom_file(f"{name}.dcm"), folder / f"{name}.dcm") for name in NAMES]
    nobodys = {"PatientName": "Nobody^Knows^Whom", "PatientID": "NOT-A-ROUTE-4711", "Modality": "OT"}
    odd = {"SeriesInstanceUID": "1.2.no.uid", "PatientBirthDate": "19xx-13-77", "PatientAge": "ninety-nine"}
    images += [
        copy_of(images[0], folder / "unmatched.dcm", **nobodys),
        copy_of(images[0], folder / "odd.dcm", **odd),
        truncated_jpeg_2000(folder / "truncated.dcm"),
        *(copy_of(ultrasound(name, folder), folder / f"{name}.dcm") for name in ("GREYSCALE_IMAGE", "RGB_IMAGE")),
    ]
    return images


def test_no_process_of_the_node_dumps_a_core_with_what_it_has_in_memory(make_node: Callable[..., Node]) -> None:
    node = make_node({"clean": {"folder": "clean"}}, [{"name": "all", "destinations": ["clean"]}])
    node.start()
    pids = node.roles()
    assert len(pids) >= 3
    for pid in pids:
        limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
        assert re.search(r"^Max core file size +0 ", limits, re.MULTILINE)
    assert node.stop() == 0


def test_no_element_value_is_in_any_log_file_name_or_reason(
    make_node: Callable[..., Node], make_pacs: Callable[..., StoreSCP], images: list[Path]
) -> None:
    pacs = make_pacs()
    matched = {"Modality": ["CT", "MR", "US", "SR", "RT*"]}
    route = {"name": "known", "match": matched, "policy": "phi-only", "destinations": ["pacs", "clean"]}
    node = make_node({"pacs": pacs.destination, "clean": {"folder": "clean"}}, [route])
    node.start("--role", "receive,redact")
    storescu(node.port, *images)
    storescu(node.port, images[0])  # once more: a duplicate
    is_settled = ("REDACTED", "HELD")
    node.wait_until_all_are(*is_settled, count=len(images))
    names = {str(path.relative_to(node.data_dir)) for path in node.spooled()}
    assert node.stop() == 0
    node.start("--role", "send")
    node.wait_until_logged('"action": "down"')  # nobody listens yet
    pacs.start()
    node.wait_until_all_are("SENT", "HELD", count=len(images))
    assert node.stop() == 0
    counts = node.counts()
    assert counts["SENT"]
    assert counts["HELD"]
    reasons = [each.reason or "" for each in node.entries()]
    written = "\n".join([node.logged, node.said, *names, *reasons])
    assert not leaked(images, written)


def test_no_element_value_is_in_what_the_command_clean_writes_but_its_report(
    images: list[Path], tmp_path: Path
) -> None:
    done = run_command(tmp_path, "clean", str(images[0].parent), str(tmp_path / "clean"), "--policy", "phi-only")
    assert done.returncode == 2
    assert not leaked(images, done.stdout + done.stderr)


def test_the_search_finds_a_value_that_is_there(images: list[Path]) -> None:
    assert leaked(images, "it is about NOT-A-ROUTE-4711, who is Nobody, born 19xx-13-77") == {
        *("NOT-A-ROUTE-4711", "Nobody", "19xx-13-77"),
    }


def leaked(images: list[Path], text: str) -> set[str]:
    """Return the values of the images that occur in a text."""
    values = {value for image in images for value in values_of(dcmread(image))}
    assert len(values) > 200
    return {value for value in values if value in text}


def values_of(dataset: Dataset) -> Iterator[str]:
    """Walk the string values of a data set and of its sequences, and the components of its names."""
    for element in dataset.iterall():
        value: Any = element.value
        if element.VR == "SQ" or isinstance(value, bytes):
            continue
        for one in value if isinstance(value, MultiValue | list) else [value]:
            text = str(one).strip()
            yield from filter(_is_telling, {text, *(text.split("^") if element.VR == "PN" else ())})


def _is_telling(value: str) -> bool:
    is_number = re.fullmatch(r"[-+0-9.eE ]+", value) is not None
    return len(value) >= (SHORTEST_NUMBER if is_number else SHORTEST)
