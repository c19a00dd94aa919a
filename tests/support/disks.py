"""Real file systems that fail as disks do: full, read-only, with I/O errors from fsync, slow, without power.

All of it is the kernel's own: nothing stands between a process and its system calls. Where nothing may be mounted (an
ordinary container), :func:`mounted` says so by :class:`NotPermitted`; ``unshare -rm`` around the tests is enough for
the tmpfs, loop devices need root.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
import subprocess
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MEBIBYTE = 1 << 20
_ALWAYS_WRITABLE = 8 * _MEBIBYTE
"""Of a disk with I/O errors: what its file system keeps for itself stands there, so that only new blocks fail."""

_SHUT_DOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, what xfstests cut the power with; and that not even the journal is written before."""
_NOT_EVEN_THE_JOURNAL = struct.pack("I", 2)


class NotPermitted(Exception):  # noqa: N818 - what the kernel says
    """This process may not mount; the message has the command and what it said."""


@contextmanager
def tmpfs(folder: Path, size: int, inodes: int = 0) -> Iterator[Path]:
    """Mount a small disk; inodes are as many as fit unless they are given."""
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes},mode=0700", "tmpfs"):
        yield folder


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount something on a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", *options, str(folder))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(folder))


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Leave no byte free."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        for block in (_MEBIBYTE, 4096, 1):
            with suppress(OSError):
                while file.write(bytes(block)):
                    pass
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def without_inodes(disk: Path) -> Iterator[None]:
    """Leave space free, but no file can be made."""
    fillers: list[Path] = []
    with suppress(OSError):
        while True:
            fillers.append(disk / f"filler-{len(fillers)}")
            fillers[-1].touch()
    try:
        yield
    finally:
        for filler in fillers:
            filler.unlink(missing_ok=True)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Let every path on the disk lead to a read-only mount; files that are open stay so, as when a kernel gives up."""
    _run("mount", "--bind", str(disk), str(disk))
    try:
        wait_until("nobody is opening a file by the new mount", lambda: _is_read_only(disk))
        yield
    finally:
        _run("umount", "--lazy", str(disk))


def _is_read_only(disk: Path) -> bool:
    """Make a mount read-only; False while the kernel says that it is busy."""
    try:
        _run("mount", "-o", "remount,bind,ro", str(disk))
    except NotPermitted as why:
        if "busy" in str(why):
            return False
        raise
    return True


@contextmanager
def slow(disk: Path, frozen: float = 0.4, thawed: float = 0.1) -> Iterator[None]:
    """Let writing stand still most of the time (FIFREEZE); both in seconds."""
    stop = threading.Event()

    def freeze_and_thaw() -> None:
        while not stop.wait(thawed):
            _run("fsfreeze", "--freeze", str(disk))
            stop.wait(frozen)
            _run("fsfreeze", "--unfreeze", str(disk))

    thread = threading.Thread(target=freeze_and_thaw)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class FailingDisk:
    """A disk (ext4) whose fsync says EIO while it fails, and whose kernel drops what it could not write.

    A loop device on a file system on a loop device on a tmpfs that is too small for it: when the tmpfs is full, the
    flush of the middle one fails, and for the uppermost that is an I/O error.

    Parameters
    ----------
    folder : Path
        Where all three are mounted; ``path`` is the uppermost.
    """

    def __init__(self, folder: Path) -> None:
        self._bottom, self._middle, self.path = folder / "bottom", folder / "middle", folder / "disk"

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Mount it, while it does not fail."""
        with (
            tmpfs(self._bottom, 144 * _MEBIBYTE),
            _ext4(self._bottom / "image", 160 * _MEBIBYTE, self._middle),
            _ext4(self._middle / "image", 152 * _MEBIBYTE, self.path),
        ):
            yield

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Let every fsync of a file fail."""
        with full(self._bottom):
            wait_until("fsync fails", lambda: _fails(self.path / "probe"))
            yield


class PowerlessDisk:
    """A disk (ext4 on a loop device) whose power can be cut: only what was written to the device is there afterwards.

    What stood in the kernel's memory, of bytes, names and sizes, is gone. The device keeps what it was given, in that
    order: one that loses what it said was synced is another fault.

    Parameters
    ----------
    folder : Path
        Where image and mount point are; ``path`` is the latter.
    """

    def __init__(self, folder: Path) -> None:
        self._image, self.path = folder / "image", folder / "disk"

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Make and mount it."""
        self._image.touch()
        os.truncate(self._image, 256 * _MEBIBYTE)
        # With a journal: what ext4 changes of names and sizes is in memory alone until then.
        _run("mkfs.ext4", "-q", "-O", "has_journal", str(self._image))
        self.path.mkdir()
        self._mount()
        try:
            yield
        finally:
            _run("umount", "--lazy", str(self.path))

    def cut(self) -> None:
        """Let nothing reach the device any more: every system call that would fails from now on."""
        cut_power(self.path)

    def restore(self) -> None:
        """Mount it with what is on the device; whoever had files there has to be dead."""
        wait_until("nobody has a file there", self._is_unmounted)
        self._mount()

    def _is_unmounted(self) -> bool:
        try:
            _run("umount", str(self.path))
        except NotPermitted as why:
            if "busy" in str(why):
                return False
            raise
        return True

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.path))


def cut_power(disk: Path) -> None:
    """Cut the power of the disk that is mounted here."""
    descriptor = os.open(disk, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _SHUT_DOWN, _NOT_EVEN_THE_JOURNAL)
    finally:
        os.close(descriptor)


def _fails(probe: Path) -> bool:
    try:
        with probe.open("wb", buffering=0) as file:
            file.write(os.urandom(1 << 16))
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno == errno.EIO
    finally:
        probe.unlink()
    return False


@contextmanager
def _ext4(image: Path, size: int, folder: Path) -> Iterator[None]:
    image.touch()
    os.truncate(image, size)
    _run("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard", str(image))
    with image.open("r+b") as file:
        beginning = file.read(_ALWAYS_WRITABLE)
        file.seek(0)
        file.write(beginning)
    with mounted(folder, "-o", "loop,errors=continue", str(image)):
        (folder / "lost+found").rmdir()
        yield


def _run(*command: str) -> None:
    if shutil.which(command[0]) is None:
        msg = f"{command[0]} is not installed"
        raise NotPermitted(msg)
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        msg = f"{' '.join(command[:3])} ...: {done.stderr.strip()}"
        raise NotPermitted(msg)
