"""Results against ground truth, and the table that says how they compare."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from statistics import mean
from typing import TYPE_CHECKING

import numpy as np

from .engines import PRESIDIO
from .truth import PHI_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dicom_node.model import Region

    from .engines import Result
    from .truth import Truth, Word

    Test = Callable[[Word], bool]

COVERED = 0.9
"""Part of a word's rectangle that has to be painted, in every frame that shows it."""

KEPT = 0.1
"""Part of a safe word's rectangle up to which it is still there."""

_RIGHT_ANGLE = 90
_HEIGHTS = {"up to 8 px": (0, 8), "9 to 12 px": (9, 12), "13 to 20 px": (13, 20), "over 20 px": (21, 1 << 20)}
_CONTRASTS = {"under 12 %": (0, 0.12), "12 to 30 %": (0.12, 0.3), "30 to 60 %": (0.3, 0.6), "over 60 %": (0.6, 2)}
_SIDES = {"up to 512": (0, 512), "513 to 1100": (513, 1100), "over 1100": (1101, 1 << 20)}


@dataclass(frozen=True, slots=True)
class Run:
    """One engine over one set: what loading cost, and a result a file in the order of the truths."""

    engine: str
    loading: Result
    results: list[Result]

    def shares(self, truths: list[Truth]) -> list[tuple[Word, float]]:
        """List all words with the part of each that was painted."""
        pairs = zip(truths, self.results, strict=True)
        return [(word, painted(result.regions, word)) for truth, result in pairs for word in truth.words]


def painted(regions: Sequence[Region], word: Word) -> float:
    """Return the part of a word's rectangle that is painted, in the frame in which it is least."""
    box = (word.row, word.column, word.height, word.width)
    return min(_share(regions, frame, box) for frame in range(word.first_frame, word.last_frame + 1))


def painted_area(regions: Sequence[Region], truth: Truth) -> float:
    """Return the part of an image that is painted, of all its frames."""
    return mean(_share(regions, frame, (0, 0, truth.rows, truth.columns)) for frame in range(truth.frames))


def table(truths: list[Truth], runs: list[Run]) -> str:
    """Return a table in Markdown: a line a figure, how many it was taken of, a column an engine."""
    shares = [run.shares(truths) for run in runs]
    lines = [
        ["", "of", *(run.engine for run in runs)],
        ["---"] * (2 + len(runs)),
        *_recalls(shares),
        _whole_images(truths, runs),
        _part("safe words kept", shares, partial(_is_of, "safe"), lambda share: share < KEPT),
        *_false_areas(truths, runs),
        ["images raised, held or killed", str(len(truths)), *(_failures(run) for run in runs)],
        *_costs(truths, runs),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(regions: Sequence[Region], frame: int, box: tuple[int, int, int, int]) -> float:
    row, column, height, width = box
    inside = np.zeros((height, width), np.bool_)
    for region in regions:
        if region.first_frame <= frame <= region.last_frame:
            top, left = region.row - row, region.column - column
            inside[max(0, top) : max(0, top + region.height), max(0, left) : max(0, left + region.width)] = True
    return float(inside.mean())


def _groups() -> Iterator[tuple[str, Test]]:
    """List the words of which recall is given."""
    yield "all", lambda _: True
    for name, (low, high) in _HEIGHTS.items():
        yield f"capitals {name}", _within("cap_height", low, high + 1)
    for name, (least, less) in _CONTRASTS.items():
        yield f"contrast {name}", _within("contrast", least, less)
    yield "upright", lambda word: word.rotation == 0
    yield "turned by 90 or 270", lambda word: word.rotation != 0 and word.rotation % _RIGHT_ANGLE == 0
    yield "slanting", lambda word: word.rotation % _RIGHT_ANGLE != 0
    for kind in PHI_KINDS:
        yield kind, partial(_is_of, kind)


def _within(attribute: str, least: float, less: float) -> Test:
    return lambda word: least <= getattr(word, attribute) < less


def _is_of(kind: str, word: Word) -> bool:
    return word.kind == kind


def _recalls(shares: list[list[tuple[Word, float]]]) -> Iterator[list[str]]:
    phi = [[(word, share) for word, share in run if word.is_phi] for run in shares]
    for name, belongs in _groups():
        line = _part(f"PHI words covered: {name}", phi, belongs, lambda share: share >= COVERED)
        if line[1] != "0":
            yield line


def _part(
    name: str, shares: list[list[tuple[Word, float]]], belongs: Test, counts: Callable[[float], bool]
) -> list[str]:
    chosen = [[counts(share) for word, share in run if belongs(word)] for run in shares]
    return [name, str(len(chosen[0])), *(_percent(sum(run), len(run)) for run in chosen)]


def _whole_images(truths: list[Truth], runs: list[Run]) -> list[str]:
    """Count the images of which nothing is left to read: one word left is a leak."""
    marked = [number for number, truth in enumerate(truths) if any(word.is_phi for word in truth.words)]
    cells = []
    for run in runs:
        clean = sum(
            all(painted(run.results[n].regions, word) >= COVERED for word in truths[n].words if word.is_phi)
            for n in marked
        )
        cells.append(_percent(clean, len(marked)))
    return ["images with every PHI word covered", str(len(marked)), *cells]


def _false_areas(truths: list[Truth], runs: list[Run]) -> Iterator[list[str]]:
    plain = [number for number, truth in enumerate(truths) if not truth.words]
    areas = [[painted_area(run.results[n].regions, truths[n]) for n in plain] for run in runs]
    if plain:
        yield ["false area on images without text, mean", str(len(plain)), *(f"{mean(run):.2%}" for run in areas)]
        yield ["false area on images without text, worst", str(len(plain)), *(f"{max(run):.2%}" for run in areas)]


def _costs(truths: list[Truth], runs: list[Run]) -> Iterator[list[str]]:
    for name, (low, high) in _SIDES.items():
        chosen = [n for n, truth in enumerate(truths) if low <= max(truth.rows, truth.columns) <= high]
        if chosen:
            cells = [f"{mean(run.results[n].cpu_seconds for n in chosen):.2f}" for run in runs]
            yield [f"CPU s an image, longest side {name}", str(len(chosen)), *cells]
    yield ["CPU s to load", "", *(f"{run.loading.cpu_seconds:.1f}" for run in runs)]
    yield from _shared_costs(runs)
    peaks = (max(result.peak_mib for result in [run.loading, *run.results]) for run in runs)
    yield ["peak memory, MiB", "", *(f"{peak:.0f}" for peak in peaks)]


def _shared_costs(runs: list[Run]) -> Iterator[list[str]]:
    """Give the seconds of the images that no engine failed on: what raises at once costs nothing."""
    shared = [n for n in range(len(runs[0].results)) if not any(run.results[n].failure for run in runs)]
    if not shared:
        return
    seconds = {run.engine: mean(run.results[n].cpu_seconds for n in shared) for run in runs}
    yield ["CPU s an image, where none failed", str(len(shared)), *(f"{cost:.3f}" for cost in seconds.values())]
    if seconds.get(PRESIDIO):
        ratios = (cost / seconds[PRESIDIO] for cost in seconds.values())
        yield ["the same, times Presidio's", str(len(shared)), *(f"{ratio:.2f}" for ratio in ratios)]


def _failures(run: Run) -> str:
    return str(sum(bool(result.failure) for result in run.results))


def _percent(count: int, total: int) -> str:
    return f"{count / total:.1%}" if total else "-"
