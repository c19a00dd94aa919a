"""What stands in a baseline JPEG codestream, read by other code than the package's: slow, and plain."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Rectangle = tuple[int, int, int, int]


@dataclass
class Picked:
    """What stands in a codestream."""

    size: tuple[int, int] = (0, 0)
    factors: dict[int, tuple[int, int]] = field(default_factory=dict)
    steps: dict[int, bytes] = field(default_factory=dict)
    tables: dict[int, dict[str, int]] = field(default_factory=dict)
    restart: int = 0
    segments: list[tuple[int, bytes]] = field(default_factory=list)
    coefficients: dict[int, NDArray[np.int64]] = field(default_factory=dict)


def picked(codestream: bytes) -> Picked:
    """Pick a codestream apart down to its quantised coefficients: shape (rows, columns, 64) of blocks, in zigzag."""
    found, position = Picked(), 2
    while codestream[position + 1] != 0xD9:
        marker = codestream[position + 1]
        end = position + 2 + int.from_bytes(codestream[position + 2 : position + 4])
        payload = codestream[position + 4 : end]
        found.segments.append((marker, payload))
        if marker == 0xDA:
            stop = end
            while codestream[stop] != 0xFF or codestream[stop + 1] in {0, *range(0xD0, 0xD8)}:
                stop += 1
            _read_scan(found, payload, codestream[end:stop])
            end = stop
        else:
            _read_header(found, marker, payload)
        position = end
    return found


def _read_header(found: Picked, marker: int, payload: bytes) -> None:
    if marker == 0xDB:
        found.steps |= {payload[start]: payload[start + 1 : start + 65] for start in range(0, len(payload), 65)}
    elif marker in {0xC0, 0xC1}:
        found.size = int.from_bytes(payload[1:3]), int.from_bytes(payload[3:5])
        components = [payload[start : start + 3] for start in range(6, len(payload), 3)]
        found.factors = {name: (factors & 15, factors >> 4) for name, factors, _ in components}
        if len(components) == 1:
            found.factors = dict.fromkeys(found.factors, (1, 1))
    elif marker == 0xC4:
        while payload:
            found.tables[payload[0]] = _codes(payload[1:17], payload[17:])
            payload = payload[17 + sum(payload[1:17]) :]
    elif marker == 0xDD:
        found.restart = int.from_bytes(payload)


def _codes(counts: bytes, symbols: bytes) -> dict[str, int]:
    table: dict[str, int] = {}
    code = 0
    for length, count in enumerate(counts, 1):
        for number in range(code, code + count):
            table[f"{number:0{length}b}"] = symbols[len(table)]
        code = (code + count) << 1
    return table


def blocks_in_order(found: Picked, identifiers: list[int]) -> Iterator[list[tuple[int, int, int]]]:
    """Yield the blocks of one MCU after the other as (component, row, column)."""
    tall, wide = (max(pair[axis] for pair in found.factors.values()) for axis in (0, 1))
    if len(identifiers) > 1:
        for row, column in product(range(-(-found.size[0] // (8 * tall))), range(-(-found.size[1] // (8 * wide)))):
            yield [
                (name, row * found.factors[name][0] + down, column * found.factors[name][1] + right)
                for name in identifiers
                for down, right in product(range(found.factors[name][0]), range(found.factors[name][1]))
            ]
    else:
        vertical, horizontal = found.factors[identifiers[0]]
        rows, columns = -(-found.size[0] * vertical // (8 * tall)), -(-found.size[1] * horizontal // (8 * wide))
        yield from ([(identifiers[0], row, column)] for row, column in product(range(rows), range(columns)))


def _read_scan(found: Picked, header: bytes, entropy: bytes) -> None:
    chosen = {header[1 + 2 * index]: header[2 + 2 * index] for index in range(header[0])}
    tall, wide = (max(pair[axis] for pair in found.factors.values()) for axis in (0, 1))
    for name in chosen:
        rows = -(-found.size[0] // (8 * tall)) * found.factors[name][0]
        columns = -(-found.size[1] // (8 * wide)) * found.factors[name][1]
        found.coefficients[name] = np.zeros((rows, columns, 64), np.int64)
    for restart in range(8):
        entropy = entropy.replace(bytes((0xFF, 0xD0 + restart)), b"\xff\xd0")
    bits = iter("")
    intervals = iter(entropy.split(b"\xff\xd0"))
    predicted = dict.fromkeys(chosen, 0)
    for index, mcu in enumerate(blocks_in_order(found, list(chosen))):
        if index == 0 or (found.restart and index % found.restart == 0):
            data = next(intervals).replace(b"\xff\0", b"\xff")
            bits, predicted = iter(f"{int.from_bytes(data):0{8 * len(data)}b}"), dict.fromkeys(chosen, 0)
        for name, row, column in mcu:
            dc, ac = found.tables[chosen[name] >> 4], found.tables[0x10 | chosen[name] & 15]
            block = _read_block(bits, dc, ac)
            predicted[name] = block[0] = block[0] + predicted[name]
            found.coefficients[name][row, column] = block


def _read_block(bits: Iterator[str], dc: dict[str, int], ac: dict[str, int]) -> list[int]:
    block, index = [0] * 64, 1
    block[0] = _read_value(bits, _read_symbol(bits, dc))
    while index < 64:
        symbol = _read_symbol(bits, ac)
        if symbol == 0:
            break
        index += symbol >> 4
        block[index] = _read_value(bits, symbol & 15)
        index += 1
    return block


def _read_symbol(bits: Iterator[str], table: dict[str, int]) -> int:
    code = next(bits)
    while code not in table:
        code += next(bits)
    return table[code]


def _read_value(bits: Iterator[str], size: int) -> int:
    value = int("0" + "".join(next(bits) for _ in range(size)), 2)
    return value if not size or value >> (size - 1) else value - (1 << size) + 1


def mask_of(areas: list[Rectangle], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(shape[:2], bool)
    for row, column, height, width in areas:
        mask[row : row + height, column : column + width] = True
    return mask


def widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask one pixel wider: where decoders that interpolate chroma mix inside and outside."""
    wider: NDArray[np.bool_] = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    return wider


def assert_only_painted_blocks_are_others(before: bytes, after: bytes, areas: list[Rectangle]) -> None:
    """Assert: coefficients outside the areas identical, inside flat and all alike; tables, size and sampling kept."""
    was, now = picked(before), picked(after)
    assert (now.size, now.factors, now.steps, now.restart) == (was.size, was.factors, was.steps, was.restart)
    tall, wide = (8 * max(pair[axis] for pair in was.factors.values()) for axis in (0, 1))
    mask = mask_of(areas, was.size)[::tall, ::wide]
    for name, (vertical, horizontal) in was.factors.items():
        painted = mask.repeat(vertical, axis=0).repeat(horizontal, axis=1)
        blocks = now.coefficients[name]
        np.testing.assert_array_equal(blocks[~painted], was.coefficients[name][~painted])
        assert not blocks[painted][:, 1:].any()
        assert len(set(blocks[painted][:, 0].tolist())) <= 1
