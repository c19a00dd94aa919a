"""Labelled sets: ``standard``, all that devices write; ``hard``, small identity blocks straight over anatomy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .anatomy import pictures_of, real_frames
from .burning import Canvas, Style
from .identity import Identity, identity_lines, made_up, technical_lines
from .instances import ENCODINGS, coloured, instance
from .textures import cine, furnish, generated
from .truth import Truth
from .writing import Font, any_font, write_block

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.random import Generator
    from numpy.typing import NDArray

    from .writing import Token

    Frames = NDArray[np.float32]

KINDS = ("standard", "hard")
_SIDES = {
    "CT": ((512, 512), (512, 512), (768, 768), (1024, 1024)),
    "MR": ((256, 256), (384, 384), (320, 288), (512, 512)),
    "DX": ((1024, 1024), (1440, 1180), (2000, 1700)),
    "MG": ((1280, 1000), (1920, 1500)),
    "US": ((480, 640), (600, 800), (768, 1024)),
    "SC": ((600, 800), (768, 1024), (1024, 1280)),
    "XA": ((512, 512), (1024, 1024)),
}
_HARD_SIDES = (256, 320, 384, 512, 768, 1024)
_CINE = ("US", "XA")
_WITHOUT_TEXT = 0.15
_SMALLEST_CAP = 8
_LARGEST_CAP = 60
_SMALLEST_HARD = 6
_LARGEST_HARD = 12
HARD_CONTRAST = 0.08
HARD_SUNK = 0.4


@dataclass(frozen=True, slots=True)
class Background:
    """Frames to write on (frames, rows, columns), where they are from, and of which modality."""

    frames: Frames
    modality: str
    source: str


def make_set(folder: Path, kind: str, images: int, seed: int, split: str) -> None:
    """Write so many images and their ground truth.

    Parameters
    ----------
    folder : Path
        Made when it is not there.
    kind : str
        One of ``KINDS``.
    seed : int
        The same seed, split and fonts give the same set; image n does not depend on how many there are.
    split : str
        ``train``, ``tune`` or ``report``: these share no real picture and no random number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(images):
        rng = np.random.default_rng([seed, number, *f"{kind}/{split}".encode()])
        make_image(rng, folder, f"{kind}-{split}-{seed}-{number:04}.dcm", split)


def make_image(rng: Generator, folder: Path, file: str, split: str) -> None:
    """Write one image, and its ground truth beside it; its kind is the first word of its name."""
    is_hard = file.startswith("hard")
    background = hard_background(rng, split) if is_hard else _standard_background(rng, split)
    person = made_up(rng)
    choices = ENCODINGS[background.modality]
    encoding = choices[int(rng.integers(len(choices)))]
    canvas = Canvas(coloured(rng, background.frames) if encoding.is_colour else background.frames[..., None].copy())
    if rng.random() >= _WITHOUT_TEXT:
        (write_hard if is_hard else _write_standard)(rng, canvas, background.modality, person)
    dataset = instance(rng, canvas.frames, background.modality, encoding, person)
    dataset.save_as(folder / file, enforce_file_format=True)
    count, rows, columns = background.frames.shape
    words = tuple(canvas.words)
    Truth(file, background.modality, str(encoding), background.source, rows, columns, count, words).write(folder)


def _standard_background(rng: Generator, split: str) -> Background:
    modality = str(rng.choice(list(_SIDES)))
    sides = _SIDES[modality]
    background = _background(rng, modality, *sides[int(rng.integers(len(sides)))], split)
    if modality in _CINE and len(background.frames) == 1 and rng.random() < 0.4:  # noqa: PLR2004 - some are loops
        moving = cine(rng, background.frames[0], int(rng.integers(4, 17)))
        background = Background(moving, modality, background.source)
    if rng.random() < 0.35:  # noqa: PLR2004 - about a third
        furnish(rng, background.frames)
    return background


def hard_background(rng: Generator, split: str) -> Background:
    """Return anatomy with the noise of a picture that was taken in that matrix: 1 to 5 % of the range."""
    side = int(rng.choice(_HARD_SIDES))
    smooth = _background(rng, str(rng.choice(["CT", "MR", "MG"])), side, side, split)
    noise = rng.normal(0, rng.uniform(0.01, 0.05), smooth.frames.shape).astype(np.float32)
    return replace(smooth, frames=np.clip(smooth.frames + noise, 0, 1))


