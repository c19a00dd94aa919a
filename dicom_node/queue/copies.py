"""Copies of what is worked on, on a local disk: each goes with its work, and none is anything that has to last."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dicom_node.queue.files import refusals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Copies:
    """A folder of copies, each in a folder of its own that is locked while somebody has it in hand.

    Parameters
    ----------
    folder : Path
        Below a folder that is this user's alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        """Make the folder; SpoolFull when that fails."""
        with refusals():
            self._folder.mkdir(mode=0o700, exist_ok=True)

    def unnamed(self) -> BinaryIO:
        """Open a file without a name: it is gone with whoever has it open."""
        with refusals():
            return tempfile.TemporaryFile(dir=self._folder)

    @contextmanager
    def lent(self, name: str, fetch: Callable[[Path], object]) -> Iterator[Path]:
        """Lend a file of this name, which ``fetch`` writes."""
        with refusals():
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # It tells the sweep of any process that somebody has this in hand, and ends with the process.
            fcntl.flock(lock, fcntl.LOCK_EX)
            fetch(folder / name)
            yield folder / name
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)

    def sweep(self, older_than_seconds: float) -> int:
        """Delete the copies of workers that died: nobody has locked them; say how many that was."""
        return sum(self._swept(folder, older_than_seconds) for folder in self._folder.iterdir())

    @staticmethod
    def _swept(folder: Path, older_than_seconds: float) -> bool:
        with suppress(OSError):  # it goes with its worker at this moment, or is in its hand
            if time.time() - folder.stat().st_mtime < older_than_seconds:
                return False
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)
            return True
        return False
