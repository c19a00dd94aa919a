"""Every real image and every made kind: cleaned, unchanged or held as the table says, and valid for others."""

from __future__ import annotations

import re
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.errors import Hold
from dicom_node.redaction import part10, redact
from dicom_node.redaction.boxes import Box
from tests.pixel_references import LARGER, MADE, REAL, ROOTS, Check, Reference
from tests.support.jpeg_blocks import assert_only_painted_blocks_are_others, mask_of, widened
from tests.support.orthanc import Orthanc
from tests.support.pixels import codestreams_of, containers_of, frames_in, used_bits_of
from tests.support.validators import errors_of, is_file
from tests.unit.redaction.made import FindsBoxes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import FileDataset
    from pydicom.uid import UID

    from dicom_node.model import Redaction

SMALL = 20_000
"""Bytes up to which every coefficient of a codestream is looked at, by a reader that is slow."""

VIDEO_NOISE = 12
"""Mean difference, of 255, that encoding a video again may bring."""

VIEWS = {"raw", "preview"}
"""A frame as it is stored, and as Orthanc displays it; without a plug-in, it does not decode JPEG 2000 and video."""

each_reference = pytest.mark.parametrize("reference", [*REAL, *MADE], ids=lambda reference: reference.name)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    program = Orthanc(tmp_path_factory.mktemp("orthanc") / "orthanc")
    try:
        program.wait_until_it_listens()
        yield program
    finally:
        program.end()


def test_every_image_of_the_packages_is_in_the_table_once() -> None:
    told = [reference.name for reference in REAL] + sorted(LARGER)
    found = {
        f"{package}/{path.relative_to(root)}"
        for package, root in ROOTS.items()
        for path in root.rglob("*")
        if path.is_file() and has_pixels(path)
    }
    assert len(told) == len(set(told))
    assert found - set(told) == set()


def has_pixels(path: Path) -> bool:
    try:
        return "Rows" in dcmread(path, force=True, stop_before_pixels=True) or "PixelData" in dcmread(path, force=True)
    except Exception:  # noqa: BLE001 - beside images, the packages have texts and archives: read by force, they raise
        return False


@each_reference
def test_where_nothing_is_found_it_leaves_as_the_table_says(
    reference: Reference, orthanc: Orthanc, tmp_path: Path
) -> None:
    source, result = source_of(reference, tmp_path), tmp_path / "result.dcm"
    if is_held(reference, reference.outcome, source, FindsBoxes()):
        return
    redaction = cleaned(reference, source, result, FindsBoxes())
    assert (redaction.outcome, redaction.actions, redaction.regions) == (reference.outcome, reference.actions, ())
    before, after = dcmread(source), dcmread(result)
    if reference.outcome == "unchanged":
        assert after["PixelData"].value == before["PixelData"].value
    elif reference.check is not Check.NOTHING:
        assert_same_outside(before, after, redaction, np.zeros((before.Rows, before.Columns), bool))
    assert_keeps_its_frames_and_syntax(before, after, before.file_meta.TransferSyntaxUID)
    assert_valid(reference, source, result, orthanc)


@each_reference
def test_where_text_is_found_it_is_painted_and_all_else_stays(
    reference: Reference, orthanc: Orthanc, tmp_path: Path
) -> None:
    source, result = source_of(reference, tmp_path), tmp_path / "result.dcm"
    before = dcmread(source, force=True)
    box = box_in(before)
    if is_held(reference, reference.painted, source, FindsBoxes(box)):
        return
    redaction = cleaned(reference, source, result, FindsBoxes(box))
    after = dcmread(result)
    assert redaction.outcome == "cleaned"
    assert set(reference.actions) <= set(redaction.actions)
    if reference.check is not Check.NOTHING:
        assert_painted(reference, before, after, redaction, box)
    assert_keeps_its_frames_and_syntax(before, after, reference.syntax_out or before.file_meta.TransferSyntaxUID)
    assert_valid(reference, source, result, orthanc)


def source_of(reference: Reference, folder: Path) -> Path:
    if reference.make is None:
        return reference.path
    path = folder / "source.dcm"
    reference.make().save_as(path)
    return path


def cleaned(reference: Reference, source: Path, result: Path, detector: FindsBoxes) -> Redaction:
    """Do what the node does with an instance."""
    dataset = part10.read(source)
    redaction = redact(dataset, reference.policy, detector)
    with result.open("wb") as file:
        part10.write(dataset, file)
    return redaction


def is_held(reference: Reference, outcome: str, source: Path, detector: FindsBoxes) -> bool:
    """Whether it is to be held; then it is, for the reason of the table."""
    if outcome == "held":
        with pytest.raises(Hold, match=reference.reason):
            redact(part10.read(source), reference.policy, detector)
    return outcome == "held"


