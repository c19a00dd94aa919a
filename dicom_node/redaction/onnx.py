"""Networks on ONNX Runtime, one thread: a redactor process has one core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnxruntime

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from dicom_node.redaction.render import Picture

_MIDDLE = 127.5


def session(model: Traversable) -> onnxruntime.InferenceSession:
    """Load a network of this package, or of another."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def network_input(picture: Picture) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a picture as networks take it: float32, -1 to 1, shape (1, 3, rows, columns)."""
    blob = cv2.dnn.blobFromImage(picture, 1 / _MIDDLE, mean=(_MIDDLE,) * 3)
    return np.asarray(blob, dtype=np.float32)
