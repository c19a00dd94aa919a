"""When to try again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_DOUBLINGS = 64
"""More doublings than any maximum needs; beyond about a thousand a float overflows."""


def delay(failures: int, first: float, maximum: float, random: Callable[[], float]) -> float:
    """Tell how long to wait after a failure: exponential, with jitter, so that waiting work does not come back at once.

    Parameters
    ----------
    failures : int
        Failures in a row so far, from 1; 0 counts as 1.
    first, maximum : float
        The wait after the first failure and the longest one, in seconds, before jitter.
    random : callable
        Gives a number in [0, 1), as :func:`random.random` does.

    Returns
    -------
    float
        Seconds, between half of the exponential wait and the whole of it.
    """
    doublings = min(max(failures, 1) - 1, _DOUBLINGS)
    whole = min(first * 2.0**doublings, maximum)
    return whole * (0.5 + 0.5 * random())
