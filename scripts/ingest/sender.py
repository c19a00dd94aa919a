"""A modality that costs next to nothing: what it sends is encoded before the clock runs, and it only reads statuses."""

from __future__ import annotations

import struct
import threading
import time
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tests.support.wire import ASSOCIATE_AC, C_STORE_RQ, RELEASE, Wire, associate_rq, command_set, p_data

if TYPE_CHECKING:
    from collections.abc import Sequence

_UID_ROOT = "1.2.826.0.1.3680043.10.9999."
_NUMBERS = count(10**11)
_PLACE = f"{_UID_ROOT}{0:012d}"
_MAXIMUM_LENGTH_ITEM = b"\x51\x00\x00\x04"
_PATIENCE = 300.0


@dataclass(frozen=True)
class Image:
    """The data set of a CT image (a Part 10 file has it after the meta information), with a place for its UID."""

    head: bytes
    pixels: bytes
    repeated: int = 1
    """How often ``pixels`` comes: an object of gigabytes takes no memory here."""

    @property
    def size(self) -> int:
        """Bytes of the data set."""
        return len(self.head) + self.repeated * len(self.pixels)


def ct(rows: int = 512, columns: int = 512, *, frames: int = 1, seed: int = 1) -> Image:
    """Make a CT image of 16 bits: noise around an ellipse, nobody's."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, _PLACE
    dataset.PatientName, dataset.PatientID = "MADE^UP", "0"
    dataset.Modality, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "CT", generate_uid(), generate_uid()
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    if frames > 1:
        dataset.NumberOfFrames = frames
    y, x = np.ogrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    noise = np.random.default_rng(seed).normal(60, 20, (rows, columns))
    pixels = np.clip(noise + 1000 * ((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1), 0, 4095).astype("<u2").tobytes()
    encoded = BytesIO()
    dataset.save_as(encoded, implicit_vr=False, little_endian=True)
    element = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(pixels) * frames)
    return Image(encoded.getvalue() + element, pixels, frames)


class Association:
    """One association, with PDUs as long as the acceptor takes them."""

    def __init__(self, port: int, called: str, longest: int) -> None:
        self.wire = Wire(port)
        self.wire.socket.settimeout(_PATIENCE)
        request = associate_rq(CTImageStorage, [ExplicitVRLittleEndian], called, "MODALITY")
        self.wire.send(request)
        kind, content = self.wire.receive()
        if kind != ASSOCIATE_AC:
            msg = f"no association: PDU type {kind}"
            raise OSError(msg)
        (accepted,) = struct.unpack_from(">I", content, content.rindex(_MAXIMUM_LENGTH_ITEM) + 4)
        self._fragment = min(accepted or longest, longest) - 6

    def encoded(self, image: Image) -> tuple[bytes, int]:
        """Encode what follows the first data PDU, once and for all: the bytes, and how often they are sent."""
        if image.repeated == 1:
            return _p_datas(image.pixels, self._fragment), 1
        # The last of so many PDUs says that it is: it is sent apart, as a fragment of no bytes.
        return _p_datas(image.pixels, self._fragment, last=False), image.repeated

    def store(self, image: Image, encoded: tuple[bytes, int]) -> None:
        """C-STORE a new instance; anything but Success is an error."""
        uid = f"{_UID_ROOT}{next(_NUMBERS)}"
        head = image.head.replace(_PLACE.encode(), uid.encode())
        self.wire.send(p_data(command_set(C_STORE_RQ, CTImageStorage, uid), command=True) + p_data(head, last=False))
        pdus, times = encoded
        for _ in range(times):
            self.wire.socket.sendall(pdus)
        if times > 1:
            self.wire.send(p_data(b""))
        status = self.wire.status()
        if status != 0:
            msg = f"no Success: {status}"
            raise OSError(msg)

    def release(self) -> None:
        """End it."""
        self.wire.send(RELEASE)
        self.wire.receive()
        self.wire.socket.close()


def seconds_for(opened: Sequence[Association], image: Image, each: int) -> float:
    """Send ``each`` instances over every association at once, and end them; the time without begin and end."""
    encoded = opened[0].encoded(image)
    failures: list[OSError] = []

    def send(association: Association) -> None:
        try:
            for _ in range(each):
                association.store(image, encoded)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=send, args=(association,)) for association in opened]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - started
    if failures:
        raise failures[0]
    for association in opened:
        association.release()
    return seconds


def _p_datas(content: bytes, length: int, *, last: bool = True) -> bytes:
    starts: Sequence[int] = range(0, len(content), length)
    return b"".join(
        p_data(content[start : start + length], last=last and start + length >= len(content)) for start in starts
    )
