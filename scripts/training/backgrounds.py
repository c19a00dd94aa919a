"""Pictures without text to write on: real ones of the training split, volumes of packages, and textures.

Pictures are kept as uint16 (0 to 65535, shown black to white), shape (rows, columns) or (rows, columns, 3).
"""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from detection.anatomy import installed, native_frames
from detection.instances import coloured
from detection.textures import furnish, generated

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.random import Generator
    from numpy.typing import NDArray

    Patch = NDArray[np.float32]

_HIGHEST = 65535
_MODALITIES = ("CT", "MR", "DX", "MG", "US", "SC", "XA")
_NIFTI_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 512: "u2"}
_NRRD_TYPES = {"short": "i2", "int16": "i2", "ushort": "u2", "uchar": "u1", "int": "i4", "float": "f4", "double": "f8"}
_SMALLEST_SLICE = 48
_TIMES = 6
"""A still counts like so many frames of a loop or slices of a volume."""


class Backgrounds:
    """A pool of pictures, from which patches are cut in many sizes, positions and windows.

    Parameters
    ----------
    rng : numpy.random.Generator
        Makes the textures and chooses slices.
    volumes : list of Path
        NIfTI or NRRD files: slices in all three directions.
    textures : int
        How many textures are made.
    """

    def __init__(self, rng: Generator, volumes: list[Path], textures: int) -> None:
        self._real = [_kept(frame) for frame in _real_pictures()]
        for path in volumes:
            self._real += _slices(rng, _volume(path))
        self._made = [_kept(_texture(rng)) for _ in range(textures)]

    def patch(self, rng: Generator, side: int) -> Patch:
        """Cut a square patch: float32, 0 to 1, shape (side, side) or (side, side, 3)."""
        pool = self._real if self._real and rng.random() < 0.6 else self._made  # a little over half
        source = pool[int(rng.integers(len(pool)))]
        zoom = float(np.exp(rng.uniform(np.log(0.4), np.log(4.5))))
        wanted = int(np.clip(round(side / zoom), _SMALLEST_SLICE, min(source.shape[:2])))
        row, column = (int(rng.integers(length - wanted + 1)) for length in source.shape[:2])
        part = source[row : row + wanted, column : column + wanted].astype(np.float32) / np.float32(_HIGHEST)
        part = np.rot90(part, int(rng.integers(4)))
        part = part[:, ::-1] if rng.random() < 0.5 else part  # half
        method = cv2.INTER_AREA if side < wanted else int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        patch = np.clip(cv2.resize(np.ascontiguousarray(part), (side, side), interpolation=method), 0, 1)
        return np.asarray(_shown(rng, patch), dtype=np.float32)


def _shown(rng: Generator, patch: Patch) -> Patch:
    """Change brightness, contrast and polarity, and add the noise of a detector."""
    if rng.random() < 0.5:  # half
        patch = patch ** float(np.exp(rng.uniform(-0.8, 0.8)))
    low, high = sorted(rng.uniform(0, 1, 2)) if rng.random() < 0.35 else (0.0, 1.0)  # a third
    patch = low + (high - low) * patch
    if rng.random() < 0.12:  # a few
        patch = 1 - patch
    if rng.random() < 0.4:  # some
        patch = patch + rng.normal(0, rng.uniform(0.005, 0.06), patch.shape).astype(np.float32)
    return np.clip(patch, 0, 1)


def _real_pictures() -> list[Patch]:
    frames = []
    for picture in installed("train"):
        found = native_frames(picture)
        frames += [found[0]] * _TIMES if len(found) == 1 else list(found)
    return frames


def _texture(rng: Generator) -> Patch:
    """Make a texture, in colour and with rulers and traces now and then; some are flat or a slope."""
    kind = rng.random()
    rows, columns = (int(rng.integers(256, 900)) for _ in range(2))
    if kind < 0.12:  # some
        ends = rng.uniform(0, 1, 2) if rng.random() < 0.5 else [float(rng.choice([0.0, 1.0, rng.random()]))] * 2  # half
        picture = np.tile(np.linspace(*ends, columns, dtype=np.float32), (rows, 1))
    elif kind < 0.32:  # what a detector most takes for text
        picture = _speckle(rng, rows, columns)
    elif kind < 0.45:  # nuclear medicine
        picture = _counts(rng, rows, columns)
    else:
        picture = generated(rng, str(rng.choice(_MODALITIES)), rows, columns)
    frames = np.ascontiguousarray(picture[None])
    if rng.random() < 0.4:  # some
        furnish(rng, frames)
    return np.asarray(coloured(rng, frames)[0] if rng.random() < 0.3 else frames[0])  # a third


