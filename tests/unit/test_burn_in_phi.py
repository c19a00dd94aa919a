from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.model import Region
from scripts.detection import engines
from scripts.detection.anatomy import PICTURES, SPLITS, pictures_of
from scripts.detection.burning import Canvas, Style
from scripts.detection.engines import Result
from scripts.detection.score import Run, painted, painted_area, table
from scripts.detection.sets import make_set
from scripts.detection.truth import Truth, Word, read_truths
from scripts.detection.writing import Font, Token, write_block

SCRIPTS = Path(__file__).parents[2] / "scripts"
IMAGES = 24


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a set made by the command line."""
    folder = tmp_path_factory.mktemp("set") / "standard"
    command = [
        sys.executable,
        str(SCRIPTS / "burn_in_phi"),
        "--images",
        str(IMAGES),
        "--seed",
        "5",
        "--out",
        str(folder),
    ]
    subprocess.run(command, check=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "hard"
    make_set(folder, "hard", 16, 5, "tune")
    return folder


def word(**changes: object) -> Word:
    values: dict[str, object] = {
        "text": "DOE", "kind": "name", "row": 10, "column": 20, "height": 10, "width": 40, "first_frame": 0,
        "last_frame": 0, "cap_height": 10, "rotation": 0, "contrast": 1.0, "font": "bitmap", "ground": "none",
    }  # fmt: skip
    return Word(**{**values, **changes})  # type: ignore[arg-type] # each is of the type its field says


def truth(*words: Word, frames: int = 1) -> Truth:
    return Truth("a.dcm", "CT", "MONOCHROME2 12", "generated", 100, 100, frames, words)


def cells(line_of: str, printed: str) -> list[str]:
    (line,) = (line for line in printed.splitlines() if line.startswith(f"| {line_of} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_image_of_a_set_decodes_and_has_its_ground_truth(standard: Path) -> None:
    truths = read_truths(standard)
    assert len(truths) == IMAGES
    for known in truths:
        pixels = dcmread(standard / known.file).pixel_array
        shape = pixels.shape[1:] if known.frames > 1 else pixels.shape
        assert shape[:2] == (known.rows, known.columns)
        assert known.frames == (len(pixels) if known.frames > 1 else 1)


def test_a_standard_set_has_many_modalities_encodings_fonts_and_kinds_of_word(standard: Path) -> None:
    truths = read_truths(standard)
    words = [word for known in truths for word in known.words]
    assert len({known.modality for known in truths}) >= 5
    assert len({known.encoding for known in truths}) >= 6
    assert len({word.font for word in words}) >= 8
    assert {"name", "id", "date", "institution", "safe"} <= {word.kind for word in words}
    assert any(known.frames > 1 for known in truths)
    assert any(not known.words for known in truths)
    assert any(word.rotation for word in words)


def test_every_word_lies_inside_its_image_and_frames(standard: Path, hard: Path) -> None:
    for known in [*read_truths(standard), *read_truths(hard)]:
        for written in known.words:
            assert written.row >= 0
            assert written.column >= 0
            assert written.row + written.height <= known.rows
            assert written.column + written.width <= known.columns
            assert 0 <= written.first_frame <= written.last_frame < known.frames


def test_hard_words_are_of_6_to_12_pixels_and_straight_over_anatomy(hard: Path) -> None:
    truths = read_truths(hard)
    words = [word for known in truths for word in known.words]
    assert {known.modality for known in truths} <= {"CT", "MR", "MG"}
    assert all(256 <= known.rows <= 1024 for known in truths)
    assert {word.ground for word in words} == {"none"}
    assert all(6 <= word.cap_height <= 12 for word in words)
    assert all(word.contrast >= 0.08 for word in words)


def test_the_same_seed_makes_the_same_set_and_another_seed_another(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        make_set(tmp_path / name, "hard", 2, seed, "tune")
    bytes_of = {
        name: [path.read_bytes() for path in sorted((tmp_path / name).iterdir())] for name in ("one", "again", "other")
    }
    assert bytes_of["one"] == bytes_of["again"]
    assert not set(bytes_of["one"]) & set(bytes_of["other"])


def test_no_two_splits_share_a_real_picture() -> None:
    modalities = {picture.modality for picture in PICTURES}
    used = Counter(
        picture.name for split in SPLITS for modality in modalities for picture in pictures_of(modality, split)
    )
    assert set(used.values()) == {1}
    assert {picture.split for picture in PICTURES} == set(SPLITS)


@pytest.mark.parametrize("rotation", [0, 90, 270, 15])
@pytest.mark.parametrize("font", ["bitmap", "hershey:simplex"])
def test_nothing_is_changed_outside_the_rectangles_of_the_words(font: str, rotation: int) -> None:
    canvas = Canvas(np.full((3, 200, 300, 1), 0.5, np.float32))
    pen = Font(font, 14)
    block = write_block([[Token("DOE^JANE", "name")], [Token("4711", "id")]], pen, rotation=rotation)
    assert canvas.burn(np.random.default_rng(1), block, pen, Style(rotation=rotation), (1, 1))
    changed = np.abs(canvas.frames - 0.5)[..., 0] > 0.2
    assert changed[1].any()
    assert not changed[0].any()
    assert not changed[2].any()
    for written in canvas.words:
        changed[1, written.row : written.row + written.height, written.column : written.column + written.width] = False
    assert not changed.any()


@pytest.mark.parametrize("height", [9, 14, 30])
def test_capitals_are_as_high_as_it_is_said(height: int) -> None:
    for name in ("hershey:simplex", "bitmap"):
        font = Font(name, height)
        rows = np.flatnonzero((font.ink("H") > 0.5).any(axis=1))
        assert abs(int(rows[-1] - rows[0] + 1) - font.cap_height) <= max(3, 0.2 * font.cap_height)


def test_a_word_counts_as_far_as_it_is_painted_in_the_frame_in_which_it_is_least() -> None:
    whole, half = Region(10, 20, 10, 40, 0, 0), Region(10, 20, 10, 20, 1, 1)
    assert painted([whole], word()) == 1.0
    assert painted([half], word()) == 0.0
    assert painted([whole, half], word(last_frame=1)) == 0.5
    assert painted([Region(0, 0, 100, 40), Region(0, 30, 100, 70)], word()) == 1.0


def test_painted_area_counts_overlaps_once_and_every_frame() -> None:
    twice = [Region(0, 0, 10, 100), Region(5, 0, 5, 100)]
    assert painted_area(twice, truth()) == pytest.approx(0.1)
    assert painted_area(twice, truth(frames=2)) == pytest.approx(0.05)


def test_the_table_says_what_was_covered_kept_painted_for_nothing_and_raised() -> None:
    truths = [
        truth(word(), word(kind="id", row=50)),
        truth(word(), word(kind="safe", row=50)),
        truth(word(kind="label")),
        truth(),
    ]
    found = (Region(10, 20, 10, 40),)
    results = [Result("a", found), Result("b", found), Result("c", (), failure="ValueError"), Result("d", found)]
    printed = table(truths, [Run("engine", Result("loading", cpu_seconds=2), results)])
    assert cells("PHI words covered: all", printed)[1:] == ["3", "66.7%"]
    assert cells("PHI words covered: id", printed)[1:] == ["1", "0.0%"]
    assert cells("images with every PHI word covered", printed)[1:] == ["2", "50.0%"]
    assert cells("safe words kept", printed)[1:] == ["1", "100.0%"]
    assert cells("false area on images without text, mean", printed)[1:] == ["1", "4.00%"]
    assert cells("images raised, held or killed", printed)[1:] == ["4", "1"]


def test_seconds_are_compared_on_images_that_every_engine_could_do() -> None:
    truths = [truth(word()), truth(word())]
    quick = [Result("a", cpu_seconds=1), Result("b", cpu_seconds=9)]
    raises = [Result("a", cpu_seconds=4), Result("b", failure="ValueError")]
    loading = Result("loading", cpu_seconds=2)
    printed = table(truths, [Run("fast", loading, quick), Run("presidio", loading, raises)])
    assert cells("CPU s an image, where none failed", printed)[1:] == ["1", "1.000", "4.000"]
    assert cells("the same, times Presidio's", printed)[1:] == ["1", "0.25", "1.00"]


def test_what_an_engine_cannot_do_counts_as_nothing_found(tmp_path: Path, hard: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"not DICOM")
    good = hard / read_truths(hard)[0].file
    loading, results = engines.measure("thorough", [broken, good], tmp_path / "results")
    assert loading.cpu_seconds > 0
    assert [result.file for result in results] == ["broken.dcm", good.name]
    assert results[0].failure == "InvalidDicomError"
    assert results[0].regions == ()
    assert results[1].failure == ""


def test_a_set_is_measured_and_printed_by_the_benchmark() -> None:
    command = [
        sys.executable,
        str(SCRIPTS / "benchmark"),
        "detection",
        "--kind",
        "hard",
        "--images",
        "2",
        "--seed",
        "3",
    ]
    done = subprocess.run(
        [*command, "--split", "tune", "--engines", "fast", "presidio"],
        check=True,
        timeout=170,
        capture_output=True,
        text=True,
    )
    assert cells("PHI words covered: all", done.stdout)[2:]
    assert cells("", done.stdout) == ["", "of", "fast", "presidio"]
