"""The detector, loaded once for all tests of the room that one process runs."""

from __future__ import annotations

import pytest

from dicom_node.redaction import PaddleDetector


@pytest.fixture(scope="session")
def paddle() -> PaddleDetector:
    return PaddleDetector()