def box_in(dataset: FileDataset) -> Box:
    """Return a box away from the borders, of whatever image."""
    rows, columns = dataset.get("Rows", 0), dataset.get("Columns", 0)
    return Box(rows // 3, columns // 3, max(1, rows // 4), max(1, columns // 3))


def assert_painted(
    reference: Reference, before: FileDataset, after: FileDataset, redaction: Redaction, box: Box
) -> None:
    """Assert one region, grown to whole grains, in all frames; it is flat, and what is around it is what it was."""
    region = grown(box, reference.grain, before)
    painted = [found for found in redaction.regions if found.source == "text"]
    assert {(p.row, p.column, p.height, p.width) for p in painted} == {region}
    assert {i for p in painted for i in range(p.first_frame, p.last_frame + 1)} == {*range(frames_in(before))}
    mask = mask_of([region], (before.Rows, before.Columns))
    if reference.check is Check.EXACT:
        inside = containers_of(after)[:, mask]
        assert all(len(np.unique(frame, axis=0)) == 1 for frame in inside)
        assert_same_outside(before, after, redaction, mask)
    elif reference.check is Check.BLOCKS:
        assert_same_blocks(before, after, region)
    else:
        difference = np.abs(containers_of(after).astype(int) - containers_of(before).astype(int))
        assert difference[:, ~widened(mask)].mean() < VIDEO_NOISE
        assert containers_of(after)[:, ~widened(~mask)].mean() < VIDEO_NOISE


def grown(box: Box, grain: tuple[int, int], dataset: FileDataset) -> tuple[int, int, int, int]:
    rows, columns = grain
    top, left = box.row // rows * rows, box.column // columns * columns
    bottom = min(ceil((box.row + box.height) / rows) * rows, dataset.Rows)
    right = min(ceil((box.column + box.width) / columns) * columns, dataset.Columns)
    return top, left, bottom - top, right - left


def assert_same_outside(
    before: FileDataset, after: FileDataset, redaction: Redaction, painted: NDArray[np.bool_]
) -> None:
    was, now = containers_of(before), containers_of(after)
    if "unused bits cleared" in redaction.actions:
        was, now = used_bits_of(before, was), used_bits_of(after, now)
    np.testing.assert_array_equal(now[:, ~painted], was[:, ~painted])


def assert_same_blocks(before: FileDataset, after: FileDataset, region: tuple[int, int, int, int]) -> None:
    """Compare pixels, but for the seam where chrominance is interpolated, and coefficients, where they are few."""
    mask = mask_of([region], (before.Rows, before.Columns))
    was, now = containers_of(before), containers_of(after)
    np.testing.assert_array_equal(now[:, ~widened(mask)], was[:, ~widened(mask)])
    assert all(len(np.unique(frame, axis=0)) == 1 for frame in now[:, ~widened(~mask)])
    codestreams = zip(codestreams_of(before)[:2], codestreams_of(after)[:2], strict=True)
    for source, result in codestreams:
        if len(source) <= SMALL:
            assert_only_painted_blocks_are_others(source, result, [region])


def assert_keeps_its_frames_and_syntax(before: FileDataset, after: FileDataset, syntax: UID) -> None:
    assert after.file_meta.TransferSyntaxUID == syntax
    assert after.get("NumberOfFrames") == before.get("NumberOfFrames")
    assert after.get("LossyImageCompression") == before.get("LossyImageCompression")
    assert after.SOPInstanceUID == before.SOPInstanceUID


def assert_valid(reference: Reference, source: Path, result: Path, orthanc: Orthanc) -> None:
    """Assert: what was hidden is gone, dcmtk and dicom3tools find nothing new, Orthanc shows what it showed before."""
    assert not reference.gone or reference.gone not in result.read_bytes()
    assert is_file(result)
    new = errors_of(result) - errors_of(source)
    assert [error for error in new if not (reference.errors and re.search(reference.errors, error))] == []
    last = frames_in(dcmread(result, stop_before_pixels=True)) - 1
    missing = VIEWS - shown(orthanc, result, last)
    assert not missing or missing.isdisjoint(shown(orthanc, source, last))


def shown(orthanc: Orthanc, file: Path, frame: int) -> set[str]:
    """Ask Orthanc, which has to take the file, for every view of a frame."""
    identifier = orthanc.store(file)
    views = {view for view in VIEWS if can_show(orthanc, f"/instances/{identifier}/frames/{frame}/{view}")}
    orthanc.forget(identifier)
    return views


def can_show(orthanc: Orthanc, path: str) -> bool:
    try:
        return bool(orthanc.get(path))
    except OSError:
        return False