def _background(rng: Generator, modality: str, rows: int, columns: int, split: str) -> Background:
    """Take a real picture (turned over at random) where there is one, half of the time."""
    pictures = pictures_of(modality, split)
    if not pictures or rng.random() < 0.5:  # noqa: PLR2004 - half
        return Background(generated(rng, modality, rows, columns)[None], modality, "generated")
    picture = pictures[int(rng.integers(len(pictures)))]
    frames = real_frames(picture, rows, columns)
    if rng.random() < 0.5:  # noqa: PLR2004 - half
        frames = frames[:, :, ::-1]
    if len(frames) > 1 and modality not in _CINE:
        frames = frames[int(rng.integers(len(frames)))][None]
    return Background(np.ascontiguousarray(frames * rng.uniform(0.7, 1.0)), modality, picture.name)


def _write_standard(rng: Generator, canvas: Canvas, modality: str, person: Identity) -> None:
    """Write one or two identity blocks and up to three technical ones, each in a style of its own."""
    for lines in (
        identity_lines(rng, person, int(rng.integers(2, 6))),
        *([identity_lines(rng, person, 1)] if rng.random() < 0.3 else []),  # noqa: PLR2004 - some say it twice
        *(technical_lines(rng, modality, int(rng.integers(1, 4))) for _ in range(int(rng.integers(0, 4)))),
    ):
        height, style = _cap_height(rng, canvas), _style(rng)
        _burn(rng, canvas, lines, any_font(rng, height), style)


def write_hard(rng: Generator, canvas: Canvas, modality: str, person: Identity) -> None:
    """Write identity (and now and then a technical line) in 6 to 12 pixels, black or white, over anatomy."""
    lines = identity_lines(rng, person, int(rng.integers(3, 6)))
    if rng.random() < 0.3:  # noqa: PLR2004 - some
        lines += technical_lines(rng, modality, 1)
    style = Style(place="anatomy", least_contrast=HARD_CONTRAST, sunk=HARD_SUNK)
    font = any_font(rng, int(rng.integers(_SMALLEST_HARD, _LARGEST_HARD + 1)))
    if font.cap_height > _LARGEST_HARD:
        font = Font("bitmap", _SMALLEST_HARD)
    if not _burn(rng, canvas, lines, font, style):  # where no place takes the block, its lines are written one by one
        for line in lines:
            _burn(rng, canvas, [line], font, style)


def _burn(rng: Generator, canvas: Canvas, lines: list[list[Token]], font: Font, style: Style) -> bool:
    block = write_block(lines, font, rotation=style.rotation)
    return canvas.burn(rng, block, font, style, _shown(rng, len(canvas.frames)))


def _cap_height(rng: Generator, canvas: Canvas) -> int:
    """Return a height that goes with the size of the image: 1.2 to 4 % of the short side, the small ones oftener."""
    side = min(canvas.frames.shape[1:3])
    height = side * 0.012 * (4 / 1.2) ** (rng.random() ** 1.5)
    return int(np.clip(round(height), _SMALLEST_CAP, _LARGEST_CAP))


def _style(rng: Generator) -> Style:
    strength = float(rng.choice([1.0, rng.uniform(0.3, 0.8), rng.uniform(0.1, 0.3)], p=(0.55, 0.3, 0.15)))
    rotations = (0, 90, 270, int(rng.integers(-20, 21)))
    tints = ((1.0, 1.0, 1.0), (1.0, 0.9, 0.3), (0.4, 1.0, 0.5), (0.6, 0.9, 1.0))
    return Style(
        place=str(rng.choice(["corner", "border", "inside"], p=(0.5, 0.2, 0.3))),
        strength=strength,
        ground=str(rng.choice(["none", "box", "outline"], p=(0.7, 0.17, 0.13))),
        rotation=rotations[int(rng.choice(4, p=(0.84, 0.05, 0.05, 0.06)))],
        tint=tints[int(rng.choice(4, p=(0.7, 0.1, 0.1, 0.1)))],
    )


def _shown(rng: Generator, frames: int) -> tuple[int, int]:
    """Choose the frames in which a block is shown: in loops, a third of the blocks come and go."""
    if frames == 1 or rng.random() < 0.67:  # noqa: PLR2004 - two thirds
        return 0, frames - 1
    first = int(rng.integers(frames))
    return first, min(frames - 1, first + int(rng.integers(0, 4)))
