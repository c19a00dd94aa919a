"""The lever "series": what is found in one instance goes in all of its series. Made series, and what that brings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dicom_node.redaction import Policy, redact

from .burning import Canvas
from .identity import made_up
from .instances import ENCODINGS, instance
from .score import COVERED, painted, painted_area
from .sets import HARD_CONTRAST, HARD_SUNK, hard_background, write_hard
from .truth import Truth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicom_node.model import Region
    from dicom_node.redaction.detect import TextDetector

    from .truth import Word

    Found = tuple[Region, ...]

_WITHOUT_TEXT = 0.15
_SHIFT = 0.06
"""Of a side: how far the anatomy lies from that of the instance before; the identity stands still."""


def make_series(rng: Generator, instances: int, split: str) -> list[tuple[Dataset, Truth]]:
    """Make a series of the kind ``hard``: one banner in one place over other anatomy in each instance."""
    first = hard_background(rng, split)
    step = round(_SHIFT * first.frames.shape[1])
    frames = np.concatenate([np.roll(first.frames, number * step, axis=(1, 2)) for number in range(instances)])
    noise = rng.normal(0, 0.02, frames.shape).astype(np.float32)  # of each instance its own
    before, person = np.clip(frames + noise, 0, 1), made_up(rng)
    canvas = Canvas(before[..., None].copy())
    if rng.random() >= _WITHOUT_TEXT:
        write_hard(rng, canvas, first.modality, person)
    encoding, change = ENCODINGS[first.modality][0], np.abs(canvas.frames[..., 0] - before)
    made = []
    for number in range(instances):
        words = tuple(
            replace(word, first_frame=0, last_frame=0) for word in canvas.words if _is_seen(change, number, word)
        )
        truth = Truth("", first.modality, str(encoding), first.source, *frames.shape[1:], 1, words)
        dataset = instance(rng, canvas.frames[number : number + 1], first.modality, encoding, person)
        made.append((dataset, truth))
    return made


def _is_seen(change: NDArray[np.float32], number: int, word: Word) -> bool:
    """Whether as much of a word's ink is seen in an instance as the kind ``hard`` asks for where it writes."""
    inside = change[:, word.row : word.row + word.height, word.column : word.column + word.width]
    inked = inside.max(axis=0) > HARD_CONTRAST
    return bool((inside[number][inked] > HARD_CONTRAST).mean() >= 1 - HARD_SUNK)


def measure_series(detector: TextDetector, series: int, instances: int, seed: int, split: str) -> str:
    """Clean made series one by one and as series, and return a table in Markdown."""
    made = []
    for number in range(series):
        rng = np.random.default_rng([seed, number, *f"series/{split}".encode()])
        those = make_series(rng, instances, split)
        made.append([(redact(dataset, Policy("all-text"), detector).regions, truth) for dataset, truth in those])
    together = [[(tuple(r for regions, _ in one for r in regions), truth) for _, truth in one] for one in made]
    rows = zip(_figures(made), _figures(together), strict=True)
    lines = ["| | each alone | its series with it |", "|---|---|---|"]
    return "\n".join(lines + [f"| {name} | {alone} | {joined} |" for (name, alone), (_, joined) in rows])


def _figures(made: Sequence[Sequence[tuple[Found, Truth]]]) -> list[tuple[str, str]]:
    seen = [(regions, truth) for one in made for regions, truth in one]
    shares = [[painted(regions, word) >= COVERED for word in truth.words if word.is_phi] for regions, truth in seen]
    words, images = [share for each in shares for share in each], [all(each) for each in shares if each]
    false = [painted_area(regions, truth) for regions, truth in seen if not truth.words]
    return [
        (f"PHI words covered, of {len(words)}", f"{np.mean(words):.1%}"),
        (f"images with every PHI word covered, of {len(images)}", f"{np.mean(images):.1%}"),
        (f"false area on images without text, of {len(false)}", f"{np.mean(false):.2%}"),
    ]
