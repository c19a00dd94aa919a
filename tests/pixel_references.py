"""What becomes of every image in the packages pydicom, pydicom-data and deid-data, and of every kind they have none of.

This is data; ``tests/integration/test_pixel_references.py`` carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import data_store
import deid_data
import pydicom
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.redaction import Policy
from tests.support import kinds
from tests.support.kinds import WORDS, noise
from tests.unit.redaction.made import image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydicom import FileDataset

ROOTS = {
    name: Path(str(package.__file__)).parent / "data"
    for name, package in (("pydicom", pydicom), ("pydicom-data", data_store), ("deid-data", deid_data))
}


_ALL_TEXT = Policy("all-text")


class Check(Enum):
    """What is compared outside of what was painted."""

    EXACT = "every stored value is the same"
    BLOCKS = "every coefficient of every other block is the same (baseline JPEG)"
    CLOSE = "all of it looks the same (video: encoded again)"
    NOTHING = "there are no pixels"


@dataclass(frozen=True, slots=True)
class Reference:
    """What becomes of one image.

    Attributes
    ----------
    name : str
        Package and path below its data, or the kind of a made one.
    outcome : {'unchanged', 'cleaned', 'held'}
        What becomes of it where no text is found; ``cleaned``: something beside its pixels goes.
    painted : {'cleaned', 'held'}
        What becomes of it where text is found.
    reason : str
        What the reason of a Hold says, as a regular expression.
    actions : tuple of str
        What is done beside painting, whether text is found or not.
    syntax_out : UID or None
        Transfer syntax of a painted image; ``None``: as it came.
    grain : tuple of int
        Rows and columns that change together; regions grow to whole ones.
    check : Check
        How the rest is compared.
    gone : bytes
        What stands in no result.
    errors : str
        Errors of dciodvfy in the result that are none, as a regular expression.
    make : callable or None
        Makes it, where it is no file.
    """

    name: str
    outcome: Literal["unchanged", "cleaned", "held"] = "unchanged"
    painted: Literal["cleaned", "held"] = "cleaned"
    reason: str = ""
    actions: tuple[str, ...] = ()
    syntax_out: UID | None = None
    grain: tuple[int, int] = (1, 1)
    check: Check = Check.EXACT
    policy: Policy = _ALL_TEXT
    gone: bytes = b""
    errors: str = ""
    make: Callable[[], FileDataset] | None = None

    @property
    def path(self) -> Path:
        """Where the file of a real one stands."""
        package, _, name = self.name.partition("/")
        return ROOTS[package] / name


def _files(folder: str, names: str, **what: Any) -> Iterator[Reference]:  # noqa: ANN401 - fields of Reference
    yield from (Reference(f"{folder}/{name}", **what) for name in names.split())


def _held(folder: str, names: str, reason: str) -> Iterator[Reference]:
    return _files(folder, names, outcome="held", painted="held", reason=reason)


def _jpeg(folder: str, names: str, rows: int, columns: int) -> Iterator[Reference]:
    return _files(folder, names, grain=(rows, columns), check=Check.BLOCKS)


_DERIVED_MR = "Attribute present when condition unsatisfied.*Module=<(MRPulseSequence|BulkMotionSynchronization)>"
"""Required if Image Type value 1 is ORIGINAL or MIXED, and else allowed (PS3.3 C.8.13.4); dciodvfy says more."""

_UID_AS_RECEIVED = r"(Value invalid for this VR - |Illegal root for UID - .*)\(0x0002,0x0003\)"
"""Its SOP Instance UID is no UID, and is kept; what stood in the File Meta Information was another one."""

_ALL_PLANES = ("icon removed", "overlay removed", "private pixel data removed")
_TEST_FILES = "pydicom/test_files"

REAL: tuple[Reference, ...] = (
    *_files(
        "pydicom/charset_files",
        "chrArab.dcm chrFren.dcm chrFrenMulti.dcm chrGerm.dcm chrGreek.dcm chrH31.dcm chrH32.dcm chrHbrw.dcm chrI2.dcm "
        "chrRuss.dcm chrX1.dcm chrX2.dcm",
    ),
    *_held("pydicom/charset_files", "chrJapMulti.dcm chrJapMultiExplicitIR6.dcm chrKoreanMulti.dcm", "^no pixel data"),
    *_files(
        f"{_TEST_FILES}/dicomdirtests",
        "77654033/CR1/6154 77654033/CR2/6247 77654033/CR3/6278 77654033/CT2/17106 77654033/CT2/17136 "
        "77654033/CT2/17166 77654033/CT2/17196 98892001/CT2N/6293 98892001/CT2N/6924 98892001/CT5N/2062 "
        "98892001/CT5N/2392 98892001/CT5N/2693 98892001/CT5N/3023 98892001/CT5N/3353 98892003/MR1/15820 "
        "98892003/MR1/4919 98892003/MR1/5641 98892003/MR2/15970 98892003/MR2/4950 98892003/MR2/4981 "
        "98892003/MR2/5011 98892003/MR2/6273 98892003/MR2/6605 98892003/MR2/6935 98892003/MR700/4467 "
        "98892003/MR700/4528 98892003/MR700/4558 98892003/MR700/4588 98892003/MR700/4618 98892003/MR700/4648 "
        "98892003/MR700/4678",
    ),
    *_files(
        _TEST_FILES,
        "693_J2KI.dcm CT_small.dcm ExplVR_BigEnd.dcm J2K_pixelrep_mismatch.dcm JPEG2000.dcm "
        "MR_small.dcm MR_small_RLE.dcm MR_small_bigendian.dcm MR_small_expb.dcm MR_small_implicit.dcm "
        "MR_small_jp2klossless.dcm MR_small_jpeg_ls_lossless.dcm MR_small_padded.dcm SC_rgb_gdcm_KY.dcm "
        "SC_rgb_jpeg_dcmd.dcm SC_rgb_jpeg_gdcm.dcm SC_rgb_rle.dcm SC_rgb_rle_16bit.dcm SC_rgb_rle_16bit_2frame.dcm "
        "SC_rgb_rle_2frame.dcm SC_rgb_small_odd.dcm SC_rgb_small_odd_big_endian.dcm examples_jpeg2k.dcm "
        "examples_palette.dcm examples_rgb_color.dcm image_dfl.dcm liver_1frame.dcm liver_expb_1frame.dcm rtdose.dcm "
        "rtdose_1frame.dcm rtdose_expb.dcm rtdose_expb_1frame.dcm",
    ),
    *_files(_TEST_FILES, "SC_ybr_full_422_uncompressed.dcm", grain=(1, 2)),
    *_files(_TEST_FILES, "examples_overlay.dcm", outcome="cleaned", actions=_ALL_PLANES),
    *_files(_TEST_FILES, "JPEG-lossy.dcm JPGExtended.dcm", syntax_out=JPEGLosslessSV1),
    *_jpeg(
        _TEST_FILES,
        "SC_jpeg_no_color_transform.dcm SC_jpeg_no_color_transform_2.dcm SC_rgb_dcmtk_+eb+cr.dcm "
        "SC_rgb_dcmtk_+eb+cy+s4.dcm SC_rgb_jpeg.dcm SC_rgb_jpeg_app14_dcmd.dcm SC_rgb_jpeg_dcmtk.dcm "
        "SC_rgb_small_odd_jpeg.dcm",
        8,
        8,
    ),
    *_jpeg(_TEST_FILES, "SC_rgb_dcmtk_+eb+cy+n2.dcm SC_rgb_dcmtk_+eb+cy+s2.dcm", 8, 16),
    *_jpeg(
        _TEST_FILES,
        "SC_rgb_dcmtk_+eb+cy+n1.dcm SC_rgb_dcmtk_+eb+cy+np.dcm SC_rgb_jpeg_lossy_gdcm.dcm examples_ybr_color.dcm",
        16,
        16,
    ),
    *_files(
        _TEST_FILES,
        "SC_rgb_rle_32bit.dcm SC_rgb_rle_32bit_2frame.dcm rtdose_rle.dcm rtdose_rle_1frame.dcm",
        painted="held",
        reason="cannot be encoded",
    ),
    *_held(
        _TEST_FILES,
        "JPEGLSNearLossless_08.dcm JPEGLSNearLossless_16.dcm SC_rgb_jls_lossy_line.dcm SC_rgb_jls_lossy_sample.dcm "
        "nested_priv_SQ.dcm",
        "^missing: .*StudyInstanceUID, SeriesInstanceUID",
    ),
    *_held(_TEST_FILES, "JPEG2000-embedded-sequence-delimiter.dcm", "cannot be decoded"),
    *_held(_TEST_FILES, "GDCMJ2K_TextGBR.dcm", "carries other data"),
    *_held(_TEST_FILES, "MR_truncated.dcm", "8130 bytes, 8192 are needed"),
    *_held(_TEST_FILES, "badVR.dcm", "^NumberOfFrames is missing or is not one number"),
    *_held(_TEST_FILES, "meta_missing_tsyntax.dcm", "no Transfer Syntax UID"),
    *_held(_TEST_FILES, "no_meta.dcm", "not a DICOM file"),
    *_files(
        "pydicom-data",
        "693_J2KR.dcm 693_UNCI.dcm 693_UNCR.dcm JPEG-LL.dcm JPEG2000_UNC.dcm JPGLosslessP14SV1_1s_1f_8b.dcm "
        "MR2_J2KI.dcm OBXXXX1A.dcm OBXXXX1A_2frame.dcm OBXXXX1A_expb.dcm OBXXXX1A_expb_2frame.dcm OBXXXX1A_rle.dcm "
        "OBXXXX1A_rle_2frame.dcm SC_rgb.dcm SC_rgb_16bit.dcm SC_rgb_16bit_2frame.dcm SC_rgb_2frame.dcm "
        "SC_rgb_32bit.dcm SC_rgb_32bit_2frame.dcm SC_rgb_dcmtk_ebcr_dcmd.dcm SC_rgb_dcmtk_ebcyn1_dcmd.dcm "
        "SC_rgb_dcmtk_ebcyn2_dcmd.dcm SC_rgb_dcmtk_ebcynp_dcmd.dcm SC_rgb_dcmtk_ebcys2_dcmd.dcm "
        "SC_rgb_dcmtk_ebcys4_dcmd.dcm SC_rgb_expb.dcm SC_rgb_expb_16bit.dcm SC_rgb_expb_16bit_2frame.dcm "
        "SC_rgb_expb_2frame.dcm SC_rgb_expb_32bit.dcm SC_rgb_expb_32bit_2frame.dcm SC_rgb_gdcm2k_uncompressed.dcm "
        "SC_ybr_full_uncompressed.dcm US1_J2KI.dcm US1_J2KR.dcm US1_UNCI.dcm US1_UNCR.dcm color-pl.dcm color-px.dcm "
        "eCT_Supplemental.dcm explicit_VR-UN.dcm gdcm-US-ALOKA-16.dcm gdcm-US-ALOKA-16_big.dcm liver.dcm "
        "liver_expb.dcm vlut_04.dcm",
    ),
    *_files(
        "pydicom-data",
        "emri_small.dcm emri_small_RLE.dcm emri_small_big_endian.dcm emri_small_jpeg_2k_lossless.dcm "
        "emri_small_jpeg_ls_lossless.dcm",
        errors=_DERIVED_MR,
    ),
    *_files("pydicom-data", "bad_sequence.dcm", errors=_UID_AS_RECEIVED),
    *_files("pydicom-data", "MR-SIEMENS-DICOM-WithOverlays.dcm", outcome="cleaned", actions=_ALL_PLANES),
    *_files("pydicom-data", "mlut_18.dcm", outcome="cleaned", actions=("unused bits cleared",)),
    *_held("pydicom-data", "OT-PAL-8-face.dcm", "not a DICOM file"),
    *_held("pydicom-data", "emri_small_jpeg_2k_lossless_too_short.dcm", "^missing: "),
    *_jpeg("deid-data", "dicom-cookies/image1.dcm", 8, 8),
    *_jpeg("deid-data", "humans/ctbrain1.dcm humans/ctbrain2.dcm", 16, 16),
    *_files("deid-data", "ultrasounds/GREYSCALE_IMAGE.dcm"),
)

LARGER = frozenset(
    reference.name
    for reference in (
        *_files(
            "pydicom-data",
            "MR2_J2KR.dcm MR2_UNCI.dcm MR2_UNCR.dcm RG1_J2KI.dcm RG1_J2KR.dcm RG1_UNCI.dcm RG1_UNCR.dcm RG3_J2KI.dcm "
            "RG3_J2KR.dcm RG3_UNCI.dcm RG3_UNCR.dcm color3d_jpeg_baseline.dcm",
        ),
        *_files(
            "deid-data",
            "animals/cat.dcm dicom-cookies/image2.dcm dicom-cookies/image3.dcm dicom-cookies/image4.dcm "
            "dicom-cookies/image5.dcm dicom-cookies/image6.dcm dicom-cookies/image7.dcm ultrasounds/RGB_IMAGE.dcm "
            "ultrasounds/ultrasound-multiframe.dcm",
        ),
    )
)
"""Left out: megapixels, or many frames, of a kind that another file of the table has. Larger, not other."""


def _made(name: str, make: Callable[..., FileDataset], *arguments: Any, **options: Any) -> Reference:  # noqa: ANN401 - the maker's
    return Reference(name, make=partial(make, *arguments, **options))


def _unclean(name: str, action: str, make: Callable[..., FileDataset], *arguments: Any) -> Reference:  # noqa: ANN401 - the maker's
    return replace(_made(name, make, *arguments), outcome="cleaned", actions=(action,), gone=WORDS)


def _unsure(name: str, reason: str, make: Callable[..., FileDataset], *arguments: Any, **options: Any) -> Reference:  # noqa: ANN401
    return replace(_made(name, make, *arguments, **options), outcome="held", painted="held", reason=reason)


_EMPTY_OVERLAY = bytes(216)
_DOCUMENTS, _ANNOTATIONS = Policy("all-text", documents="remove"), Policy("all-text", annotations="remove")

MADE: tuple[Reference, ...] = (
    _made("MONOCHROME1, 8 bits", image, noise(8), photometric="MONOCHROME1"),
    _made("MONOCHROME1, 16 bits, signed", image, noise(16), photometric="MONOCHROME1", signed=True),
    _made("12 bits, signed", image, noise(12), stored=12, signed=True, RescaleSlope="-1", RescaleIntercept="0"),
    _made("10 bits below bit 13", image, noise(10) << 4, stored=10, high_bit=13),
    _made(
        "10 bits below bit 13, big endian", image, noise(10) << 4, stored=10, high_bit=13, syntax=ExplicitVRBigEndian
    ),
    _made("1 bit across bytes", image, noise(1, shape=(3, 7, 9)), stored=1),
    _made("32 bits, signed", image, noise(32), signed=True),
    _made(
        "RGB by plane, 16 bits, deflated",
        image,
        noise(16, 3),
        photometric="RGB",
        planar=1,
        syntax=DeflatedExplicitVRLittleEndian,
    ),
    _made("YBR_FULL by plane", image, noise(8, 3), photometric="YBR_FULL", planar=1),
    _made("PALETTE COLOR with segments", kinds.segmented_palette),
    _made(
        "a lossy source, decompressed",
        image,
        noise(8, 3),
        photometric="RGB",
        LossyImageCompression="01",
        LossyImageCompressionRatio="12",
        LossyImageCompressionMethod="ISO_10918_1",
    ),
    _made("RLE, 12 bits, signed", image, noise(12), stored=12, signed=True, syntax=RLELossless),
    _made("JPEG-LS, colour", image, noise(8, 3), photometric="RGB", syntax=JPEGLSLossless),
    _made("JPEG Lossless, any predictor", kinds.jpeg_lossless, JPEGLossless),
    _made("HTJ2K Lossless", image, noise(12), stored=12, syntax=HTJ2KLossless),
    _made("HTJ2K Lossless RPCL", kinds.htj2k_rpcl, HTJ2KLosslessRPCL),
    *(
        _made(f"{name} with its UIDs", kinds.with_identity, name)
        for name in (
            "JPEGLSNearLossless_08.dcm",
            "JPEGLSNearLossless_16.dcm",
            "SC_rgb_jls_lossy_line.dcm",
            "SC_rgb_jls_lossy_sample.dcm",
        )
    ),
    _made("several fragments a frame, Basic Offset Table", kinds.in_several_fragments),
    _made("Extended Offset Table", kinds.with_extended_offsets),
    _made("padding behind the last frame", kinds.with_bytes_behind, bytes(6)),
    replace(_made("baseline JPEG, YBR_FULL_422", kinds.colour_jpeg), grain=(16, 16), check=Check.BLOCKS),
    replace(_made("a slide's label", kinds.slide_label), grain=(16, 16), check=Check.BLOCKS),
    replace(
        _unclean("baseline JPEG with EXIF data", "thumbnails in codestreams removed", kinds.with_thumbnail),
        grain=(8, 8),
        check=Check.BLOCKS,
    ),
    replace(_made("H.264", kinds.video), check=Check.CLOSE),
    replace(
        _made("an overlay in unused bits", kinds.with_high_bit_overlay),
        outcome="cleaned",
        actions=("overlay removed", "unused bits cleared"),
    ),
    _unclean("an overlay of two frames", "overlay removed", kinds.with_overlay, WORDS * 27),
    replace(
        _made("an overlay that is kept", kinds.with_overlay, _EMPTY_OVERLAY),
        outcome="cleaned",
        actions=("overlay description removed",),
        policy=Policy("all-text", overlays="redact"),
        gone=WORDS,
    ),
    _unclean("an icon", "icon removed", kinds.with_icon),
    _unclean("pixels in private elements", "private pixel data removed", kinds.with_private_pixels),
    _unclean("a curve", "curve removed", kinds.with_curve),
    replace(
        _unclean("a document that goes", "document replaced by an empty page", kinds.document),
        policy=_DOCUMENTS,
        check=Check.NOTHING,
    ),
    replace(
        _unclean("annotations that go", "graphic annotations removed", kinds.presentation_state),
        policy=_ANNOTATIONS,
        check=Check.NOTHING,
    ),
    _unsure("a document", "encapsulated document", kinds.document),
    _unsure("a presentation state", "^no pixel data", kinds.presentation_state),
    _unsure("a report", "^no pixel data", kinds.without_pixels, BasicTextSRStorage, Modality="SR"),
    _unsure("float pixels", "^float pixel data", kinds.with_float_pixels),
    _unsure("pixels in an item", "nested in a sequence", kinds.with_nested_pixels),
    _unsure("no frames", "Number of Frames is 0", kinds.with_frames_said, 0, ExplicitVRLittleEndian),
    _unsure("a frame that is not told of", "behind its last frame", kinds.with_frames_said, 1, ExplicitVRLittleEndian),
    _unsure("a codestream that is not told of", "more, or other|says 1", kinds.with_frames_said, 1, JPEGLSLossless),
    _unsure("a frame too few", "are needed", kinds.with_frames_said, 3, ExplicitVRLittleEndian),
    _unsure("bytes behind the last frame", "behind its last frame", kinds.with_bytes_behind, b"\0" + WORDS + b"\0"),
    _unsure("no decoder", "^no decoder", kinds.in_syntax, UID("1.2.840.10008.1.2.4.92")),
)
