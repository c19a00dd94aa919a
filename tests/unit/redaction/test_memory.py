"""Memory of processes that redact."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource
import numpy as np
from dicom_node.redaction.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(8 << 20, np.uint8)
        np.ones(64 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

as_it_is = faults()
kept = keep_freed_memory()
faults()
print(kept, faults() < as_it_is / 10)
"""


def test_what_one_image_has_freed_is_there_for_the_next() -> None:
    """In a process of its own: it cannot be taken back."""
    run = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["True", "True"]
