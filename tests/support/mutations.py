"""Bytes changed at random, as broken devices and unkind peers change them. The same chance gives the same bytes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.support.wire import P_DATA_TF, pdu

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

_EXTREMES = (
    b"\x00\x00",
    b"\xff\xff",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
)
_DELIMITERS = tuple(struct.pack("<HHI", 0xFFFE, number, 0) for number in (0xE000, 0xE00D, 0xE0DD))
_HEADER = 2048
"""Where in a data set most of its structure is."""


def mutated(chance: random.Random, content: bytes) -> bytes:
    """Change a few places, most of them near the beginning."""
    for _ in range(chance.randint(1, 2)):
        content = _changed(chance, content)
    return content


def mutated_stream(chance: random.Random, pdus: Sequence[bytes]) -> list[bytes]:
    """Change a PDU, or the order and number of them."""
    stream = list(pdus)
    for _ in range(chance.randint(1, 3)):
        index = chance.randrange(len(stream))
        one = stream[index]
        kind = chance.randrange(8)
        if kind == 0:  # its length no longer fits
            stream[index] = mutated(chance, one)
        elif kind in {1, 2, 3}:  # its length fits, its content is another
            stream[index] = pdu(one[0], mutated(chance, one[6:]))
        elif kind == 4:  # it says that it is something else
            stream[index] = bytes([chance.randrange(10)]) + one[1:]
        elif kind == 5:
            stream.insert(chance.randrange(len(stream)), one)
        elif kind == 6 and len(stream) > 1:
            del stream[index]
        else:
            stream = [*stream[:index], one[: chance.randrange(len(one))]]
        stream = [each for each in stream if each] or [b"\0"]
    return stream


def data_sets(stream: Sequence[bytes]) -> list[bytes]:
    """Return the data sets that are whole in a stream of PDUs, as far as it can be followed."""
    found, current = [], b""
    for fragment in _fragments(b"".join(stream)):
        if fragment[0] & 1:
            continue
        current += fragment[1:]
        if fragment[0] & 2:
            found.append(current)
            current = b""
    return found


def _fragments(stream: bytes) -> Iterator[bytes]:
    while len(stream) > 6:
        kind, _, length = struct.unpack_from(">BBI", stream)
        content, stream = stream[6 : 6 + length], stream[6 + length :]
        while kind == P_DATA_TF and len(content) > 5:
            (size,) = struct.unpack_from(">I", content)
            if size < 2 or 4 + size > len(content):
                return
            yield content[5 : 4 + size]
            content = content[4 + size :]


def _changed(chance: random.Random, content: bytes) -> bytes:
    if not content:
        return chance.randbytes(chance.randrange(20))
    where = chance.randrange(min(len(content), _HEADER) if chance.random() < 0.5 else len(content))
    until = where + chance.choice((1, 2, 4, 8, 100, 1000))
    before, after = content[:where], content[where:]
    extreme = chance.choice(_EXTREMES)
    ways = (
        before + bytes([after[0] ^ 1 << chance.randrange(8)]) + after[1:],
        before + bytes([chance.randrange(256)]) + after[1:],
        before + extreme + after[len(extreme) :],
        before + content[until:],
        before + content[where:until] + after,
        before + chance.randbytes(until - where) + after,
        before + chance.choice(_DELIMITERS) + after,
        before,
    )
    return chance.choice(ways)
