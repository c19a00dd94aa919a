"""Made instances of the kinds of which the public packages have none; hidden words are :data:`WORDS`."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from typing import TYPE_CHECKING, Any

import av
import cv2
import imagecodecs
import numpy as np
from pydicom import Dataset, FileDataset, dcmread
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG4HP41,
    UID,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    ParametricMapStorage,
    UltrasoundMultiFrameImageStorage,
    VLWholeSlideMicroscopyImageStorage,
    generate_uid,
)

from tests.support.images import pydicom_file
from tests.unit.redaction.made import encoded, image

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORDS = b"DOE^JANE"
SHAPE = (2, 24, 36)
"""Frames, rows, columns."""


def noise(bits: int, *samples: int, shape: tuple[int, ...] = SHAPE) -> NDArray[Any]:
    """Return frames in which no two places are alike."""
    values = np.random.default_rng(5).integers(0, 1 << bits, (*shape, *samples))
    return values.astype("u1" if bits <= 8 else "u2" if bits <= 16 else "u4")


def smooth(*samples: int) -> NDArray[Any]:
    """Return frames of 8 bits that lossy codecs are made for."""
    frames = noise(8, *samples, shape=(2, 48, 64))
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in frames])


def with_identity(name: str) -> FileDataset:
    """Give one of pydicom's files the UIDs that it lacks."""
    dataset = dcmread(pydicom_file(name))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    return dataset


def segmented_palette() -> FileDataset:
    """PALETTE COLOR with segments: one discrete value, then a line to the brightest (PS3.3 C.7.9.2)."""
    dataset = image(noise(8), photometric="PALETTE COLOR")
    segments = np.array([0, 1, 0, 1, 255, 0xFFFF], "<u2").tobytes()
    for colour in ("Red", "Green", "Blue"):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        setattr(dataset, f"Segmented{colour}PaletteColorLookupTableData", segments)
    return dataset


def with_float_pixels() -> FileDataset:
    """Make a parametric map: Float Pixel Data instead of Pixel Data."""
    dataset = image(noise(8), SOPClassUID=ParametricMapStorage)
    del dataset.PixelData
    dataset.BitsAllocated = 32
    dataset.FloatPixelData = np.ones(SHAPE, "<f4").tobytes()
    return dataset


def with_overlay(content: bytes, **attributes: Any) -> FileDataset:  # noqa: ANN401 - of any VR
    """Make an image with an overlay plane of two frames."""
    dataset = image(noise(8), **attributes)
    for element, vr, value in (
        (0x0010, "US", SHAPE[1]),
        (0x0011, "US", SHAPE[2]),
        (0x0015, "IS", SHAPE[0]),
        (0x0022, "LO", WORDS.decode()),
        (0x0040, "CS", "G"),
        (0x0050, "SS", [1, 1]),
        (0x0051, "US", 1),
        (0x0100, "US", 1),
        (0x0102, "US", 0),
        (0x3000, "OW", content),
    ):
        dataset.add_new((0x6002, element), vr, value)
    return dataset


def with_high_bit_overlay() -> FileDataset:
    """Make an image with a retired overlay in bit 15 of its pixels."""
    frames = noise(12)
    frames[:, 4:9, 6:30] |= 0x8000
    dataset = image(frames, stored=12)
    for element, vr, value in ((0x0010, "US", 24), (0x0011, "US", 36), (0x0100, "US", 16), (0x0102, "US", 15)):
        dataset.add_new((0x6000, element), vr, value)
    return dataset


def with_icon() -> FileDataset:
    """Make an image with a small copy of itself."""
    icon = image(noise(8, shape=(1, 8, 8)))
    icon.PixelData = WORDS * 8
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "NumberOfFrames"):
        delattr(icon, keyword)
    return image(noise(8), IconImageSequence=Sequence([icon]))


def with_private_pixels() -> FileDataset:
    """Make an image with a second one in private elements: as bytes, and as an item."""
    dataset = image(noise(8))
    block = dataset.private_block(0x0029, "A VENDOR", create=True)
    block.add_new(0x10, "OB", WORDS * 1024)
    item = Dataset()
    item.PixelData = WORDS
    item["PixelData"].VR = "OB"
    block.add_new(0x11, "SQ", [item])
    return dataset


def with_nested_pixels() -> FileDataset:
    """Make an image with pixel data in an item of a standard sequence."""
    item = Dataset()
    item.PixelData = WORDS
    item["PixelData"].VR = "OB"
    return image(noise(8), SourceImageSequence=Sequence([item]))


def with_curve() -> FileDataset:
    """Make an image with retired Curve Data."""
    dataset = image(noise(8))
    dataset.add_new((0x5000, 0x3000), "OW", WORDS)
    return dataset


def with_frames_said(number: int, syntax: str) -> FileDataset:
    """Make an image of two frames with another Number of Frames."""
    dataset = image(noise(8), syntax=syntax)
    dataset.NumberOfFrames = number
    return dataset


def with_bytes_behind(content: bytes) -> FileDataset:
    """Make a native image with more behind its last frame."""
    dataset = image(noise(8))
    dataset.PixelData += content
    return dataset


