"""An image whose header says something else than its pixels: it is held, or the identity in it is gone.

Longer, and with another seed::

    DICOM_NODE_FUZZ=10000 python -m pytest tests/integration/test_mutated_images.py --hypothesis-seed=7
"""

from __future__ import annotations

import os
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pydicom.config
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from dicom_node.redaction import PaddleDetector, Policy, redact
from tests.support.burned_in import burned_in, identity_stays
from tests.support.mutations import mutated

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

EXAMPLES = int(os.environ.get("DICOM_NODE_FUZZ", "60"))
POLICY = Policy("all-text")
# No two of them change the matrix and fit the length all the same: such an image is nothing that anybody can see.
ATTRIBUTES: dict[str, list[Any]] = {
    "Rows": [1, 127, 129, 256, 512],
    "Columns": [1, 255, 257, 512],
    "BitsAllocated": [1, 12, 16, 32],
    "BitsStored": [1, 4, 7, 12, 16],
    "HighBit": [0, 3, 6, 11, 15],
    "PixelRepresentation": [1, 2],
    "SamplesPerPixel": [0, 2, 3, 4],
    "PhotometricInterpretation": ["MONOCHROME1", "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "OTHER", ""],
    "PlanarConfiguration": [0, 1],
    "NumberOfFrames": ["-1", "0", "2", "128"],
    "WindowCenter": ["0", "20", "235", "1e9"],
    "WindowWidth": ["-3", "0", "1", "5", "1e9"],
    "RescaleSlope": ["0", "-1", "1e-9", "1e9"],
    "RescaleIntercept": ["-1e9", "5"],
    "PixelPaddingValue": [0, 40, 230],
    "PresentationLUTShape": ["INVERSE"],
    "PixelAspectRatio": [["1", "8"], ["8", "1"]],
    "Modality": ["US", "SR", ""],
    "BurnedInAnnotation": ["NO"],
    "SOPClassUID": ["1.2.840.10008.5.1.4.1.1.88.11", "1.2.3", ["1.2", "1.3"]],
}
CHANGES = st.lists(
    st.sampled_from(sorted(ATTRIBUTES)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(ATTRIBUTES[name]))
    ),
    min_size=1,
    max_size=3,
)


@pytest.fixture(autouse=True, scope="module")
def _no_validation() -> Iterator[None]:
    """Let pydicom take what it is given, as a redactor has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)
        patch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
        yield


@pytest.fixture(scope="module")
def detector() -> PaddleDetector:
    return PaddleDetector()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return burned_in(tmp_path_factory.mktemp("image") / "image.dcm")


@settings(max_examples=EXAMPLES, deadline=None)
@given(changes=CHANGES)
def test_with_another_header_it_is_held_or_clean(
    image: Path, detector: PaddleDetector, changes: list[tuple[str, Any]]
) -> None:
    dataset = dcmread(image)
    for name, value in changes:
        setattr(dataset, name, value)
    try:
        redact(dataset, POLICY, detector)
    except Exception as error:  # noqa: BLE001 - the worker holds on any (tests/unit/test_worker.py)
        event(type(error).__name__)
        return
    event("clean")
    assert not identity_stays(dataset.PixelData)


@settings(max_examples=EXAMPLES, deadline=None)
@given(chance=st.randoms(use_true_random=False))
def test_with_other_bytes_before_its_pixels_it_is_held_or_clean(
    image: Path, detector: PaddleDetector, chance: random.Random
) -> None:
    content = image.read_bytes()
    pixels = content.index(dcmread(image).PixelData)
    begin = chance.randrange(132, pixels)
    try:
        dataset = dcmread(BytesIO(content[:begin] + mutated(chance, content[begin:pixels]) + content[pixels:]))
        redact(dataset, POLICY, detector)
    except Exception as error:  # noqa: BLE001 - as above
        event(type(error).__name__)
        return
    event("clean")
    assert not identity_stays(dataset.get("PixelData", b""))
