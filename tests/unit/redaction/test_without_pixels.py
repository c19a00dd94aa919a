"""Documents and presentation states: held, or emptied where a route says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import (
    ColorSoftcopyPresentationStateStorage,
    EncapsulatedCDAStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
)

from dicom_node.errors import Hold
from dicom_node.model import Outcome
from dicom_node.redaction import Policy, redact
from tests.unit.redaction.made import FindsBoxes, image, reread

if TYPE_CHECKING:
    from pydicom import FileDataset

REMOVING = Policy("all-text", documents="remove", annotations="remove")
PIXELS = ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "NumberOfFrames")


def instance(sop_class: str, *, pixels: bool = False, **attributes: Any) -> FileDataset:  # noqa: ANN401 - of any VR
    dataset = image(np.full((1, 8, 8), 7, "u1"), SOPClassUID=sop_class, **attributes)
    for keyword in () if pixels else PIXELS:
        delattr(dataset, keyword)
    return reread(dataset)


def document(**more: Any) -> FileDataset:  # noqa: ANN401 - of any VR
    content = b"%PDF-1.7 DOE JANE"
    more = {"EncapsulatedDocument": content + b"\0", "EncapsulatedDocumentLength": len(content), **more}
    return instance(EncapsulatedPDFStorage, BurnedInAnnotation="YES", **more)


def annotation() -> Dataset:
    text = Dataset()
    text.UnformattedTextValue = "DOE JANE"
    item = Dataset()
    item.TextObjectSequence, item.GraphicLayer = [text], "DOE JANE"
    return item


def state(sop_class: str = GrayscaleSoftcopyPresentationStateStorage, **more: Any) -> FileDataset:  # noqa: ANN401
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerDescription = "DOE JANE", "DOE JANE"
    return instance(
        sop_class,
        PresentationLUTShape="IDENTITY",
        GraphicAnnotationSequence=[annotation()],
        GraphicLayerSequence=[layer],
        **more,
    )


def content_of(dataset: FileDataset) -> str:
    return str(reread(dataset))


def test_a_document_is_replaced_by_an_empty_one_of_the_same_kind() -> None:
    dataset = document()
    redaction = redact(dataset, REMOVING, FindsBoxes())
    assert (redaction.outcome, redaction.actions) == (Outcome.CLEANED, ("document replaced by an empty page",))
    again = reread(dataset)
    assert again.EncapsulatedDocument.startswith(b"%PDF-1.4")
    assert again.EncapsulatedDocument[: again.EncapsulatedDocumentLength].rstrip().endswith(b"%%EOF")
    assert b"DOE" not in again.EncapsulatedDocument
    assert again.BurnedInAnnotation == "NO"
    assert "ImageType" not in again, "a document is no image"


@pytest.mark.parametrize(
    "sop_class", [GrayscaleSoftcopyPresentationStateStorage, ColorSoftcopyPresentationStateStorage]
)
def test_annotations_go_from_a_presentation_state_and_its_presentation_stays(sop_class: str) -> None:
    dataset = state(sop_class)
    redaction = redact(dataset, REMOVING, FindsBoxes())
    assert (redaction.outcome, redaction.actions) == (Outcome.CLEANED, ("graphic annotations removed",))
    assert reread(dataset).PresentationLUTShape == "IDENTITY"
    assert "DOE" not in content_of(dataset)


def test_planes_beside_go_from_a_presentation_state_and_from_a_document() -> None:
    for dataset in (state(), document()):
        dataset.add_new(0x60003000, "OW", b"\1" * 32)
        dataset.add_new(0x00880200, "SQ", [Dataset()])
        actions = redact(dataset, REMOVING, FindsBoxes()).actions
        assert actions[1:] == ("icon removed", "overlay removed")
        assert 0x60003000 not in reread(dataset)
        assert 0x00880200 not in reread(dataset)


@pytest.mark.parametrize("policy", [Policy("all-text"), Policy("all-text", annotations="remove")])
def test_a_document_is_held_unless_the_route_says_otherwise(policy: Policy) -> None:
    with pytest.raises(Hold):
        redact(document(), policy, FindsBoxes())


@pytest.mark.parametrize("policy", [Policy("all-text"), Policy("all-text", documents="remove")])
def test_a_presentation_state_is_held_unless_the_route_says_otherwise(policy: Policy) -> None:
    with pytest.raises(Hold):
        redact(state(), policy, FindsBoxes())


def test_a_document_of_another_kind_is_held() -> None:
    with pytest.raises(Hold, match="no redactor"):
        redact(instance(EncapsulatedCDAStorage, EncapsulatedDocument=b"<a/>"), REMOVING, FindsBoxes())


@pytest.mark.parametrize("sop_class", [EncapsulatedPDFStorage, GrayscaleSoftcopyPresentationStateStorage])
def test_pixels_that_hide_behind_a_sop_class_without_any_are_held(sop_class: str) -> None:
    with pytest.raises(Hold, match="of a kind that has none"):
        redact(instance(sop_class, pixels=True), REMOVING, FindsBoxes())


def test_float_pixels_that_hide_behind_a_document_are_held() -> None:
    with pytest.raises(Hold, match="of a kind that has none"):
        redact(document(FloatPixelData=b"\0" * 16), REMOVING, FindsBoxes())


def test_a_document_in_a_presentation_state_or_in_an_item_is_held() -> None:
    item = Dataset()
    item.EncapsulatedDocument = b"%PDF"
    for dataset in (state(EncapsulatedDocument=b"%PDF"), document(ReferencedImageSequence=[item])):
        with pytest.raises(Hold, match="an encapsulated document"):
            redact(dataset, REMOVING, FindsBoxes())
