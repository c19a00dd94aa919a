"""Barcodes on made pictures, with the rectangle of each, to measure what is found of them."""

from __future__ import annotations

import time
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import zxingcpp

from dicom_node.redaction.barcodes import find_barcodes

from .anatomy import SPLITS, pictures_of, real_frames
from .textures import generated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

    Grey = NDArray[np.float32]

MATRIX = ("QRCode", "DataMatrix", "PDF417", "Aztec")
LINEAR = ("Code128", "Code39", "Code93", "EAN13", "EAN8", "UPCA", "ITF", "Codabar")
MODALITIES = ("CT", "MR", "DX", "US")
GROUNDS = ("card", "border", "damaged", "bare")
"""On a light card with its quiet zone; light on black; a card with a fifth struck out; light straight on anatomy."""

SHORTEST, LONGEST = 40, 300
"""Of a code's longest side, in pixels."""


class Case(NamedTuple):
    """A picture with one code.

    ``picture`` is uint8, shape (rows, columns, 3); ``place`` is that of the modules: row, column, height, width.
    """

    kind: str
    ground: str
    module: int
    contrast: float
    turned: float
    picture: NDArray[np.uint8]
    place: tuple[int, int, int, int]


def make_case(rng: Generator, kind: str, ground: str, rows: int, columns: int) -> Case:
    """Draw one code of a kind into a texture."""
    modality = str(rng.choice(MODALITIES))
    picture = generated(rng, modality, rows, columns)
    symbol, module = _symbol(rng, kind)
    turned = float(rng.choice([0, 90, 180, 270])) + (float(rng.uniform(-6, 6)) if rng.random() < 1 / 3 else 0.0)
    contrast = float(rng.choice([0.3, 0.5, 0.9]))
    ink, quiet = _turned(symbol, turned), module * (10 if kind in LINEAR else 4)
    height, width = ink.shape
    row, column = (
        int(rng.integers(quiet, side - length - quiet)) for side, length in zip(picture.shape, ink.shape, strict=True)
    )
    light = float(rng.uniform(contrast + 0.05, 1.0))
    around = picture[row - quiet : row + height + quiet, column - quiet : column + width + quiet]
    if ground in {"card", "damaged"}:
        around[:] = light
        code = light - contrast * ink
        if ground == "damaged":
            struck = int(rng.integers(0, width - width // 5))
            code[:, struck : struck + width // 5] = light
    else:
        if ground == "border":
            around[:] = 0.02
        behind = picture[row : row + height, column : column + width]
        code = behind + ink * np.maximum(light - behind, 0)
    picture[row : row + height, column : column + width] = code
    picture += rng.normal(0, 0.01, picture.shape).astype(np.float32)
    tint = rng.uniform(0.7, 1, 3) if rng.random() < 1 / 4 else np.ones(3)
    shown = (np.clip(picture, 0, 1)[..., None] * tint * 255).astype(np.uint8)
    return Case(kind, ground, module, contrast, turned, shown, (row, column, height, width))


def _symbol(rng: Generator, kind: str) -> tuple[Grey, int]:
    """Return a code's ink, 1 where a module is dark, and the pixels of a module."""
    barcode = zxingcpp.create_barcode(_content(rng, kind), getattr(zxingcpp.BarcodeFormat, kind))
    modules = (np.array(barcode.to_image(add_quiet_zones=False)) < 128).astype(np.float32)  # noqa: PLR2004 - dark
    longest = max(modules.shape)
    fits = [m for m in range(1 if kind in LINEAR else 2, 9) if SHORTEST <= m * longest <= LONGEST] or [1]
    module = int(rng.choice(fits))
    if kind in LINEAR:
        modules = modules[:1].repeat(max(8, round(float(rng.uniform(0.15, 0.5)) * longest)), axis=0)
    return modules.repeat(module, axis=0).repeat(module, axis=1), module


def _content(rng: Generator, kind: str) -> str:
    digits = "".join(str(d) for d in rng.integers(0, 10, 12))
    lengths = {"EAN13": 12, "EAN8": 7, "UPCA": 11, "ITF": 2 * int(rng.integers(3, 7)), "Codabar": 8}
    if kind in lengths:
        number = digits[: lengths[kind]]
        return f"A{number}B" if kind == "Codabar" else number
    return f"MRN {digits[:4]}-{digits[4:8]} DOE"[: None if kind in MATRIX else 8]


def _turned(ink: Grey, degrees: float) -> Grey:
    """Turn a code; what is around it stays without ink."""
    quarters = round(degrees / 90)
    ink = np.rot90(ink, quarters).copy()
    slant = degrees - 90 * quarters
    if not slant:
        return ink
    height, width = ink.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), slant, 1)
    sine, cosine = abs(matrix[0, 1]), abs(matrix[0, 0])
    size = (round(height * sine + width * cosine), round(height * cosine + width * sine))
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    return np.asarray(cv2.warpAffine(ink, matrix, size, flags=cv2.INTER_LINEAR), dtype=np.float32)


# --- finders, and what they find ---


def _by_node(picture: NDArray[np.uint8]) -> Iterator[tuple[int, int, int, int]]:
    yield from find_barcodes([picture])


def _by_zxing(picture: NDArray[np.uint8]) -> Iterator[tuple[int, int, int, int]]:
    """Find what zxing-cpp finds with everything on: all formats, turned, inverted, in smaller copies, with errors."""
    for code in zxingcpp.read_barcodes(picture, return_errors=True):
        corners = [getattr(code.position, f"{end}_{side}") for end in ("top", "bottom") for side in ("left", "right")]
        yield cv2.boundingRect(np.array([(corner.y, corner.x) for corner in corners], np.int32))


def _by_opencv(picture: NDArray[np.uint8]) -> Iterator[tuple[int, int, int, int]]:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    for detector in (cv2.barcode.BarcodeDetector().detect, cv2.QRCodeDetector().detectMulti):
        for view in (grey, 255 - grey):
            for corners in detector(view)[1] if detector(view)[0] else ():
                yield cv2.boundingRect(corners[:, ::-1].astype(np.int32))


FINDERS: dict[str, Callable[[NDArray[np.uint8]], Iterator[tuple[int, int, int, int]]]] = {
    "node": _by_node,
    "zxing-cpp": _by_zxing,
    "OpenCV": _by_opencv,
}


def measure(count: int, seed: int, rows: int, columns: int) -> str:
    """Draw ``count`` codes of each kind on each ground; return a table of what is covered, and at what CPU."""
    lines = ["| kind | ground | codes | " + " | ".join(FINDERS) + " |", "| --- " * (3 + len(FINDERS)) + "|"]
    seconds = dict.fromkeys(FINDERS, 0.0)
    for ground, kinds in product(GROUNDS, (MATRIX, LINEAR)):
        covered = dict.fromkeys(FINDERS, 0)
        for kind, number in product(kinds, range(count)):
            rng = np.random.default_rng((seed, number, (*MATRIX, *LINEAR).index(kind), GROUNDS.index(ground)))
            case = make_case(rng, kind, ground, rows, columns)
            for name, find in FINDERS.items():
                started = time.process_time()
                found = list(find(case.picture))
                seconds[name] += time.process_time() - started
                covered[name] += _is_covered(case, found)
        total = count * len(kinds)
        shares = " | ".join(f"{100 * hits / total:.1f}%" for hits in covered.values())
        lines.append(f"| {'modules' if kinds is MATRIX else 'bars'} | {ground} | {total} | {shares} |")
    pictures = count * len(GROUNDS) * len(MATRIX + LINEAR)
    costs = " | ".join(f"{1000 * spent / pictures:.1f}" for spent in seconds.values())
    lines.append(f"| CPU ms a picture of {columns}x{rows} | | {pictures} | {costs} |")
    return "\n".join([*lines, *_without_codes(rows, columns)])


def _without_codes(rows: int, columns: int) -> Iterator[str]:
    """Yield, for real pictures without a code, what the finders take for one, and at what CPU."""
    for modality in MODALITIES:
        shown = [real_frames(p, rows, columns)[0] for split in SPLITS for p in pictures_of(modality, split)]
        pictures = [np.stack([(frame * 255).astype(np.uint8)] * 3, axis=-1) for frame in shown]
        cells = []
        for find in FINDERS.values():
            started = time.process_time()
            found = [list(find(picture)) for picture in pictures]
            spent = (time.process_time() - started) / max(1, len(pictures))
            area = sum(tall * wide for boxes in found for _, _, tall, wide in boxes)
            cells.append(f"{area / (rows * columns * max(1, len(pictures))):.2%} at {1000 * spent:.1f} ms")
        yield f"| false area, real {modality} | | {len(pictures)} | {' | '.join(cells)} |"


def _is_covered(case: Case, found: list[tuple[int, int, int, int]]) -> bool:
    """Whether nine tenths of a code are in boxes that are three pixels larger all around."""
    row, column, height, width = case.place
    is_covered = np.zeros(case.picture.shape[:2], np.bool_)
    for top, left, tall, wide in found:
        is_covered[max(0, top - 3) : top + tall + 3, max(0, left - 3) : left + wide + 3] = True
    return bool(is_covered[row : row + height, column : column + width].mean() >= 0.9)  # noqa: PLR2004 - as for words
