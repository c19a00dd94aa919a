"""`dicom-node clean IN OUT`: the same engine on a folder tree, without a node."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from pydicom import dcmread

from tests.support.images import aborting_rle, pydicom_file, uid_of
from tests.support.node import run_command

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_TEXT, WITH_TEXT, HELD = "a/CT_small.dcm", "b/c/GREYSCALE.dcm", "b/reportsi.dcm"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree with an image without text, one with text and one that is held."""
    root = tmp_path / "in"
    sources = {WITHOUT_TEXT: "CT_small.dcm", WITH_TEXT: "examples_palette.dcm", HELD: "reportsi.dcm"}
    for place, name in sources.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(pydicom_file(name), root / place)
    return root


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(report: Path) -> dict[str, dict[str, Any]]:
    read = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    return {line["path"]: line for line in read}


def test_the_tree_keeps_its_structure_what_is_held_is_not_written_and_the_exit_code_is_2(tree: Path) -> None:
    out, report = tree.parent / "out", tree.parent / "report.jsonl"
    done = run_command(tree.parent, "clean", str(tree), str(out), "--policy", "all-text", "--report", str(report))
    assert done.returncode == 2
    assert set(files_below(out)) == {WITHOUT_TEXT, WITH_TEXT}
    assert dcmread(out / WITHOUT_TEXT).PixelData == dcmread(tree / WITHOUT_TEXT).PixelData
    assert dcmread(out / WITH_TEXT).PixelData != dcmread(tree / WITH_TEXT).PixelData
    told = f"held: {tree / HELD}: no pixel data: only a route with the policy `pass` forwards it"
    assert told in (done.stdout + done.stderr).splitlines()
    _assert_report(lines(report), tree)


def _assert_report(report: dict[str, dict[str, Any]], tree: Path) -> None:
    assert set(report) == {str(tree / place) for place in (WITHOUT_TEXT, WITH_TEXT, HELD)}
    keys = {"path", "sop_instance_uid", "outcome", "reason", "regions", "actions", "seconds"}
    assert all(set(line) == keys for line in report.values())
    assert all(line["sop_instance_uid"] == uid_of(tree / place) for place, line in _by_place(report, tree).items())
    outcomes = {place: line["outcome"] for place, line in _by_place(report, tree).items()}
    assert outcomes == {WITHOUT_TEXT: "unchanged", WITH_TEXT: "cleaned", HELD: "held"}
    regions = report[str(tree / WITH_TEXT)]["regions"]
    assert regions
    assert all(set(region) == {"left", "top", "width", "height", "frames", "source", "kind"} for region in regions)
    assert report[str(tree / HELD)]["reason"]
    assert report[str(tree / WITHOUT_TEXT)]["reason"] is None


def _by_place(report: dict[str, dict[str, Any]], tree: Path) -> dict[str, dict[str, Any]]:
    return {place: report[str(tree / place)] for place in (WITHOUT_TEXT, WITH_TEXT, HELD)}


def test_one_process_and_two_write_the_same_bytes(tree: Path) -> None:
    written = []
    for processes in ("1", "2"):
        out = tree.parent / f"out-{processes}"
        run_command(tree.parent, "clean", str(tree), str(out), "--policy", "all-text", "--processes", processes)
        written.append(files_below(out))
    assert len(written[0]) == 2
    assert written[0] == written[1]


def test_a_file_becomes_a_file_and_the_exit_code_is_0_when_nothing_is_held(tree: Path) -> None:
    out = tree.parent / "clean.dcm"
    done = run_command(tree.parent, "clean", str(tree / WITHOUT_TEXT), str(out))
    assert (done.returncode, done.stdout) == (0, "")
    assert uid_of(out) == uid_of(tree / WITHOUT_TEXT)


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [("nowhere", "out", "no such file or folder"), ("in", "in/out", "has to be outside of")],
)
def test_paths_that_cannot_be_meant_are_an_error_and_the_exit_code_is_1(
    tree: Path, source: str, target: str, said: str
) -> None:
    done = run_command(tree.parent, "clean", str(tree.parent / source), str(tree.parent / target))
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tree.parent / target).exists()


def test_a_file_that_kills_its_process_is_held_and_costs_no_other_anything(tree: Path) -> None:
    hook = tree.parent / "hook"
    deadly = aborting_rle(tree / "deadly.dcm", hook)
    out = tree.parent / "out"
    done = run_command(tree.parent, "clean", str(tree), str(out), python_path=hook)
    assert done.returncode == 2
    assert f"held: {deadly}: the process died on this file" in (done.stdout + done.stderr).splitlines()
    assert set(files_below(out)) == {WITHOUT_TEXT, WITH_TEXT}
