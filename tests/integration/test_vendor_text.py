"""The real detector on the real pictures of the packages: what a person reads there is painted in every frame."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.errors import Hold
from dicom_node.redaction import PaddleDetector, Policy, redact
from dicom_node.redaction.frames import open_frames, stored_values
from tests.pixel_references import LARGER, REAL
from tests.support.images import vendor_file
from tests.support.pixels import frames_in
from tests.support.vendor_text import SAME_PICTURE, TEXTS, WITHOUT_PICTURE, WITHOUT_TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dicom_node.redaction import TextDetector
    from dicom_node.redaction.boxes import Box
    from dicom_node.redaction.reading import Reading
    from dicom_node.redaction.render import Picture
    from tests.support.vendor_text import Text

_Found = TypeVar("_Found")

COVERED = 0.9
"""Share of a text's rectangle that has to be painted."""

MOST_PAINTED = 0.2

HELD = {"GDCMJ2K_TextGBR"}
"""Its codestream carries other data beside the picture."""

CLEANED = [name for name in TEXTS if name not in HELD]
WITH_IDENTITY = [name for name in CLEANED if any(text.is_identity for text in TEXTS[name])]


class Remembers:
    """The real detector, which is asked once for what each policy wants to know of the same picture."""

    def __init__(self, detector: TextDetector) -> None:
        self.name = detector.name
        self._detector = detector
        self._found: dict[bytes, object] = {}

    def find(self, pictures: Sequence[Picture], *, moving: bool = False) -> list[Box]:
        return self._once(lambda: self._detector.find(pictures, moving=moving), "find", pictures, moving)

    def glimpse(self, picture: Picture, known: Sequence[Box]) -> list[Box]:
        return self._once(lambda: self._detector.glimpse(picture, known), "glimpse", [picture], known)

    def read(self, pictures: Sequence[Picture], box: Box) -> Reading:
        return self._once(lambda: self._detector.read(pictures, box), "read", pictures, box)

    def _once(self, ask: Callable[[], _Found], what: str, pictures: Sequence[Picture], more: object) -> _Found:
        asked = hashlib.sha256(repr((what, more, [picture.shape for picture in pictures])).encode())
        for picture in pictures:
            asked.update(picture.tobytes())
        if asked.digest() not in self._found:
            self._found[asked.digest()] = ask()
        return self._found[asked.digest()]  # type: ignore[return-value]  # what was asked tells what was found


@pytest.fixture(scope="module")
def detector() -> TextDetector:
    return Remembers(PaddleDetector())


@pytest.mark.parametrize("name", CLEANED)
def test_all_text_covers_every_text_that_a_person_reads(name: str, detector: TextDetector, tmp_path: Path) -> None:
    painted = painted_in(vendor_file(name, tmp_path), "all-text", detector)
    assert uncovered(TEXTS[name], painted) == {}
    assert painted.mean() < MOST_PAINTED


@pytest.mark.parametrize("name", WITH_IDENTITY)
def test_keep_safe_text_covers_all_identity_that_a_person_reads(
    name: str, detector: TextDetector, tmp_path: Path
) -> None:
    painted = painted_in(vendor_file(name, tmp_path), "keep-safe-text", detector)
    assert uncovered((text for text in TEXTS[name] if text.is_identity), painted) == {}


@pytest.mark.parametrize("name", sorted(HELD))
def test_text_in_a_picture_that_cannot_be_cleaned_is_held(name: str, detector: TextDetector, tmp_path: Path) -> None:
    with pytest.raises(Hold, match="a second time"):
        redact(dcmread(vendor_file(name, tmp_path)), Policy("all-text"), detector)


@pytest.mark.parametrize("name", ["CT_small", "MR_small"])
def test_anatomy_is_no_text(name: str, detector: TextDetector, tmp_path: Path) -> None:
    assert not painted_in(vendor_file(name, tmp_path), "all-text", detector).any()


@pytest.mark.parametrize(
    ("name", "other"), [(name, other) for name, others in SAME_PICTURE.items() for other in others]
)
def test_the_same_text_stands_in_the_other_encodings_of_a_picture(name: str, other: str, tmp_path: Path) -> None:
    one, another = (brightness_in(vendor_file(each, tmp_path)) for each in (name, other))
    differences = {text: float(np.abs(one[text.place] - another[text.place]).mean()) for text in TEXTS[name]}
    assert {text: difference for text, difference in differences.items() if difference > 0.05} == {}


def test_every_image_of_the_packages_was_looked_at() -> None:
    names = (PurePosixPath(name).with_suffix("") for name in (*(reference.name for reference in REAL), *LARGER))
    others = (other for same in SAME_PICTURE.values() for other in same)
    told = (*TEXTS, *others, *WITHOUT_TEXT, *WITHOUT_PICTURE)
    counts = {str(name): sum(name.match(pattern) for pattern in told) for name in names}
    assert {name: count for name, count in counts.items() if count != 1} == {}


def painted_in(path: Path, policy: str, detector: TextDetector) -> NDArray[np.bool_]:
    """Redact a file and return what was painted: shape (frames, rows, columns)."""
    dataset = dcmread(path)
    painted = np.zeros((frames_in(dataset), dataset.Rows, dataset.Columns), bool)
    for region in redact(dataset, Policy(policy), detector).regions:
        rows = slice(region.row, region.row + region.height)
        painted[region.first_frame : region.last_frame + 1, rows, region.column : region.column + region.width] = True
    return painted


def uncovered(texts: Iterable[Text], painted: NDArray[np.bool_]) -> dict[Text, float]:
    """Return the texts that are not covered in some frame, and how much of them is in the worst."""
    shares = {text: float(painted[:, *text.place].mean(axis=(1, 2)).min()) for text in texts}
    return {text: share for text, share in shares.items() if share < COVERED}


def brightness_in(path: Path) -> NDArray[np.float64]:
    """Decode the first frame, as shares of its range."""
    frames = open_frames(dcmread(path))
    values = stored_values(frames.read(0), frames.pixels).astype(float)
    return np.asarray((values - values.min()) / (values.max() - values.min()))
