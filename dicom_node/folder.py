"""A folder as a destination: what :class:`~dicom_node.storage_scu.StorageSCU` is to a PACS, behind the same methods."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import time
from contextlib import suppress
from itertools import chain, count
from typing import TYPE_CHECKING

from dicom_node.errors import DestinationDown, Hold
from dicom_node.model import Priority, StoreStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from dicom_node.model import SOPInstance

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_MAXIMUM_UID_LENGTH = 64
_FILE_MODE = 0o640
_DIRECTORY_MODE = 0o750


class FolderSender:
    """Writes instances as ``<study>/<series>/<instance>.dcm``.

    Parameters
    ----------
    folder : Path
        The root. It is made when it is missing.

    Attributes
    ----------
    echo_seconds : float
        Longest time that :meth:`echo` takes; a folder over a network can be slow to answer.
    """

    echo_seconds = 60.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(
        self,
        path: Path,
        instance: SOPInstance,
        contexts: Iterable[tuple[str, str]] = (),  # noqa: ARG002 - the signature that all senders share
        *,
        failures: int = 0,  # noqa: ARG002 - the signature that all senders share
        priority: Priority = Priority.MEDIUM,  # noqa: ARG002 - the signature that all senders share
    ) -> StoreStatus:
        """Write an instance durably; the same bytes again change nothing, other bytes go beside the first.

        Parameters
        ----------
        path : Path
            The clean file, with File Meta Information.
        instance : SOPInstance
            Its UIDs, which become names.
        contexts, failures, priority
            Of no consequence here.

        Raises
        ------
        Hold
            When one of the UIDs is no UID.
        DestinationDown
            When the folder cannot be written.
        """
        uids = instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid
        if not all(len(uid) <= _MAXIMUM_UID_LENGTH and _UID.fullmatch(uid) for uid in uids):
            msg = "a UID of the instance cannot be a file name"
            raise Hold(msg)
        study, series, name = uids
        try:
            self._write(path, self._folder / study / series, name)
        except OSError as error:
            raise _down(error) from None
        return StoreStatus(0x0000)

    def echo(self) -> float:
        """See that the folder can be written; return the seconds that took.

        Raises
        ------
        DestinationDown
            When it cannot.
        """
        started = time.monotonic()
        probe = self._folder / f".probe-{os.getpid()}"
        try:
            _make(self._folder)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise _down(error) from None
        return time.monotonic() - started

    def close(self) -> None:
        """Nothing stays open."""

    def _write(self, path: Path, directory: Path, name: str) -> None:
        _make(directory)
        target = next(target for target in _names(directory, name) if not target.exists() or _is_same(path, target))
        if not target.exists():
            # The spool's name is this delivery's own: a repeat after a crash writes over what was left here.
            temporary = directory / f".{path.name}.part"
            try:
                _copy(path, temporary)
            except OSError:
                with suppress(OSError):  # half a file would keep the room that the whole one needs
                    temporary.unlink(missing_ok=True)
                raise
            temporary.replace(target)
        # Also when it stands there already: the run that wrote it may have ended before this.
        for made in (directory, directory.parent, self._folder):
            _sync(made)


def _make(directory: Path) -> None:
    """Make a directory and those above it, durably; what is there already is left as it is."""
    if not directory.exists():
        _make(directory.parent)
        directory.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        _sync(directory.parent)


def _names(directory: Path, name: str) -> Iterator[Path]:
    suffixes = chain([""], (f"-{number}" for number in count(2)))
    return (directory / f"{name}{suffix}.dcm" for suffix in suffixes)


def _is_same(path: Path, other: Path) -> bool:
    # Not filecmp's cache: it goes by size and modification time.
    filecmp.clear_cache()
    return filecmp.cmp(path, other, shallow=False)


def _copy(path: Path, temporary: Path) -> None:
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE_MODE)
    with path.open("rb") as source, os.fdopen(descriptor, "wb") as target:
        os.fchmod(descriptor, _FILE_MODE)
        shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        os.fsync(descriptor)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _down(error: OSError) -> DestinationDown:
    """Not the error's own text: it quotes the path, in which there are UIDs."""
    return DestinationDown(f"the folder cannot be written: {error.strerror}")