def _speckle(rng: Generator, rows: int, columns: int) -> Patch:
    """Make the speckle of an ultrasound image: grains longer than high, in dark and bright layers, and cysts."""
    grain = float(np.exp(rng.uniform(np.log(0.7), np.log(5))))
    noise = rng.rayleigh(0.5, (rows, columns)).astype(np.float32)
    echo = cv2.GaussianBlur(noise, (0, 0), sigmaX=grain * float(rng.uniform(1, 5)), sigmaY=grain)
    echo = (echo - echo.mean()) / max(float(echo.std()), 1e-6) * float(rng.uniform(0.1, 0.35)) + 0.5
    coarse = rng.random((int(rng.integers(3, 12)), int(rng.integers(2, 6)))).astype(np.float32)
    layers = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(echo, 0, 1) * np.clip(layers * float(rng.uniform(0.1, 1.6)), 0, 1)
    for _ in range(int(rng.integers(0, 5))):
        centre = int(rng.integers(columns)), int(rng.integers(rows))
        axes = int(rng.integers(8, columns // 4)), int(rng.integers(8, rows // 4))
        mask = cv2.ellipse(
            np.zeros((rows, columns), np.float32), centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1
        )
        picture *= 1 - float(rng.uniform(0.5, 1)) * cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(1, 8)))
    return np.clip(picture, 0, 1)


def _counts(rng: Generator, rows: int, columns: int) -> Patch:
    """Make a bone scan or a projection of positrons: soft spots of few counts, black on white or white on black."""
    side = int(rng.integers(64, 300))
    spots = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(5, 60))):
        centre = int(rng.integers(side)), int(rng.integers(side))
        axes = int(rng.integers(1, side // 6)), int(rng.integers(1, side // 6))
        cv2.ellipse(spots, centre, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.random() ** 2), -1)
    spots = cv2.GaussianBlur(spots, (0, 0), float(rng.uniform(0.7, side / 60)))
    counts = rng.poisson(spots * rng.uniform(3, 80) + rng.uniform(0, 0.5)).astype(np.float32)
    picture = np.clip(counts / max(float(np.percentile(counts, 99.7)), 1.0), 0, 1)
    method = int(rng.choice([cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    picture = np.clip(cv2.resize(picture, (columns, rows), interpolation=method), 0, 1)
    return 1 - picture if rng.random() < 0.6 else picture  # most are black on white


def _kept(picture: Patch) -> NDArray[np.uint16]:
    return np.asarray(np.clip(picture, 0, 1) * _HIGHEST, dtype=np.uint16)


def _slices(rng: Generator, volume: NDArray[Any]) -> list[NDArray[np.uint16]]:
    """Choose up to 60 slices, a third in each direction, each in a window of its own."""
    slices = []
    for axis in range(3):
        count = volume.shape[axis]
        for index in rng.permutation(np.arange(count // 8, count * 7 // 8 + 1))[:20]:
            picture = np.take(volume, int(index), axis).astype(np.float32)
            inside = picture[picture > picture.min()]
            if min(picture.shape) < _SMALLEST_SLICE or inside.size < picture.size // 10:
                continue
            low, high = np.percentile(picture, rng.uniform(0, 8)), np.percentile(inside, rng.uniform(92, 100))
            slices.append(_kept((picture - low) / max(float(high - low), 1e-6)))
    return slices


def _volume(path: Path) -> NDArray[Any]:
    """Read a NIfTI-1 (.nii, .nii.gz) or NRRD (raw or gzip) volume."""
    content = path.read_bytes()
    if path.suffix == ".nrrd":
        return _nrrd(content)
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    shape = np.frombuffer(content, "<i2", 4, 40)
    kind = np.dtype(_NIFTI_TYPES[int(np.frombuffer(content, "<i2", 1, 70)[0])]).newbyteorder("<")
    offset = int(np.frombuffer(content, "<f4", 1, 108)[0])
    count = int(np.prod(shape[1:4].astype(np.int64)))
    return np.frombuffer(content, kind, count, offset).reshape(shape[1:4], order="F")


def _nrrd(content: bytes) -> NDArray[Any]:
    header, _, data = content.partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in header.decode("ascii").splitlines()[1:] if ": " in line)
    data = zlib.decompress(data, 31) if fields["encoding"] in {"gzip", "gz"} else data
    kind = np.dtype(_NRRD_TYPES[fields["type"]]).newbyteorder(
        "<" if fields.get("endian", "little") == "little" else ">"
    )
    shape = tuple(int(side) for side in fields["sizes"].split())
    return np.frombuffer(data, kind, int(np.prod(shape))).reshape(shape, order="F")
