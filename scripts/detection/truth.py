"""Ground truth: which words were burned into an image, and where; one JSON file beside each DICOM file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PHI_KINDS = ("name", "id", "date", "institution", "physician")
"""Kinds of identity. ``safe`` is technical text; ``label`` (MRN, DOB) is text that counts in no figure."""


@dataclass(frozen=True, slots=True)
class Word:
    """One burned-in word.

    Attributes
    ----------
    text, kind : str
        What it says (made up), and one of ``PHI_KINDS``, ``safe``, ``label``.
    row, column, height, width : int
        The smallest upright rectangle around its ink, in pixels.
    first_frame, last_frame : int
        Frames it is shown in, counted from 0; the last is included.
    cap_height : int
        Height of its capital letters in pixels, before rotation.
    rotation : int
        Degrees, counter-clockwise.
    contrast : float
        By how much its ink differs from nine tenths of what is around it (in ``hard`` from six: the rest may be
        sunk), of the displayed range (0 to 1).
    font, ground : str
        What it is written in, and on: ``none``, ``box``, ``outline``.
    """

    text: str
    kind: str
    row: int
    column: int
    height: int
    width: int
    first_frame: int
    last_frame: int
    cap_height: int
    rotation: int
    contrast: float
    font: str
    ground: str

    @property
    def is_phi(self) -> bool:
        """Whether it tells who someone is."""
        return self.kind in PHI_KINDS


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of one image.

    Attributes
    ----------
    file : str
        Name of the DICOM file in the same folder.
    background : str
        ``generated``, or the name of the real picture it was made of.
    """

    file: str
    modality: str
    encoding: str
    background: str
    rows: int
    columns: int
    frames: int
    words: tuple[Word, ...]

    def write(self, folder: Path) -> None:
        """Write it beside its DICOM file."""
        (folder / self.file).with_suffix(".json").write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def read_truths(folder: Path) -> list[Truth]:
    """Read all ground truth of a folder, in order of file name."""
    contents = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json")))
    return [Truth(**{**content, "words": tuple(Word(**word) for word in content["words"])}) for content in contents]