def in_several_fragments() -> FileDataset:
    """Make a compressed image with a Basic Offset Table and three fragments a frame."""
    dataset = image(noise(8), syntax=JPEGLSLossless)
    dataset.PixelData = encapsulate([encoded(frame, dataset) for frame in noise(8)], fragments_per_frame=3)
    return dataset


def with_extended_offsets() -> FileDataset:
    """Make a compressed image with an Extended Offset Table."""
    dataset = image(noise(8), syntax=JPEGLSLossless)
    codestreams = [encoded(frame, dataset) for frame in noise(8)]
    dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(
        [codestream + b"\0" * (len(codestream) % 2) for codestream in codestreams]
    )
    return dataset


def with_thumbnail() -> FileDataset:
    """Make a baseline JPEG image with EXIF data, in which a small copy of it can stand."""
    frames = smooth()
    exif = b"Exif\0\0" + WORDS
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif
    plain = [bytes(imagecodecs.jpeg8_encode(frame, level=90)) for frame in frames]
    return in_syntax(JPEGBaseline8Bit, [coded[:2] + segment + coded[2:] for coded in plain], frames)


def colour_jpeg(**attributes: Any) -> FileDataset:  # noqa: ANN401 - of any VR
    """Make a colour image of baseline JPEG with subsampled chrominance."""
    frames = smooth(3)
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    coded = [bytes(cv2.imencode(".jpg", frame[..., ::-1], sampling)[1]) for frame in frames]
    dataset = image(
        frames, syntax=JPEGBaseline8Bit, photometric="YBR_FULL_422", LossyImageCompression="01", **attributes
    )
    dataset.PixelData = encapsulate(coded)
    return dataset


def slide_label() -> FileDataset:
    """Make the photograph of a slide's label (PS3.3 C.8.12.4)."""
    return colour_jpeg(
        SOPClassUID=VLWholeSlideMicroscopyImageStorage,
        Modality="SM",
        ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"],
        BurnedInAnnotation="YES",
        SpecimenLabelInImage="YES",
    )


def video() -> FileDataset:
    """Make an H.264 stream of twelve frames."""
    pictures, target = np.repeat(smooth(3), 6, axis=0), BytesIO()
    with av.open(target, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=Fraction(25), options={"profile": "high", "level": "4.1"})
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in pictures:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    dataset = image(
        pictures[:, :, :, 0], SOPClassUID=UltrasoundMultiFrameImageStorage, LossyImageCompression="01", CineRate=25
    )
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = "YBR_PARTIAL_420"
    dataset.file_meta.TransferSyntaxUID = MPEG4HP41
    dataset.PixelData = encapsulate([target.getvalue()], has_bot=False)
    dataset["PixelData"].VR = "OB"
    return dataset


def without_pixels(sop_class_uid: str, **attributes: Any) -> FileDataset:  # noqa: ANN401 - of any VR
    """Make an instance that is no image."""
    dataset = image(noise(8), SOPClassUID=sop_class_uid)
    for element in [*dataset.group_dataset(0x0028), dataset["PixelData"]]:
        del dataset[element.tag]
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def document() -> FileDataset:
    """Make an Encapsulated PDF."""
    content = b"%PDF-1.4\n" + WORDS + b"\n%%EOF\n"
    return without_pixels(
        EncapsulatedPDFStorage,
        Modality="DOC",
        EncapsulatedDocument=content + b"\0" * (len(content) % 2),
        EncapsulatedDocumentLength=len(content),
        MIMETypeOfEncapsulatedDocument="application/pdf",
        BurnedInAnnotation="YES",
    )


def presentation_state() -> FileDataset:
    """Make a presentation state with words in a Graphic Annotation Sequence."""
    words, annotation, layer = Dataset(), Dataset(), Dataset()
    words.UnformattedTextValue = WORDS.decode()
    annotation.TextObjectSequence, annotation.GraphicLayer = Sequence([words]), "LAYER"
    layer.GraphicLayer, layer.GraphicLayerOrder = "LAYER", 1
    return without_pixels(
        GrayscaleSoftcopyPresentationStateStorage,
        Modality="PR",
        GraphicAnnotationSequence=Sequence([annotation]),
        GraphicLayerSequence=Sequence([layer]),
    )


def jpeg_lossless(syntax: str) -> FileDataset:
    """Make a JPEG Lossless image with predictor 4, which process 14 allows and Selection Value 1 does not."""
    frames = noise(16)
    coded = [bytes(imagecodecs.jpeg8_encode(frame, lossless=True, predictor=4, bitspersample=16)) for frame in frames]
    return in_syntax(syntax, coded, frames)


def htj2k_rpcl(syntax: str) -> FileDataset:
    """Make an HTJ2K image with what RPCL asks for."""
    frames = noise(16)
    return in_syntax(
        syntax, [bytes(imagecodecs.htj2k_encode(frame, reversible=True, tlm=True)) for frame in frames], frames
    )


def in_syntax(syntax: str, fragments: list[bytes] | None = None, frames: NDArray[Any] | None = None) -> FileDataset:
    """Make an image of these fragments, one a frame, in a transfer syntax."""
    dataset = image(noise(8) if frames is None else frames, syntax=JPEGLSLossless)
    if fragments:
        dataset.PixelData = encapsulate(fragments)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset
