"""Huffman tables of sequential JPEG: stepping over codes, and writing them (ISO/IEC 10918-1 C, F.1.2, F.2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

WINDOW = 16
"""Bits of the longest Huffman code."""
LARGEST_DC_CATEGORY = 11
"""For 8 bit (ISO/IEC 10918-1 F.1.2.1.2)."""
COEFFICIENTS = 64
END_OF_BLOCK = 0x00
BLOCK_ENDS = 1024
"""Added to the position in the block by End of Block, so that one comparison in a loop sees both ends of a block."""
ADVANCE_SHIFT = 8
"""A step is packed as ``coefficients << 8 | bits``."""
_INVALID = 1 << 14
"""Added by what is no code: beyond both ends of a block."""
_WINDOWS = 1 << WINDOW
_ZERO_RUN = 0xF0
"""Sixteen zeros, ZRL."""


@dataclass(frozen=True, slots=True)
class HuffmanTable:
    """BITS and HUFFVAL of a DHT segment: how many codes of each length there are, and their symbols."""

    counts: bytes
    symbols: bytes

    @property
    def room(self) -> int:
        """How many codes of 16 bits are left, beside the one of all ones that stays free (ISO/IEC 10918-1 C)."""
        return _WINDOWS - int(_spans(self).sum()) - 1

    def extended(self, needed: set[int]) -> HuffmanTable:
        """Return a table that has codes for these symbols as well; all present codes stay as they are.

        Raises
        ------
        ValueError
            When there is no room.
        """
        missing = sorted(needed - set(self.symbols))
        if not missing:
            return self
        if len(missing) > self.room:
            msg = "the Huffman table has no room for the codes of a painted block"
            raise ValueError(msg)
        counts = self.counts[:-1] + bytes((self.counts[-1] + len(missing),))
        return HuffmanTable(counts, self.symbols + bytes(missing))


def _spans(table: HuffmanTable) -> Integers:
    """Return, for each symbol, how many 16-bit windows begin with its code."""
    spans: Integers = np.repeat(1 << np.arange(WINDOW - 1, -1, -1), np.frombuffer(table.counts, np.uint8))
    return spans


@lru_cache(maxsize=8)
def lookup(table: HuffmanTable) -> tuple[Integers, Integers]:
    """Return symbol (-1: none) and code length for each 16-bit window."""
    spans = _spans(table)
    if len(spans) != len(table.symbols) or spans.sum() > _WINDOWS or len(set(table.symbols)) != len(spans):
        msg = "a Huffman table that is none"
        raise ValueError(msg)
    symbols, lengths = np.full(_WINDOWS, -1), np.full(_WINDOWS, WINDOW)
    symbols[: spans.sum()] = np.repeat(np.frombuffer(table.symbols, np.uint8), spans)
    lengths[: spans.sum()] = np.repeat(WINDOW - np.log2(spans).astype(np.int64), spans)
    return symbols, lengths


@lru_cache(maxsize=16)
def block_steps(dc: HuffmanTable, ac: HuffmanTable, most: int = 4) -> list[int]:
    """Return, for each 16-bit window, how far the DC code of a block and, at most so many, AC codes behind it lead."""
    symbols, lengths = lookup(dc)
    is_code = (symbols >= 0) & (symbols <= LARGEST_DC_CATEGORY)
    bits = np.where(is_code, lengths + symbols, lengths)
    return _packed(*_extended(bits, np.where(is_code, 1, _INVALID), ac, most))


@lru_cache(maxsize=16)
def ac_steps(table: HuffmanTable, most: int = 4) -> list[int]:
    """Return, for each 16-bit window, how far its first AC codes lead, at most so many, not beyond End of Block."""
    nothing = np.zeros(_WINDOWS, np.int64)
    return _packed(*_extended(nothing, nothing, table, most))


def _extended(bits: Integers, reached: Integers, table: HuffmanTable, most: int) -> tuple[Integers, Integers]:
    """Take AC codes behind what a window already gave: so many bits, so many coefficients.

    The bits of a value need not be in the window to be stepped over; those of its code have to be.
    """
    symbols, lengths = lookup(table)
    sizes, is_code = symbols & 15, symbols >= 0
    coefficients = np.where(sizes > 0, (symbols >> 4) + 1, _INVALID)
    coefficients[symbols == _ZERO_RUN] = 16
    coefficients[symbols == END_OF_BLOCK] = BLOCK_ENDS
    coefficients[~is_code] = _INVALID
    taken = np.where(is_code, lengths + sizes, lengths)
    for count in range(most):
        following = (np.arange(_WINDOWS) << np.minimum(bits, WINDOW)) & (_WINDOWS - 1)
        is_first = count == 0 and not bits.any()  # a window that begins with no code has to say so
        goes_on = (reached < COEFFICIENTS) & (bits + lengths[following] <= WINDOW) & (is_code[following] | is_first)
        bits, reached = bits + goes_on * taken[following], reached + goes_on * coefficients[following]
    return bits, reached


def _packed(bits: Integers, reached: Integers) -> list[int]:
    steps: list[int] = (reached << ADVANCE_SHIFT | bits).tolist()
    return steps


@lru_cache(maxsize=256)
def code_bits(table: HuffmanTable, symbol: int) -> bytes:
    """Return the code of a symbol, one byte for each bit."""
    spans = _spans(table)
    index = table.symbols.index(symbol)
    length = WINDOW - int(spans[index]).bit_length() + 1
    return _as_bits(int(spans[:index].sum()) >> (WINDOW - length), length)


@lru_cache(maxsize=4096)
def dc_bits(table: HuffmanTable, difference: int) -> bytes:
    """Return a DC code with its difference (ISO/IEC 10918-1 F.1.2.1)."""
    category = abs(difference).bit_length()
    value = difference if difference >= 0 else difference + (1 << category) - 1
    return code_bits(table, category) + _as_bits(value, category)


def _as_bits(value: int, width: int) -> bytes:
    return bytes(value >> bit & 1 for bit in range(width - 1, -1, -1))
