"""Real pictures of installed packages, without text of their own; they are read where they are and never copied."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from pydicom import dcmread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Frames = NDArray[np.float32]

SPLITS = ("train", "tune", "report")
_PACKAGES = ("pydicom", "data_store", "deid_data")
_MOST_FRAMES = 12


class Picture(NamedTuple):
    """A real picture: its file, modality, and the part (in 1/100: top, left, bottom, right) that carries no text."""

    name: str
    modality: str
    part: tuple[int, int, int, int] = (0, 0, 100, 100)

    @property
    def split(self) -> str:
        """The one set it may be part of, by the hash of its file name: no two sets share a picture."""
        return SPLITS[int(hashlib.sha256(self.name.encode()).hexdigest(), 16) % len(SPLITS)]


PICTURES = (
    Picture("693_UNCR.dcm", "CT"),
    Picture("bad_sequence.dcm", "CT"),
    Picture("explicit_VR-UN.dcm", "CT"),
    Picture("CT_small.dcm", "CT"),
    Picture("MR-SIEMENS-DICOM-WithOverlays.dcm", "MR"),
    Picture("MR2_UNCR.dcm", "MR"),
    Picture("MR_small.dcm", "MR"),
    Picture("emri_small.dcm", "MR"),
    Picture("RG1_UNCR.dcm", "DX", (6, 6, 94, 94)),
    Picture("RG3_UNCR.dcm", "DX", (2, 30, 75, 64)),
    Picture("cat.dcm", "DX", (5, 2, 70, 98)),
    Picture("JPGLosslessP14SV1_1s_1f_8b.dcm", "US", (24, 28, 70, 74)),
    Picture("ultrasound-multiframe.dcm", "US", (28, 30, 84, 66)),
    Picture("gdcm-US-ALOKA-16.dcm", "US", (20, 6, 60, 90)),
    Picture("J2K_pixelrep_mismatch.dcm", "CT"),
    Picture("eCT_Supplemental.dcm", "CT"),
    Picture("color-pl.dcm", "US"),
    Picture("color3d_jpeg_baseline.dcm", "US", (10, 10, 82, 89)),
    Picture("US1_UNCR.dcm", "US", (23, 7, 70, 93)),
    Picture("OBXXXX1A.dcm", "US", (18, 25, 85, 97)),
    Picture("GREYSCALE_IMAGE.dcm", "US", (13, 13, 89, 87)),
)
"""Each was looked at; of pictures that come in several encodings, one."""


def pictures_of(modality: str, split: str) -> list[Picture]:
    """List the installed pictures of a modality that a set may use."""
    return [p for p in installed(split) if p.modality == modality]


def installed(split: str) -> list[Picture]:
    """List the installed pictures of a split."""
    return [p for p in PICTURES if p.split == split and _path(p.name)]


def real_frames(picture: Picture, rows: int, columns: int) -> Frames:
    """Read a picture as it is displayed.

    Returns
    -------
    numpy.ndarray
        float32, shape (frames, rows, columns), 0 (black) to 1 (white).
    """
    frames = native_frames(picture)
    method = _filter(frames.shape[1], rows)
    resized = [cv2.resize(frame, (columns, rows), interpolation=method) for frame in frames]
    return np.asarray(np.clip(np.stack(resized), 0, 1), dtype=np.float32)


def native_frames(picture: Picture) -> Frames:
    """Read the part of a picture that has no text, as it is displayed, in its own size."""
    shown = _displayed(picture)
    top, left, bottom, right = (
        round(share * side / 100) for share, side in zip(picture.part, shown.shape[1:] * 2, strict=True)
    )
    return shown[:, top:bottom, left:right]


def _filter(before: int, after: int) -> int:
    return int(cv2.INTER_AREA if after < before else cv2.INTER_CUBIC)


@cache
def _displayed(picture: Picture) -> Frames:
    path = _path(picture.name)
    if path is None:
        msg = f"{picture.name} is not installed"
        raise FileNotFoundError(msg)
    dataset = dcmread(path)
    values = dataset.pixel_array.astype(np.float32)
    if dataset.SamplesPerPixel > 1:
        values = values.mean(axis=-1)
    values = values.reshape(-1, dataset.Rows, dataset.Columns)[:_MOST_FRAMES]
    low, high = np.percentile(values, (0.5, 99.7))
    shown = np.clip((values - low) / max(high - low, 1), 0, 1)
    return np.asarray(1 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown, dtype=np.float32)


@cache
def _path(name: str) -> Path | None:
    for package in _PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            found = next(Path(folder).rglob(name), None)
            if found:
                return found
    return None
