"""What others say of a file: dcmtk's and dicom3tools' checks."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_VALUES = re.compile(r"""(?<=<)[^<>]*(?=>\s-)|"[^"]*"|'[^']*'\s\(0x\w+\)|\[[^\]]*\]$""")
"""What an error quotes of the file: the same error about another value is the same error."""

_OF_ITS_OWN = "Error - Seek failed"
"""At times dciodvfy cannot skip to the end of a deflated stream that dcmtk, pydicom and Orthanc read."""


def is_file(path: Path) -> bool:
    """Ask dcmftest whether this is a DICOM file with File Meta Information (PS3.10)."""
    return subprocess.run(["dcmftest", str(path)], check=False, capture_output=True, timeout=60).returncode == 0


def errors_of(path: Path) -> Counter[str]:
    """Count the errors that dciodvfy finds: what contradicts the IOD of the SOP Class (PS3.3 A)."""
    said = subprocess.run(["dciodvfy", str(path)], check=False, capture_output=True, timeout=60)
    lines = (said.stdout + said.stderr).decode("latin-1").splitlines()
    found = (line for line in lines if line.startswith("Error") and not line.startswith(_OF_ITS_OWN))
    return Counter(_VALUES.sub("", line) for line in found)
