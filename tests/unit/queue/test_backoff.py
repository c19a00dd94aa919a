from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.queue.backoff import delay


@pytest.mark.parametrize(("failures", "whole"), [(0, 5), (1, 5), (2, 10), (3, 20), (7, 320), (8, 600), (10_000, 600)])
def test_the_wait_doubles_up_to_the_maximum(failures: int, whole: float) -> None:
    assert delay(failures, 5.0, 600.0, lambda: 1.0) == whole


@given(st.integers(0, 1_000_000), st.floats(0, 1, exclude_max=True))
def test_jitter_keeps_the_wait_between_half_and_the_whole(failures: int, chance: float) -> None:
    whole = delay(failures, 5.0, 600.0, lambda: 1.0)
    assert whole / 2 <= delay(failures, 5.0, 600.0, lambda: chance) <= whole


def test_two_failures_at_once_do_not_come_back_at_once() -> None:
    assert delay(3, 5.0, 600.0, lambda: 0.2) != delay(3, 5.0, 600.0, lambda: 0.7)
