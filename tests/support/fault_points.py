"""Where a process of the node can be made to die: by a signal, once, at each transition that has to last.

No line of the node knows of this. ``sitecustomize.py`` in a folder that the node's processes have on their path wraps
the functions around the transitions; a file in ``armed`` beside it, with the name of a point, holds the signal that the
next process sends itself there, and perhaps the disk whose power it cuts before.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from contextlib import suppress
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tests.support.disks import cut_power

if TYPE_CHECKING:
    from collections.abc import Callable

_PIXEL_DATA = 0x7FE00010
_P_DATA_TF = 4
_HOOK = """
from pathlib import Path
from tests.support.fault_points import install

install(Path(__file__).parent)
"""
_LARGE = 10_000
"""Bytes of a PDU that is not a command: it has the beginning of a data set."""


class Point(NamedTuple):
    """A moment in the life of an instance.

    Attributes
    ----------
    role : str
        In whose processes.
    when : str
        Before or after the call of ``function``.
    function : str
        Module and name in it: ``package.module:Class.method``.
    applies : callable
        Takes the result (None before the call) and the arguments, and tells whether this call is the one.
    """

    role: str
    when: Literal["before", "after"]
    function: str
    applies: Callable[..., bool] = lambda *_: True


def _is_file(_: object, descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _appears_in(folder: str, suffix: str) -> Callable[..., bool]:
    return lambda _result, _path, target: target.parent.name == folder and target.suffix == suffix


POINTS = {
    "redact: claiming": Point("redact", "before", "dicom_node.queue.ledger:lease"),
    "received: whole": Point("receive", "before", "dicom_node.storage_scp_file:IncomingFile.seal"),
    "received: written": Point("receive", "before", "dicom_node.storage_scp_file:sync_file"),
    "received: synced": Point("receive", "after", "dicom_node.storage_scp_file:sync_file"),
    "received: renamed": Point("receive", "after", "dicom_node.queue.spool:rename"),
    "received: row": Point("receive", "after", "dicom_node.queue.ledger:Ledger.accept"),
    "redact: claimed": Point("redact", "after", "dicom_node.queue.ledger:Ledger.claim", lambda entry, *_: bool(entry)),
    "redact: mid-encode": Point(
        "redact",
        "before",
        "pydicom.filewriter:write_data_element",
        lambda _, _file, one, *_rest: one.tag == _PIXEL_DATA,
    ),
    "redact: clean file written": Point("redact", "before", "os:fsync", _is_file),
    "redact: clean file synced": Point("redact", "after", "os:fsync", _is_file),
    "redact: clean file renamed": Point("redact", "after", "pathlib:Path.replace", _appears_in("redacted", ".dcm")),
    "redact: clean file durable": Point("redact", "after", "dicom_node.queue.spool:Spool.write_redacted"),
    "redact: settled": Point("redact", "after", "dicom_node.queue.ledger:Ledger.settle_redacted"),
    "send: claimed": Point(
        "send", "after", "dicom_node.queue.ledger:Ledger.claim_deliveries", lambda batch, *_: bool(batch)
    ),
    "send: mid C-STORE": Point(
        "send",
        "after",
        "pynetdicom.transport:AssociationSocket.send",
        lambda _, _socket, pdu: pdu[0] == _P_DATA_TF and len(pdu) > _LARGE,
    ),
    "send: status before settle": Point("send", "before", "dicom_node.queue.ledger:Ledger.settle_sent"),
    "send: settled": Point("send", "after", "dicom_node.queue.ledger:Ledger.settle_sent"),
    "send: original deleted": Point(
        "send", "after", "pathlib:Path.unlink", lambda _, path: path.parent.name == "received" and path.suffix == ".dcm"
    ),
}

_PUT = "dicom_node.queue.object_spool:ObjectSpool._create"


def _is_put_to(folder: str, suffix: str) -> Callable[..., bool]:
    return lambda _result, _spool, key, _file: key.startswith(folder) and key.endswith(suffix)


STORE_POINTS = {
    "store: sidecar put": Point("receive", "after", _PUT, _is_put_to("received/", ".json")),
    "store: original put": Point("receive", "after", _PUT, _is_put_to("received/", ".dcm")),
    "store: clean file written": Point("redact", "before", _PUT, _is_put_to("redacted/", ".dcm")),
    "store: clean file put": Point("redact", "after", _PUT, _is_put_to("redacted/", ".dcm")),
    "store: original copied": Point("redact", "after", "dicom_node.queue.object_spool:ObjectSpool._fetch"),
    "store: clean file copied": Point("send", "after", "dicom_node.queue.object_spool:ObjectSpool._fetch"),
    "store: original deleted": Point(
        "send", "after", "dicom_node.queue.object_spool:ObjectSpool._delete", lambda _, _spool, keys: len(keys) > 1
    ),
}
"""The same where the spool is in a store; the ledger's points are those above."""


