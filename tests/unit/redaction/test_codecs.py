"""Codestreams: what hides in them is held, what is changed survives."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, HTJ2KLossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from dicom_node.errors import Hold
from dicom_node.redaction import codecs
from dicom_node.redaction.format import pixel_format
from tests.unit.redaction.made import image

CODECS = (RLELossless, JPEGLSLossless, JPEGLosslessSV1, JPEG2000Lossless, HTJ2KLossless)
JPEGS = CODECS[1:]
FRAME = np.random.default_rng(7).integers(0, 4096, (1, 20, 24)).astype("u2")


def codestream(dataset: object) -> bytes:
    return next(generate_frames(dataset.PixelData, number_of_frames=1))  # type: ignore[attr-defined]  # a Dataset


@pytest.mark.parametrize("syntax", CODECS, ids=lambda uid: uid.name)
def test_a_second_picture_behind_the_first_is_held(syntax: str) -> None:
    """Decoders stop at the end of the first and tell nobody."""
    dataset = image(FRAME, syntax=syntax, stored=12)
    first = codestream(dataset)
    with pytest.raises(Hold):
        codecs.decode(first + first, pixel_format(dataset))


@pytest.mark.parametrize("syntax", CODECS, ids=lambda uid: uid.name)
def test_a_codestream_that_is_cut_off_is_held(syntax: str) -> None:
    dataset = image(FRAME, syntax=syntax, stored=12)
    with pytest.raises(Hold):
        codecs.decode(codestream(dataset)[:-40], pixel_format(dataset))


@pytest.mark.parametrize("syntax", JPEGS, ids=lambda uid: uid.name)
@pytest.mark.parametrize("padding", [b"\0", b"\xff", b"\0\0\0\0"])
def test_padding_behind_a_codestream_is_nothing(syntax: str, padding: bytes) -> None:
    dataset = image(FRAME, syntax=syntax, stored=12)
    decoded = codecs.decode(codestream(dataset).rstrip(b"\0") + padding, pixel_format(dataset))
    assert np.array_equal(decoded, FRAME[0])


@pytest.mark.parametrize("syntax", CODECS, ids=lambda uid: uid.name)
@pytest.mark.parametrize(("keyword", "value"), [("Rows", 10), ("Columns", 48), ("BitsAllocated", 8)])
def test_a_codestream_of_another_size_or_depth_is_held(syntax: str, keyword: str, value: int) -> None:
    dataset = image(FRAME, syntax=syntax, stored=12)
    content = codestream(dataset)
    setattr(dataset, keyword, value)
    dataset.BitsStored, dataset.HighBit = min(12, dataset.BitsAllocated), min(12, dataset.BitsAllocated) - 1
    with pytest.raises(Hold):
        codecs.decode(content, pixel_format(dataset))


@pytest.mark.parametrize("syntax", JPEGS, ids=lambda uid: uid.name)
def test_a_codestream_with_fewer_bits_than_are_said_to_be_stored_is_held(syntax: str) -> None:
    dataset = image(FRAME.astype("u1"), syntax=syntax)
    content = codestream(dataset)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    with pytest.raises(Hold):
        codecs.decode(content, pixel_format(dataset))


@pytest.mark.parametrize("syntax", CODECS, ids=lambda uid: uid.name)
def test_noise_is_held(syntax: str) -> None:
    dataset = image(FRAME, syntax=syntax, stored=12)
    with pytest.raises(Hold):
        codecs.decode(np.random.default_rng(3).bytes(500), pixel_format(dataset))


def test_an_unknown_transfer_syntax_is_held() -> None:
    dataset = image(FRAME)
    dataset.file_meta.TransferSyntaxUID = UID("1.2.3.4")
    dataset.PixelData = encapsulate([b"\0\0\1\xb3"])
    with pytest.raises(Hold, match="no decoder"):
        codecs.decode(b"\0\0\1\xb3", pixel_format(dataset))


@pytest.mark.parametrize("syntax", CODECS, ids=lambda uid: uid.name)
def test_an_encoded_frame_keeps_the_precision_of_its_source(syntax: str) -> None:
    dataset = image(FRAME, syntax=syntax, stored=12)
    source, pixels = codestream(dataset), pixel_format(dataset)
    changed = FRAME[0].copy()
    changed[:5] = 0
    again = codecs.encode(changed, source, pixels)
    assert np.array_equal(codecs.decode(again, pixels), changed)
