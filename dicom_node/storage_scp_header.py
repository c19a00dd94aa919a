"""Who a received instance is, and whether all of it arrived, without looking at its pixels.

A parser that is content with whatever bytes are there finds an empty data set in 37 bytes of 0xFF, and half an image in
a transfer that broke off. Here every length has to fit: what is not whole is refused while its sender still has it.
"""

from __future__ import annotations

import mmap
import struct
import tempfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from dicom_node.errors import Refuse
from dicom_node.model import SOPInstance

if TYPE_CHECKING:
    from collections.abc import Iterator

MAXIMUM_INFLATED_BYTES = 1 << 30
"""What a deflated data set may grow to: it is unpacked on disk, and nothing else bounds it."""

_IMPLICIT_VR = "1.2.840.10008.1.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"

_REQUIRED = {
    0x00080016: "sop_class_uid",
    0x00080018: "sop_instance_uid",
    0x0020000D: "study_instance_uid",
    0x0020000E: "series_instance_uid",
}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DELIMITER_GROUP = 0xFFFE
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_MAXIMUM_DEPTH = 64
_MAXIMUM_UID_LENGTH = 64
_CHUNK = 1 << 16
_GROUP_LENGTH_VALUE, _AFTER_GROUP_LENGTH = 140, 144


Content = memoryview | mmap.mmap
"""Bytes that are there, or come when they are looked at."""


class _Encoding(NamedTuple):
    explicit: bool
    begin: struct.Struct
    """Group, element, VR and short length."""
    long: struct.Struct


def _encoding(endian: str, *, explicit: bool) -> _Encoding:
    return _Encoding(explicit, struct.Struct(endian + "HH2sH"), struct.Struct(endian + "I"))


_IMPLICIT = _encoding("<", explicit=False)


class _Element(NamedTuple):
    tag: int
    vr: bytes
    length: int
    value: int


def read_header(
    received: Content, transfer_syntax_uid: str, inflate_limit: int = MAXIMUM_INFLATED_BYTES
) -> SOPInstance:
    """Read the identity of an instance, and see that its data set is whole (PS3.5 7, PS3.10 7.1).

    Values that do not matter are stepped over: what is mapped is not read there.

    Parameters
    ----------
    received : memoryview or mmap.mmap
        All of a file: preamble and File Meta Information with its group length, and the data set.
    transfer_syntax_uid : str
        That of the accepted presentation context.
    inflate_limit : int
        Bytes to which a deflated data set may grow.

    Raises
    ------
    Refuse
        With C000: the data set cannot be parsed, is not whole, or lacks a UID that is required.
    """
    endian = ">" if transfer_syntax_uid == _BIG_ENDIAN else "<"
    encoding = _encoding(endian, explicit=transfer_syntax_uid != _IMPLICIT_VR)
    found: dict[int, bytes] = {}
    start = _AFTER_GROUP_LENGTH + struct.unpack_from("<I", received, _GROUP_LENGTH_VALUE)[0]
    if transfer_syntax_uid == _DEFLATED:
        with _inflated(received, start, inflate_limit) as dataset:
            _walk(dataset, 0, encoding, found)
    else:
        _walk(received, start, encoding, found)
    uids = {name: _uid(found.get(tag, b"")) for tag, name in _REQUIRED.items()}
    return SOPInstance(**uids, transfer_syntax_uid=transfer_syntax_uid)


def _walk(data: Content, position: int, encoding: _Encoding, found: dict[int, bytes], depth: int = 0) -> int:
    """Step over the elements of a data set, or of an item of undefined length; return where it ends.

    ``found`` takes the values of the required elements of the outermost data set.
    """
    while position < len(data):
        element = _element(data, position, encoding)
        if element.tag == _ITEM_END and depth:
            return element.value
        if element.tag >> 16 == _DELIMITER_GROUP:
            raise _unparseable()
        if element.length == _UNDEFINED:
            # UN of undefined length holds items in implicit VR little endian, whatever is around it (PS3.5 6.2.2).
            inner = _IMPLICIT if element.vr == b"UN" else encoding
            position = _skip_items(data, element.value, inner, depth + 1)
            continue
        position = _after(data, element)
        if depth == 0 and element.tag in _REQUIRED:
            found[element.tag] = bytes(data[element.value : min(position, element.value + _CHUNK)])
    if depth:
        raise _truncated()
    return position


def _skip_items(data: Content, position: int, encoding: _Encoding, depth: int) -> int:
    """Step over the items of a sequence, or the fragments of encapsulated pixel data (PS3.5 7.5, A.4)."""
    if depth > _MAXIMUM_DEPTH:
        raise _unparseable()
    while True:
        item = _element(data, position, encoding)
        if item.tag == _SEQUENCE_END:
            return item.value
        if item.tag != _ITEM:
            raise _unparseable()
        is_open = item.length == _UNDEFINED
        position = _walk(data, item.value, encoding, {}, depth) if is_open else _after(data, item)


def _element(data: Content, position: int, encoding: _Encoding) -> _Element:
    """Read tag, VR and length (PS3.5 7.1)."""
    try:
        group, number, vr, length = encoding.begin.unpack_from(data, position)
        tag = group << 16 | number
        if not encoding.explicit or group == _DELIMITER_GROUP:
            (length,) = encoding.long.unpack_from(data, position + 4)
            return _Element(tag, b"", length, position + 8)
        if vr in _LONG_VRS:
            (length,) = encoding.long.unpack_from(data, position + 8)
            return _Element(tag, vr, length, position + 12)
    except struct.error:
        raise _truncated() from None
    if not (vr.isalpha() and vr.isupper()):
        raise _unparseable()
    return _Element(tag, vr, length, position + 8)


def _after(data: Content, element: _Element) -> int:
    end = element.value + element.length
    if end > len(data):
        raise _truncated()
    return end


@contextmanager
def _inflated(received: Content, start: int, limit: int) -> Iterator[mmap.mmap]:
    """Unpack a deflated data set (PS3.5 A.5) into a nameless file beside the received one, and map it."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    with tempfile.TemporaryFile() as file:
        try:
            for position in range(start, len(received), _CHUNK):
                pending = received[position : position + _CHUNK]
                # At its end zlib leaves the rest of the input where it was: the pad byte, or whatever else is there.
                while pending and not inflater.eof:
                    file.write(inflater.decompress(pending, _CHUNK))
                    pending = inflater.unconsumed_tail
                    if file.tell() > limit:
                        raise Refuse(0xC000, "the deflated data set is too large")
            file.write(inflater.flush())
        except zlib.error:
            raise _unparseable() from None
        file.flush()
        if not inflater.eof or not file.tell():
            raise _truncated()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as dataset:
            yield dataset


def _uid(value: bytes) -> str:
    text = value.rstrip(b"\0 ")
    if not text:
        raise Refuse(0xC000, "a required UID is missing")
    if len(text) > _MAXIMUM_UID_LENGTH or not text.isascii():
        raise _unparseable()
    return text.decode("ascii")


def _truncated() -> Refuse:
    return Refuse(0xC000, "the data set is not whole")


def _unparseable() -> Refuse:
    return Refuse(0xC000, "the data set cannot be parsed")
