"""An ONNX detector as a PyTorch module, node by node, and its trained weights back into the same graph.

Converters fail on ``auto_pad`` SAME_UPPER; the detectors of PP-OCRv6 are made of fifteen operators, which are few
enough to run as they stand. Every tensor of more than one number is a parameter.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Operator = Callable[..., torch.Tensor]

_SCALARS = 1


class Network(nn.Module):
    """The graph of an ONNX file; takes and returns float32 of shape (images, channels, rows, columns)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._model = onnx.load(str(path))
        self._nodes = [
            (node.op_type, _attributes(node), list(node.input), node.output[0]) for node in self._model.graph.node
        ]
        self._same = {node.input[0]: node.output[0] for node in self._model.graph.node if node.op_type == "Identity"}
        self.weights = nn.ParameterDict()
        self._constants: dict[str, torch.Tensor] = {}
        for tensor in self._model.graph.initializer:
            values = torch.from_numpy(numpy_helper.to_array(tensor).copy())
            if values.is_floating_point() and values.numel() > _SCALARS:
                self.weights[_key(tensor.name)] = nn.Parameter(values)
            else:
                self._constants[tensor.name] = values

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the logits of the last sigmoid: losses are computed from these."""
        values: dict[str, Any] = {self._model.graph.input[0].name: pictures, **self._constants}
        values |= {name: self.weights[_key(name)] for name in self._names()}
        for kind, attributes, inputs, output in self._nodes:
            if output == self._model.graph.output[0].name:
                return values[inputs[0]]  # type: ignore[no-any-return] # the sigmoid is the loss's
            values[output] = _OPERATORS[kind](attributes, *(values[name] if name else None for name in inputs))
        msg = "the graph does not end in its output"
        raise ValueError(msg)

    def _names(self) -> list[str]:
        return [t.name for t in self._model.graph.initializer if _key(t.name) in self.weights]

    def write(self, path: Path, weights: dict[str, torch.Tensor]) -> None:
        """Write the graph with other weights (by the names of ``weights``), without the nodes that do nothing."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        for tensor in model.graph.initializer:
            trained = weights.get(_key(tensor.name))
            if trained is not None:
                tensor.CopyFrom(numpy_helper.from_array(trained.numpy().astype(np.float32), tensor.name))
        onnx.save(model, str(path))


def _key(name: str) -> str:
    return name.replace(".", "/")


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _same_upper(values: torch.Tensor, kernel: list[int], fill: float) -> torch.Tensor:
    """Pad as SAME_UPPER does at stride 1: what is odd goes to the right and below."""
    down, right = kernel[0] - 1, kernel[1] - 1
    return functional.pad(values, (right // 2, right - right // 2, down // 2, down - down // 2), value=fill)


def _conv(attributes: dict[str, Any], x: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> torch.Tensor:  # noqa: ANN401 - a tensor, or none
    padding = (0, 0)
    if attributes.get("auto_pad") == b"SAME_UPPER":
        x = _same_upper(x, attributes["kernel_shape"], 0.0)
    else:
        padding = tuple(attributes["pads"][:2])
    return functional.conv2d(x, weight, bias, attributes["strides"], padding, 1, attributes["group"])


def _max_pool(attributes: dict[str, Any], x: torch.Tensor) -> torch.Tensor:
    x = _same_upper(x, attributes["kernel_shape"], float("-inf"))
    return functional.max_pool2d(x, attributes["kernel_shape"], attributes["strides"])


def _resize(_: dict[str, Any], x: torch.Tensor, _roi: Any, scales: torch.Tensor, *_sizes: Any) -> torch.Tensor:  # noqa: ANN401 - unused inputs
    return functional.interpolate(x, scale_factor=[float(s) for s in scales[2:]], mode="nearest")


def _transposed(attributes: dict[str, Any], x: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> torch.Tensor:  # noqa: ANN401 - a tensor, or none
    return functional.conv_transpose2d(x, weight, bias, attributes["strides"])


def _hard_sigmoid(attributes: dict[str, Any], x: torch.Tensor) -> torch.Tensor:
    return torch.clamp(attributes["alpha"] * x + attributes["beta"], 0.0, 1.0)


def _without_attributes(function: Operator, _: dict[str, Any], *inputs: torch.Tensor) -> torch.Tensor:
    return function(*inputs)


_OPERATORS: dict[str, Operator] = {
    "Conv": _conv,
    "ConvTranspose": _transposed,
    "MaxPool": _max_pool,
    "Resize": _resize,
    "HardSigmoid": _hard_sigmoid,
    "GlobalAveragePool": lambda _, x: x.mean((2, 3), keepdim=True),
    "ReduceMean": lambda attributes, x: x.mean(tuple(attributes["axes"]), keepdim=True),
    "Concat": lambda attributes, *xs: torch.cat(xs, attributes["axis"]),
    "Identity": lambda _, x: x,
    "Relu": partial(_without_attributes, torch.relu),
    "Add": partial(_without_attributes, torch.add),
    "Mul": partial(_without_attributes, torch.mul),
    "Div": partial(_without_attributes, torch.div),
    "Erf": partial(_without_attributes, torch.erf),
}
