"""The gate: a network of ten thousand weights that says, for cells of 8 x 8 pixels, where text may stand.

It costs a tenth of a detector, which then looks only where the gate says so, and there in double size. Its layers are
written as ONNX by hand: four kinds of operators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

CELL = 8
"""Rows and columns of a cell, in pixels."""

_FIRST, _SECOND = 24, 48


def gate() -> nn.Sequential:
    """Make the network: float32 (images, 3, rows, columns), -1 to 1, to logits (images, 1, rows / 8, columns / 8)."""

    def mixed(dilation: int) -> list[nn.Module]:
        depthwise = nn.Conv2d(_SECOND, _SECOND, 3, padding=dilation, dilation=dilation, groups=_SECOND)
        return [depthwise, nn.Conv2d(_SECOND, _SECOND, 1), nn.ReLU()]

    return nn.Sequential(
        *(nn.Conv2d(3, _FIRST, 6, stride=4, padding=1), nn.ReLU()),
        *(nn.Conv2d(_FIRST, _SECOND, 3, stride=2, padding=1), nn.ReLU()),
        *mixed(1),
        *mixed(2),
        *mixed(3),
        nn.Conv2d(_SECOND, 1, 1),
    )


def cells(target: NDArray[np.float32], weight: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Turn the target of a detector into that of the gate: cells that any line touches."""
    shape = (target.shape[0] // CELL, CELL, target.shape[1] // CELL, CELL)
    is_text = target.reshape(shape).max(axis=(1, 3))
    is_near = cv2.dilate(is_text, np.ones((3, 3), np.uint8)) > is_text  # beside text either answer is right
    is_ignored = weight.reshape(shape).min(axis=(1, 3)) == 0
    return is_text, np.where((is_near | is_ignored) & (is_text == 0), 0, 1).astype(np.float32)


def write(layers: nn.Sequential, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Write the network with these weights (a state dictionary) as ONNX, a sigmoid at its end."""
    nodes, tensors, last = [], [], "x"
    for number, layer in enumerate(layers):
        name = f"layer{number}"
        if isinstance(layer, nn.Conv2d):
            pair = [
                numpy_helper.from_array(weights[f"{number}.{kind}"].numpy(), f"{name}.{kind}")
                for kind in ("weight", "bias")
            ]
            tensors += pair
            nodes.append(
                helper.make_node(
                    "Conv",
                    [last, *(tensor.name for tensor in pair)],
                    [name],
                    strides=list(layer.stride),
                    pads=[*layer.padding, *layer.padding],
                    dilations=list(layer.dilation),
                    group=layer.groups,
                )
            )
        else:
            nodes.append(helper.make_node("Relu", [last], [name]))
        last = name
    nodes.append(helper.make_node("Sigmoid", [last], ["y"]))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, c, None, None]) for n, c in (("x", 3), ("y", 1))]
    graph = helper.make_graph(nodes, "gate", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