class Faults:
    """Arms the points for the node's processes.

    Parameters
    ----------
    folder : Path
        Goes on the path of the node's processes, and keeps what they give up.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._armed = folder / "armed"
        self._kept = folder / "kept"
        for made in (self._armed, self._kept):
            made.mkdir(parents=True)
        (folder / "sitecustomize.py").write_text(_HOOK, encoding="utf-8")

    def arm(self, name: str, number: signal.Signals = signal.SIGKILL, disk: Path | None = None) -> None:
        """Let the next process that comes to this point die there; SIGSTOP leaves it standing, for ever.

        The power of ``disk`` is cut at the same moment.
        """
        whole = self.folder / "arming"
        whole.write_text("\n".join([number.name, *([str(disk)] if disk else [])]), encoding="utf-8")
        whole.replace(self._armed / name)

    @property
    def is_armed(self) -> bool:
        """Whether there is a point to which nobody has come yet."""
        return any(self._armed.iterdir())

    def originals(self) -> list[bytes]:
        """Return every original that stood in the spool, as it was when it was deleted."""
        return [path.read_bytes() for path in self._kept.iterdir()]


def install(folder: Path) -> None:
    """Wrap what this process has of the points; ``sitecustomize.py`` calls this."""
    command = " ".join(sys.orig_argv)
    if "dicom_node" not in command:
        return
    _keep_originals(folder / "kept")
    for name, point in {**POINTS, **STORE_POINTS}.items():
        if f"dicom_node.roles.{point.role}" in command:
            _wrap(point, partial(_die_if_armed, folder / "armed" / name))


def _wrap(point: Point, die_if_armed: Callable[[], None]) -> None:
    owner, name, inner = _found(point.function)

    @wraps(inner)
    def outer(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the function takes
        if point.when == "before" and point.applies(None, *arguments):
            die_if_armed()
        result = inner(*arguments, **named)
        if point.when == "after" and point.applies(result, *arguments):
            die_if_armed()
        return result

    setattr(owner, name, outer)


def _found(function: str) -> tuple[Any, str, Any]:
    module, _, path = function.partition(":")
    owner: Any = import_module(module)
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each)
    return owner, name, getattr(owner, name)


def _die_if_armed(armed: Path) -> None:
    with suppress(FileNotFoundError):
        name, *disks = armed.read_text(encoding="utf-8").splitlines()
        os.unlink(armed)  # noqa: PTH108 - Path.unlink is a point; of two processes one finds the file
        for disk in disks:
            cut_power(Path(disk))
        os.kill(os.getpid(), signal.Signals[name])


def _keep_originals(kept: Path) -> None:
    """Link what is deleted from the spool: originals are looked at as they were at the end."""
    owner, name, inner = _found("dicom_node.queue.spool:Spool.remove")

    @wraps(inner)
    def outer(spool: Any, entry_id: str, attempts: int) -> None:  # noqa: ANN401 - imported where it is wrapped
        with suppress(OSError):  # it is gone, kept already, or on another disk
            os.link(spool.original(entry_id), kept / f"{entry_id}.dcm")
        inner(spool, entry_id, attempts)

    setattr(owner, name, outer)
