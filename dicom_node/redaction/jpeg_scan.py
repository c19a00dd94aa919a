"""The entropy-coded data of one sequential JPEG scan: where its blocks stand, and new bits for some of them.

A block is one DC code with its difference, then AC codes up to End of Block (ISO/IEC 10918-1 F.1.2, F.2.2). To know
where blocks stand, AC codes need only be stepped over, several in one look-up; their values are never computed. What is
written anew are the bits of painted blocks and the DC difference of a block behind them; all other bits are copied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dicom_node.redaction.jpeg_huffman import (
    ADVANCE_SHIFT,
    BLOCK_ENDS,
    COEFFICIENTS,
    END_OF_BLOCK,
    LARGEST_DC_CATEGORY,
    WINDOW,
    ac_steps,
    block_steps,
    code_bits,
    dc_bits,
    lookup,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dicom_node.redaction.jpeg_huffman import HuffmanTable, Integers

    Plan = tuple[tuple[int, int, int], ...]

_RESTART = re.compile(rb"\xff+([\xd0-\xd7])")
_RESTART_CYCLE = 8
_BYTE = 8
_BLOCKS_IN_A_BYTE = 4
"""At the very most: two codes of one bit each. What promises more is not even begun."""
_CUT_OFF = "the entropy-coded data is cut off"


@dataclass(frozen=True, slots=True)
class Blocks:
    """Where the first blocks of one restart interval stand, in the order they are coded in.

    Attributes
    ----------
    bits : bytes
        The interval, one byte of 0 or 1 for each bit.
    starts : numpy.ndarray
        Shape (blocks + 1,): the first bit of each block; the last one is where the last of them ends.
    bodies : numpy.ndarray
        Shape (blocks,): the first bit of the AC codes of each block.
    differences : numpy.ndarray
        Shape (blocks,): DC differences as they are coded.
    """

    bits: bytes
    starts: Integers
    bodies: Integers
    differences: Integers

    def part(self, first: int, last: int) -> Blocks:
        """Return some of the blocks; ``last`` is not included."""
        return Blocks(self.bits, self.starts[first : last + 1], self.bodies[first:last], self.differences[first:last])

    def ac_bits(self, chosen: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return the bits of the AC codes of the chosen blocks, one after the other."""
        lengths = np.diff(np.stack([self.starts[:-1], self.bodies], axis=1).ravel(), append=self.starts[-1])
        is_chosen = np.repeat(np.stack([np.zeros_like(chosen), chosen], axis=1).ravel(), lengths)
        bits: NDArray[np.uint8] = np.frombuffer(self.bits, np.uint8, len(is_chosen), self.starts[0])[is_chosen]
        return bits


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan, laid out.

    Attributes
    ----------
    entropy : bytes
        The entropy-coded data with its restart markers.
    plan : tuple of (component, DC table, AC table)
        The blocks of one MCU; tables are named as in a DHT segment (class and destination).
    tables : dict of int to HuffmanTable
        By these names.
    mcus : int
        How many the scan has.
    restart_interval : int
        In MCUs; 0 without restarts.
    """

    entropy: bytes
    plan: Plan
    tables: dict[int, HuffmanTable]
    mcus: int
    restart_interval: int

    @property
    def components(self) -> tuple[int, ...]:
        """The component of each block of an MCU."""
        return tuple(component for component, _, _ in self.plan)

    def intervals(self) -> list[bytes]:
        """Split at the restart markers.

        Raises
        ------
        ValueError
            When their number or order is not what size and restart interval ask for.
        """
        pieces = _RESTART.split(self.entropy)
        markers = [piece[0] - 0xD0 for piece in pieces[1::2]]
        expected = -(-self.mcus // self.restart_interval) - 1 if self.restart_interval else 0
        if markers != [index % _RESTART_CYCLE for index in range(expected)]:
            msg = "the restart markers are not those of the restart interval"
            raise ValueError(msg)
        return pieces[::2]

    def mcus_of(self, interval: int) -> slice:
        """Return which MCUs are in a restart interval."""
        length = self.restart_interval or self.mcus
        return slice(interval * length, min((interval + 1) * length, self.mcus))

    def blocks(self, data: bytes, mcus: int, start: int = 0) -> Blocks:
        """Find the blocks of so many MCUs of a restart interval, from bit ``start`` on.

        Raises
        ------
        ValueError
            When the data is no such number of MCUs.
        """
        data = data.replace(b"\xff\0", b"\xff")
        if mcus * len(self.plan) > len(data) * _BLOCKS_IN_A_BYTE:
            raise ValueError(_CUT_OFF)
        octets = np.frombuffer(data + bytes(4), np.uint8).astype(np.int64)
        words = (octets[:-2] << 16) | (octets[1:-1] << 8) | octets[2:]
        starts = self._walk(words, mcus, start)
        bits = np.unpackbits(np.frombuffer(data, np.uint8)).tobytes()
        if starts[-1] > len(bits):
            raise ValueError(_CUT_OFF)
        return Blocks(bits, starts, *self._differences(words, starts[:-1]))

    def _walk(self, words: Integers, mcus: int, position: int) -> Integers:
        """Step from code to code; ``words[n]`` are the 24 bits from byte n on. This loop is what editing costs."""
        word, starts = memoryview(words.data), []
        tables = [(self.tables[dc], self.tables[ac]) for _, dc, ac in self.plan]
        plan = [(block_steps(dc, ac), ac_steps(ac), dc, ac) for dc, ac in tables]
        try:
            for of_block, of_ac, dc, ac in plan * mcus:
                starts.append(position)
                step = of_block[word[position >> 3] >> (8 - (position & 7)) & 0xFFFF]
                position += step & 0xFF
                coefficient = step >> ADVANCE_SHIFT
                while coefficient < COEFFICIENTS:
                    step = of_ac[word[position >> 3] >> (8 - (position & 7)) & 0xFFFF]
                    position += step & 0xFF
                    coefficient += step >> ADVANCE_SHIFT
                if coefficient != COEFFICIENTS and not BLOCK_ENDS < coefficient < BLOCK_ENDS + COEFFICIENTS:
                    position = _end_of_full_block(word, starts[-1], dc, ac)
        except IndexError:
            raise ValueError(_CUT_OFF) from None
        return np.array([*starts, position])

    def _differences(self, words: Integers, starts: Integers) -> tuple[Integers, Integers]:
        """Return where AC codes begin, and the DC differences before them (ISO/IEC 10918-1 F.2.2.1)."""
        categories, bodies = np.empty_like(starts), np.empty_like(starts)
        for index, (_, dc, _) in enumerate(self.plan):
            chosen = slice(index, None, len(self.plan))
            symbols, lengths = lookup(self.tables[dc])
            windows = _peek(words, starts[chosen], WINDOW)
            categories[chosen] = symbols[windows]
            bodies[chosen] = starts[chosen] + lengths[windows] + symbols[windows]
        values = _peek(words, bodies - categories, categories)
        is_negative = values < (1 << categories >> 1)
        return bodies, np.where(is_negative, values - (1 << categories) + 1, values)


def repaint(scan: Scan, painted: NDArray[np.bool_], fills: dict[int, int]) -> Scan:
    """Make blocks flat.

    Parameters
    ----------
    scan : Scan
        The scan.
    painted : numpy.ndarray
        Shape (MCUs,), bool.
    fills : dict of int to int
        The quantised DC value of painted blocks by component.

    Returns
    -------
    Scan
        With the new entropy-coded data; a table that lacked a code that is needed now has it at its end.

    Raises
    ------
    ValueError
        When the scan does not hold the blocks it has to, when a code is needed for which a table has no room, and when
        the new data, read again, is not what was meant.
    """
    intervals = scan.intervals()
    edits = {}
    for index, data in enumerate(intervals):
        chosen = painted[scan.mcus_of(index)]
        if chosen.any():
            edits[index] = _edit(scan, data, chosen, fills)
    needed = {coded for edit in edits.values() for coded in edit.symbols(scan.plan)}
    tables = {
        name: table.extended({symbol for owner, symbol in needed if owner == name})
        for name, table in scan.tables.items()
    }
    for index, edit in edits.items():
        intervals[index] = edit.written(scan.plan, tables)
    result = replace(scan, entropy=_joined(intervals), tables=tables)
    for index, edit in edits.items():
        edit.check(result, intervals[index])
    return result


class _Coded(dict[tuple[int, int, bool], bytes]):
    """Bits of a DC difference at a place of the plan, with End of Block where it is painted; most come many times."""

    def __init__(self, plan: Plan, tables: dict[int, HuffmanTable]) -> None:
        super().__init__()
        self._plan, self._tables = plan, tables

    def __missing__(self, key: tuple[int, int, bool]) -> bytes:
        index, difference, is_painted = key
        _, dc, ac = self._plan[index]
        end = code_bits(self._tables[ac], END_OF_BLOCK) if is_painted else b""
        self[key] = dc_bits(self._tables[dc], difference) + end
        return self[key]


@dataclass(frozen=True, slots=True)
class _Edit:
    """One restart interval as it is, and as it is to be.

    Attributes
    ----------
    blocks : Blocks
        As it is.
    painted : numpy.ndarray
        Shape (blocks,), bool. Behind these blocks nothing changes.
    values, differences : numpy.ndarray
        Shape (blocks,): the DC values and differences to be.
    """

    blocks: Blocks
    painted: NDArray[np.bool_]
    values: Integers
    differences: Integers

    @property
    def changed(self) -> Integers:
        """Blocks that are painted, or whose DC difference is another because one before it is."""
        return np.flatnonzero(self.painted | (self.differences != self.blocks.differences))

    def symbols(self, plan: Plan) -> set[tuple[int, int]]:
        """Return what has to be coded, as (table, symbol)."""
        changed, needed = self.changed, set()
        for index, (_, dc, ac) in enumerate(plan):
            differences = set(np.abs(self.differences[changed[changed % len(plan) == index]]).tolist())
            needed |= {(dc, difference.bit_length()) for difference in differences} | {(ac, END_OF_BLOCK)}
        return needed

    def written(self, plan: Plan, tables: dict[int, HuffmanTable]) -> bytes:
        """Write the interval: copied bits, and new ones where a block is another."""
        bits, pieces, position, coded = self.blocks.bits, [], 0, _Coded(plan, tables)
        changed = self.changed
        columns = (changed % len(plan), self.differences[changed], self.painted[changed])
        places = (self.blocks.starts[changed], self.blocks.bodies[changed], self.blocks.starts[changed + 1])
        for index, difference, is_painted, start, body, end in zip(
            *(a.tolist() for a in columns + places), strict=True
        ):
            pieces += [bits[position:start], coded[index, difference, is_painted]]
            position = end if is_painted else body
        pieces.append(bits[position:])
        joined = b"".join(pieces)
        padded = np.frombuffer(joined + b"\1" * (-len(joined) % _BYTE), np.uint8)
        return np.packbits(padded).tobytes().replace(b"\xff", b"\xff\0")

    def check(self, scan: Scan, data: bytes) -> None:
        """Read again what was written: DC as meant, AC of painted blocks none, all other bits as they were.

        Before the first and behind the last changed block the bits are compared without looking for blocks in them.
        """
        size = len(scan.plan)
        changed = self.changed
        first, last = int(changed[0]) // size * size, int(changed[-1]) // size * size + size
        was, painted = self.blocks.part(first, last), self.painted[first:last]
        now = scan.blocks(data, (last - first) // size, int(was.starts[0]))
        empty = np.resize([len(code_bits(scan.tables[ac], END_OF_BLOCK)) for _, _, ac in scan.plan], last - first)
        rest = was.bits[was.starts[-1] :]
        if not (
            now.bits[: now.starts[0]] == was.bits[: was.starts[0]]
            and np.array_equal(now.differences, self.differences[first:last])
            and np.array_equal((now.starts[1:] - now.bodies)[painted], empty[painted])
            and np.array_equal(now.ac_bits(~painted), was.ac_bits(~painted))
            and now.bits[now.starts[-1] :].startswith(rest)
            and len(now.bits) - int(now.starts[-1]) - len(rest) < _BYTE
        ):
            msg = "the edited blocks are not what was meant"
            raise ValueError(msg)


def _blocks_to_edit(scan: Scan, data: bytes, chosen: NDArray[np.bool_]) -> Blocks:
    """Find the blocks of a restart interval up to those behind the last painted ones; what follows is only copied."""
    mcus = min(int(np.flatnonzero(chosen)[-1]) + 2, len(chosen))
    blocks = scan.blocks(data, mcus)
    if mcus < len(chosen):
        return blocks
    end = int(blocks.starts[-1])
    if len(blocks.bits) - end >= 2 * _BYTE or 0 in blocks.bits[end:]:  # some encoders pad a byte more than they have to
        msg = "something stands behind the blocks of a restart interval"
        raise ValueError(msg)
    return replace(blocks, bits=blocks.bits[:end])


def _edit(scan: Scan, data: bytes, chosen: NDArray[np.bool_], fills: dict[int, int]) -> _Edit:
    blocks, components = _blocks_to_edit(scan, data, chosen), scan.components
    painted = np.repeat(chosen, len(scan.plan))[: len(blocks.bodies)]
    values = np.where(
        painted,
        np.resize([fills[component] for component in components], len(painted)),
        _accumulated(blocks.differences, components),
    )
    differences = np.empty_like(values)
    for of_component in _by_component(components, len(values)):
        differences[of_component] = np.diff(values[of_component], prepend=0)
    if np.abs(differences).max() >> LARGEST_DC_CATEGORY:
        msg = "a DC value out of range"
        raise ValueError(msg)
    return _Edit(blocks, painted, values, differences)


def _accumulated(differences: Integers, components: tuple[int, ...]) -> Integers:
    """Return DC values: each is predicted by the block before it of its component."""
    values = np.empty_like(differences)
    for chosen in _by_component(components, len(values)):
        values[chosen] = np.cumsum(differences[chosen])
    return values


def _by_component(components: tuple[int, ...], blocks: int) -> Iterator[NDArray[np.bool_]]:
    owners = np.resize(components, blocks)
    yield from (owners == component for component in set(components))


def _joined(intervals: list[bytes]) -> bytes:
    """Put the restart markers back between the intervals."""
    pieces = intervals[:1]
    for index, interval in enumerate(intervals[1:]):
        pieces += [bytes((0xFF, 0xD0 + index % _RESTART_CYCLE)), interval]
    return b"".join(pieces)


def _end_of_full_block(word: memoryview, position: int, dc: HuffmanTable, ac: HuffmanTable) -> int:
    """Step through one block code by code: it has no End of Block, and the next block follows in the same window."""
    steps, coefficient = block_steps(dc, ac, 0), 0
    while coefficient < COEFFICIENTS:
        step = steps[word[position >> 3] >> (8 - (position & 7)) & 0xFFFF]
        position += step & 0xFF
        coefficient += step >> ADVANCE_SHIFT
        steps = ac_steps(ac, 1)
    if coefficient != COEFFICIENTS and not BLOCK_ENDS < coefficient < BLOCK_ENDS + COEFFICIENTS:
        msg = "a code that is none, or a block of too many coefficients"
        raise ValueError(msg)
    return position


def _peek(words: Integers, positions: Integers, width: Integers | int) -> Integers:
    """Read numbers of up to 16 bits at bit positions."""
    numbers: Integers = (words[positions >> 3] >> (24 - (positions & 7) - width)) & ((1 << width) - 1)
    return numbers
