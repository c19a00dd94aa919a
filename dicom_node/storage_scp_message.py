"""DIMSE messages as they stand on the wire (PS3.7 6.3, 9.3, 10.3): commands of C-STORE, C-ECHO and N-EVENT-REPORT."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MAXIMUM_COMMAND_SET = 1 << 16
"""Longest command set, in bytes: those of C-STORE and C-ECHO have some hundred."""


class Field(IntEnum):
    """Command Field (0000,0100) of the requests that are served."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100


_RESPONSE = 0x8000
_LONGEST_UID = 64
_NO_DATA_SET = 0x0101
_COMMAND, _LAST = 1, 2
_P_DATA_TF = 4

_GROUP_LENGTH, _SOP_CLASS, _FIELD, _MESSAGE_ID = 0x0000, 0x0002, 0x0100, 0x0110
_RESPONDED_TO, _DATA_SET_TYPE, _STATUS, _ERROR_COMMENT = 0x0120, 0x0800, 0x0900, 0x0902
_SOP_INSTANCE, _EVENT_TYPE = 0x1000, 0x1002


class Command(NamedTuple):
    """What a request says; ``message_id`` is None in one that cannot be answered."""

    field: int
    message_id: int | None
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool
    event_type: int | None = None


def decode(command_set: bytes) -> Command:
    """Read a command set (PS3.7 6.3.1: implicit VR little endian).

    Raises
    ------
    ValueError
        When it is none.
    """
    found = dict(_elements(command_set))
    field, data_set_type = _number(found.get(_FIELD)), _number(found.get(_DATA_SET_TYPE))
    if field is None or data_set_type is None:
        msg = "not a command set"
        raise ValueError(msg)
    sop_class_uid, sop_instance_uid = (_uid(found.get(element, b"")) for element in (_SOP_CLASS, _SOP_INSTANCE))
    has_data_set = data_set_type != _NO_DATA_SET
    message_id, event_type = _number(found.get(_MESSAGE_ID)), _number(found.get(_EVENT_TYPE))
    return Command(field, message_id, sop_class_uid, sop_instance_uid, has_data_set, event_type)


def response(command: Command, context_id: int, status: int, comment: str, longest: int) -> bytes:
    """Encode the response to a request, in PDUs of at most ``longest`` bytes (0: of any length).

    It repeats UIDs, not what is too long to be one: so it is short, and who does not read it holds nothing up.
    """
    elements = [
        (_SOP_CLASS, _repeated(command.sop_class_uid)),
        (_FIELD, struct.pack("<H", command.field | _RESPONSE)),
        (_RESPONDED_TO, struct.pack("<H", command.message_id or 0)),
        (_DATA_SET_TYPE, struct.pack("<H", _NO_DATA_SET)),
        (_STATUS, struct.pack("<H", status)),
        *([(_ERROR_COMMENT, _padded(comment, b" "))] if comment else []),
        *([(_SOP_INSTANCE, uid)] if (uid := _repeated(command.sop_instance_uid)) else []),
    ]
    encoded = b"".join(_element(*element) for element in elements)
    encoded = _element(_GROUP_LENGTH, struct.pack("<I", len(encoded))) + encoded
    step = max(longest - 6, 1) if longest else len(encoded)
    return b"".join(
        _p_data(context_id, encoded[start : start + step], is_last=start + step >= len(encoded))
        for start in range(0, len(encoded), step)
    )


def is_command(control: int) -> bool:
    """Whether a fragment is of a command set, by its control header (PS3.8 E.2)."""
    return bool(control & _COMMAND)


def is_last(control: int) -> bool:
    """Whether a fragment ends a command set or data set."""
    return bool(control & _LAST)


def _elements(command_set: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(command_set):
        try:
            group, element, length = struct.unpack_from("<HHI", command_set, position)
        except struct.error:
            group, element, length = 1, 0, 0
        position += 8 + length
        if group or position > len(command_set):
            msg = "not a command set"
            raise ValueError(msg)
        yield element, command_set[position - length : position]


def _number(value: bytes | None) -> int | None:
    return int.from_bytes(value, "little") if value is not None and len(value) == struct.calcsize("<H") else None


def _uid(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii", "replace")


def _repeated(uid: str) -> bytes:
    return _padded(uid, b"\0") if len(uid) <= _LONGEST_UID else b""


def _padded(text: str, pad: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + pad * (len(value) % 2)


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, element, len(value)) + value


def _p_data(context_id: int, content: bytes, *, is_last: bool) -> bytes:
    control = _COMMAND | _LAST * is_last
    return struct.pack(">BxIIBB", _P_DATA_TF, len(content) + 6, len(content) + 2, context_id, control) + content
