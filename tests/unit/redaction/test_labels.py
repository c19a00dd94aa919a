"""What stands beside a label goes with it, whatever it reads as."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dicom_node.redaction import Policy, redact
from dicom_node.redaction.boxes import Box
from dicom_node.redaction.labels import _kinds, is_label, label_in, values_beside
from dicom_node.redaction.reading import Reading
from dicom_node.redaction.safe_text import is_safe
from tests.unit.redaction.made import FindsBoxes, image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LABEL = Box(10, 10, 10, 40)
RIGHT = Box(11, 60, 10, 30)
FURTHER = Box(10, 95, 10, 30)
BELOW = Box(22, 11, 10, 30)
FAR = Box(10, 300, 10, 30)
ELSEWHERE = Box(60, 60, 10, 30)


class Reads(FindsBoxes):
    """Reads each box as it is told."""

    def __init__(self, texts: dict[Box, str]) -> None:
        super().__init__(*texts)
        self._texts = texts

    def read(self, _pictures: Sequence[NDArray[np.uint8]], box: Box) -> Reading:
        return Reading(self._texts[box], 0.99)


def beside(text: str) -> set[Box]:
    boxes = [LABEL, RIGHT, FURTHER, BELOW, FAR, ELSEWHERE]
    return set(values_beside(boxes, [text, *[""] * 5]))


@pytest.mark.parametrize(
    ("text", "kind"),
    [("Name:", "name"), ("Patient", "name"), ("DOB", "date"), ("D.O.B.", "date"), ("Pat ID", "id"), ("PatID:", "id"),
     ("MRN#", "id"), ("Acc#", "id"), ("Ref. Phys", "physician"), ("Inst", "institution"), ("Nom :", "name"),
     ("Geb.", "date"), ("Fecha nac.", "date"), ("Prénom", "name"), ("Né(e) le", "date"), ("Tel.", "phone"),
     ("Age", "age")],
)  # fmt: skip
def test_labels_are_known_with_and_without_their_signs(text: str, kind: str) -> None:
    assert label_in(text) == kind
    assert is_label(text)


@pytest.mark.parametrize(
    "text", ["", "L", "Axial", "kV 120", "IDEAL", "Patella", "Named", "DRIVE", "Aged", "DR 60", "Ref mAs 210"]
)
def test_other_text_is_no_label(text: str) -> None:
    assert label_in(text) == ""
    assert not is_label(text)


@pytest.mark.parametrize("label", _kinds())
def test_a_label_of_several_words_is_one_with_any_signs_between_them(label: str) -> None:
    for sign in ("", " ", ".", "-"):
        said = label.replace(" ", sign)
        assert is_safe(said) or label_in(said) == _kinds()[label]


def test_what_stands_right_of_a_label_or_below_it_is_its_value() -> None:
    assert beside("Name:") == {RIGHT, FURTHER, BELOW}


def test_a_label_with_its_value_takes_only_the_rest_of_that_line() -> None:
    assert not is_label("Name: DOE")
    assert beside("Name: DOE") == {RIGHT, FURTHER}


def test_text_without_a_label_has_no_values() -> None:
    assert beside("kV 120") == set()


@pytest.mark.parametrize("policy", ["keep-safe-text", "phi-only"])
def test_a_value_that_reads_as_safe_text_goes_with_its_label(policy: str) -> None:
    texts = {LABEL: "Pat ID:", RIGHT: "W 77", ELSEWHERE: "W 400 L 40"}
    (label, value) = redact(image(np.zeros((1, 80, 120), "u1")), Policy(policy), Reads(texts)).regions
    assert (label.row, label.column, label.kind) == (10, 10, "label")
    assert (value.row, value.column, value.kind) == (11, 60, "id")


def test_a_label_that_is_read_badly_is_no_label() -> None:
    class Doubtful(Reads):
        def read(self, pictures: Sequence[NDArray[np.uint8]], box: Box) -> Reading:
            return super().read(pictures, box)._replace(confidence=0.5 if box == LABEL else 0.99)

    texts = {LABEL: "Pat ID:", RIGHT: "W 77"}
    (region,) = redact(image(np.zeros((1, 80, 120), "u1")), Policy("keep-safe-text"), Doubtful(texts)).regions
    assert (region.row, region.kind) == (10, "")


@pytest.mark.parametrize(
    ("texts", "goes"),
    [
        (("FOV", "350"), False),
        (("kV", "120"), False),
        (("DOE", "350"), True),
        (("FOV", "4711-0815"), True),
    ],
)
def test_technique_in_two_boxes_is_spared_as_one_and_nothing_else_is(texts: tuple[str, str], goes: bool) -> None:  # noqa: FBT001 - a parameter
    """A number alone could be anything; beside its name it is technique."""
    near = Box(10, 55, 10, 30)
    dataset = image(np.random.default_rng(3).integers(0, 9, (1, 80, 360)).astype("u1"))
    regions = redact(dataset, Policy("keep-safe-text"), Reads(dict(zip((LABEL, near), texts, strict=True)))).regions
    assert (near in {Box(r.row, r.column, r.height, r.width) for r in regions}) == goes


def test_a_value_of_the_header_is_not_spared_beside_technique() -> None:
    near = Box(10, 55, 10, 30)
    dataset = image(np.random.default_rng(3).integers(0, 9, (1, 80, 360)).astype("u1"), PatientID="350")
    regions = redact(dataset, Policy("keep-safe-text"), Reads({LABEL: "FOV", near: "350"})).regions
    assert {(r.row, r.column) for r in regions} >= {(near.row, near.column)}
