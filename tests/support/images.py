"""Images to send: real ones of public packages, and copies of them that are instances of their own."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import deid_data
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import JPEGLosslessSV1, generate_uid

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

ULTRASOUNDS = Path(str(deid_data.__file__)).parent / "data" / "ultrasounds"


def pydicom_file(name: str) -> Path:
    """Find a file of pydicom or pydicom-data."""
    return Path(str(get_testdata_file(name, download=False)))


def vendor_file(name: str, folder: Path) -> Path:
    """Find a file of any of the packages by its name without suffix; a packed one is unpacked into ``folder``."""
    if (ULTRASOUNDS / f"{name}.zip").exists():
        return ultrasound(name, folder)
    found = next(ULTRASOUNDS.parent.glob(f"*/{name}.dcm"), None)
    return found or pydicom_file(f"{name}.dcm")


def ultrasound(name: str, folder: Path) -> Path:
    """Return a vendor's ultrasound file; those that are packed are unpacked into ``folder``."""
    packed = ULTRASOUNDS / f"{name}.zip"
    if not packed.exists():
        return ULTRASOUNDS / f"{name}.dcm"
    with zipfile.ZipFile(packed) as archive:
        return Path(archive.extract(f"{name}.dcm", folder))


def copy_of(source: Path, target: Path, **attributes: object) -> Path:
    """Write a copy that is an instance of its own; attributes are changed in it as given."""
    dataset = dcmread(source)
    dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    target.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(target)
    return target


def copies_of(source: Path, folder: Path, count: int) -> list[Path]:
    """Write so many copies, each an instance of its own."""
    return [copy_of(source, folder / f"{number}.dcm") for number in range(count)]


def uid_of(path: Path) -> str:
    """Read the SOP Instance UID of a file."""
    return str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


def frames_of(path: Path) -> Iterator[NDArray[np.generic]]:
    """Decode one frame after the other, by decoders that are not the node's: shape (rows, columns[, samples])."""
    dataset = dcmread(path)
    if dataset.file_meta.TransferSyntaxUID == JPEGLosslessSV1:
        decoded = path.with_suffix(".decoded")
        subprocess.run(["dcmdjpeg", str(path), str(decoded)], check=True, timeout=60)
        dataset = dcmread(decoded)
    yield from iter_pixels(dataset, raw=True)


def truncated_jpeg_2000(target: Path) -> Path:
    """Write an image whose codestream ends in its middle, in fragments that are whole."""
    source = pydicom_file("MR_small_jp2klossless.dcm")
    codestream = next(generate_frames(dcmread(source).PixelData, number_of_frames=1))
    return copy_of(source, target, PixelData=encapsulate([codestream[: len(codestream) // 4 * 2]]))


def aborting_rle(target: Path, hook: Path) -> Path:
    """Write an image, and into ``hook`` what makes the codec abort the process that decodes it.

    A codec cannot be made to fail like that at will, so a ``sitecustomize.py`` stands in for its defect.
    """
    image = copy_of(pydicom_file("MR_small_RLE.dcm"), target)
    hook.mkdir()
    (hook / "marked").write_bytes(next(generate_frames(dcmread(image).PixelData, number_of_frames=1)))
    (hook / "sitecustomize.py").write_text(_ABORT, encoding="utf-8")
    return image


_ABORT = """
import os, pathlib
import imagecodecs

marked = (pathlib.Path(__file__).parent / "marked").read_bytes()
decode = imagecodecs.dicomrle_decode

def decode_or_abort(data, *arguments):
    if bytes(data) == marked:
        os.abort()
    return decode(data, *arguments)

imagecodecs.dicomrle_decode = decode_or_abort
"""
