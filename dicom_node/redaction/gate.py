"""The gate: where in a picture text may stand.

A network of ten thousand weights (scripts/train_gate) at a tenth of a detector's price. It is trained to let too much
through: a place that it shuts, a profile without a look everywhere does not see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from dicom_node.redaction.boxes import Box, around, clipped
from dicom_node.redaction.onnx import network_input

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dicom_node.redaction.render import Picture

CELL = 8
"""Rows and columns of a cell that the network judges, in pixels."""

OPEN = 0.1
SURELY_OPEN = 0.3
"""Probability of text from which a cell is looked at: where those that hang together have one that is surely open."""

AROUND = (3, 5)
"""Cells around one that is open, in rows and columns, that are looked at with it: a line goes on to its sides."""


class Gate:
    """Says where to look.

    Parameters
    ----------
    network : onnxruntime.InferenceSession
        Gives the probability of text for each cell.
    """

    def __init__(self, network: Any) -> None:  # noqa: ANN401 - onnxruntime has no types
        self._network = network

    def areas(self, picture: Picture, known: Iterable[Box] = ()) -> list[Box]:
        """Return what has to be looked at, as boxes that do not overlap.

        Parameters
        ----------
        picture : numpy.ndarray
            uint8, shape (rows, columns, 3), in its own size.
        known : iterable of Box
            Where nothing has to be looked for.
        """
        rows, columns = picture.shape[:2]
        padded = cv2.copyMakeBorder(picture, 0, -rows % CELL, 0, -columns % CELL, cv2.BORDER_REPLICATE)
        cells = self._network.run(None, {"x": network_input(padded)})[0][0, 0]
        for box in known:
            cells[
                box.row // CELL : -(-(box.row + box.height) // CELL),
                box.column // CELL : -(-(box.column + box.width) // CELL),
            ] = 0
        is_open = cv2.dilate((cells > OPEN).astype(np.uint8), np.ones(AROUND, np.uint8))
        _, labels, stats, _ = cv2.connectedComponentsWithStats(is_open)
        sure = np.unique(labels[cells > SURELY_OPEN])
        found = [
            Box(*(CELL * int(side) for side in (top, left, height, width)))
            for left, top, width, height, _ in stats[sure]
        ]
        return [clipped(box, rows, columns) for box in _joined(found)]


def _joined(boxes: list[Box]) -> list[Box]:
    """Join boxes that overlap, until none do."""
    joined: list[Box] = []
    for new in boxes:
        box = new
        while True:
            overlapping = [other for other in joined if _overlap(box, other)]
            if not overlapping:
                break
            joined = [other for other in joined if other not in overlapping]
            box = around([box, *overlapping])
        joined.append(box)
    return joined


def _overlap(one: Box, other: Box) -> bool:
    return (
        one.row < other.row + other.height
        and other.row < one.row + one.height
        and one.column < other.column + other.width
        and other.column < one.column + one.width
    )
