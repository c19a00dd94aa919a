"""What the header says afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom import Dataset

from dicom_node.redaction import Policy, redact
from dicom_node.redaction.attributes import add_lossy_compression
from dicom_node.redaction.boxes import Box
from tests.unit.redaction.made import FindsBoxes, image, reread

if TYPE_CHECKING:
    from pydicom import FileDataset

FRAME = np.random.default_rng(9).integers(0, 255, (1, 16, 16)).astype("u1")
BROKEN = (
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "OriginalAttributesSequence",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
)


def after(boxes: tuple[Box, ...]) -> FileDataset:
    dataset = image(
        FRAME, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], BurnedInAnnotation="YES", LossyImageCompression="01"
    )
    for keyword in BROKEN:
        is_sequence = keyword.endswith("Sequence")
        dataset.add_new(keyword, "SQ" if is_sequence else "US", [Dataset()] if is_sequence else 3)
    redact(dataset, Policy("all-text"), FindsBoxes(*boxes))
    return reread(dataset)


@pytest.mark.parametrize("boxes", [(), (Box(1, 1, 3, 3),)], ids=["nothing found", "painted"])
def test_burned_in_annotation_is_no_and_the_method_is_told(boxes: tuple[Box, ...]) -> None:
    dataset = after(boxes)
    assert dataset.BurnedInAnnotation == "NO"
    (code,) = dataset.DeidentificationMethodCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113101", "DCM")
    assert "dicom_node" in dataset.DeidentificationMethod
    assert "PatientIdentityRemoved" not in dataset
    assert dataset.LossyImageCompression == "01"


def test_a_painted_instance_is_derived_and_says_nothing_that_is_no_longer_so() -> None:
    dataset = after((Box(1, 1, 3, 3),))
    assert list(dataset.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert "removed" in dataset.DerivationDescription
    assert [keyword for keyword in BROKEN if keyword in dataset] == []


def test_an_instance_that_is_not_painted_keeps_what_it_says() -> None:
    dataset = after(())
    assert list(dataset.ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert "DerivationDescription" not in dataset
    assert [keyword for keyword in BROKEN if keyword in dataset] == list(BROKEN)


def test_what_is_told_once_is_not_told_twice() -> None:
    dataset = after((Box(1, 1, 3, 3),))
    redact(dataset, Policy("all-text"), FindsBoxes(Box(2, 2, 3, 3)))
    again = reread(dataset)
    assert len(again.DeidentificationMethodCodeSequence) == 1
    assert isinstance(again.DeidentificationMethod, str)
    assert again.DerivationDescription.count("removed") == 1


def test_a_planes_removal_alone_makes_an_image_derived() -> None:
    dataset = image(FRAME, ImageType=["ORIGINAL", "PRIMARY"])
    dataset.add_new(0x60003000, "OW", b"\1" * 32)
    redact(dataset, Policy("all-text"), FindsBoxes())
    assert list(reread(dataset).ImageType) == ["DERIVED", "PRIMARY"]


def test_the_frame_types_of_a_painted_multi_frame_image_are_derived() -> None:
    frame_type = Dataset()
    frame_type.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    group = Dataset()
    group.CTImageFrameTypeSequence = [frame_type]
    dataset = image(FRAME, SharedFunctionalGroupsSequence=[group])
    redact(dataset, Policy("all-text"), FindsBoxes(Box(1, 1, 3, 3)))
    (again,) = reread(dataset).SharedFunctionalGroupsSequence
    assert list(again.CTImageFrameTypeSequence[0].FrameType) == ["DERIVED", "PRIMARY", "VOLUME", "NONE"]


def test_one_more_lossy_compression_is_added_to_those_there_were() -> None:
    dataset = image(FRAME, LossyImageCompressionRatio="12.5", LossyImageCompressionMethod="ISO_10918_1")
    add_lossy_compression(dataset, "ISO_13818_1", 40.123456)
    again = reread(dataset)
    assert again.LossyImageCompression == "01"
    assert [float(ratio) for ratio in again.LossyImageCompressionRatio] == [12.5, 40.12]
    assert list(again.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_13818_1"]
