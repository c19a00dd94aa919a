"""Files that are on the disk when a function returns, and what the file system refuses."""

from __future__ import annotations

import io
import os
import time
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from dicom_node.errors import SpoolFull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from _typeshed import ReadableBuffer

_BUFFER = 1 << 20


class _Raw(io.FileIO):
    """Remembers what the file system refused: a writer makes other errors of it, and has errors of its own."""

    refusal: SpoolFull | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            with refusals():
                return super().write(data)
        except SpoolFull as full:
            self.refusal = full
            raise


@contextmanager
def spool_file(descriptor: int) -> Iterator[BinaryIO]:
    """Lend a file to a writer; SpoolFull where the file system refused something, whatever the writer made of it."""
    raw = _Raw(descriptor, "w")
    try:
        with io.BufferedWriter(raw, _BUFFER) as file:
            yield file
    except Exception:
        if raw.refusal is not None:
            raise raw.refusal from None
        raise


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let ``path`` appear with all of its bytes on the disk, or not at all; its directory is the caller's to sync."""
    # A name of its own: after a lost ledger two workers may carry the same attempt number.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with refusals():
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with spool_file(descriptor) as file:
            write(file)
            file.flush()
            with refusals():
                os.fsync(descriptor)
        with refusals():
            temporary.replace(path)
    except BaseException:
        remove(temporary)
        raise


def overwrite(path: Path) -> None:
    """Write zeros over what a file has, durably."""
    with path.open("r+b") as file:
        left = os.fstat(file.fileno()).st_size
        while left:
            left -= file.write(bytes(min(left, _BUFFER)))
        file.flush()
        os.fsync(file.fileno())


def remove(*paths: Path) -> None:
    """Delete what was begun, as far as the file system lets it."""
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def refusals() -> Iterator[None]:
    """Let what the file system refuses become the spool's error."""
    try:
        yield
    except OSError as error:
        raise refusal_of(error) from None


def refusal_of(error: OSError) -> SpoolFull:
    """Return the spool's error for one of the file system; not with its own text, which quotes the path."""
    return SpoolFull(f"the spool cannot be written: {error.strerror}")


def rename(path: str, name: str) -> None:
    """Give a file another name on the same file system; its directory is the caller's to sync."""
    os.replace(path, name)  # noqa: PTH105 - for every instance: pathlib takes a name apart, and puts it together again


def sync_file(descriptor: int) -> None:
    """Return when the disk has what was written."""
    os.fsync(descriptor)


def sync_directory(directory: Path) -> None:
    """Return when the disk has the names."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_of(path: Path) -> int:
    """Return bytes; 0 when the file is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def age_of(path: Path) -> float:
    """Return seconds since it was written; 0 when it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
