"""What stands around the node: senders and destinations that others have written."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.support.node import AE_TITLE, COMMAND_SECONDS
from tests.support.processes import end_marked, environment, free_port, is_listening, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.network import Machine

_PROPOSALS = {
    ImplicitVRLittleEndian: "-xi",
    ExplicitVRLittleEndian: "-xe",
    ExplicitVRBigEndian: "-xb",
    DeflatedExplicitVRLittleEndian: "-xd",
    JPEGBaseline8Bit: "-xy",
    JPEGExtended12Bit: "-xx",
    JPEGLosslessSV1: "-xs",
    JPEGLSLossless: "-xt",
    JPEG2000Lossless: "-xv",
    JPEG2000: "-xw",
    RLELossless: "-xr",
}
"""How dcmtk's storescu is told to propose a transfer syntax."""


def storescu(
    port: int, *paths: Path, called: str = AE_TITLE, host: str = "127.0.0.1", within: Sequence[str] = ()
) -> None:
    """Send files with dcmtk, each in its own transfer syntax; an error is an exception."""
    by_option: dict[str, list[Path]] = {}
    for path in paths:
        syntax = dcmread(path, specific_tags=["SOPClassUID"]).file_meta.TransferSyntaxUID
        by_option.setdefault(_PROPOSALS[UID(syntax)], []).append(path)
    for option, files in by_option.items():
        subprocess.run(
            [*within, "storescu", "-R", option, "-aet", "MODALITY", "-aec", called, host, str(port), *map(str, files)],
            env=environment(files[0].parent),
            timeout=COMMAND_SECONDS,
            check=True,
        )


class StoreSCP:
    """dcmtk's storescp as a destination: it keeps what comes, bit for bit, and what comes again beside it.

    Parameters
    ----------
    folder : Path
        Where it keeps it.
    ae_title : str
        How it is called.
    options : str
        More options of storescp.
    machine : Machine, optional
        Where it runs; here without one.
    """

    def __init__(self, folder: Path, ae_title: str = "PACS", *options: str, machine: Machine | None = None) -> None:
        self.folder = folder
        self._host = machine.address if machine else "127.0.0.1"
        self._within = machine.within if machine else ()
        self.received = folder / "received"
        self.received.mkdir(parents=True)
        self.port = free_port()
        self.ae_title = ae_title
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def destination(self) -> dict[str, Any]:
        """How a node's configuration names it."""
        return {"ae_title": self.ae_title, "host": self._host, "port": self.port, "connect_timeout": 5}

    def start(self) -> None:
        """Start it, and wait until it listens."""
        told = ["-B", "+xa", "+uf", "--fork", *self._options, "-aet", self.ae_title, "-od", str(self.received)]
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [*self._within, "storescp", *told, str(self.port)],
                env=environment(self.folder),
                stdout=output,
                stderr=output,
            )
        wait_until("storescp listens", self._is_listening)

    def end(self) -> None:
        """Kill it, if it runs."""
        if self._process:
            self._process.kill()
            self._process.wait()
            end_marked(self.folder)

    def _is_listening(self) -> bool:
        if not self._within:
            return is_listening(self.port)
        echo = [*self._within, "echoscu", "-aec", self.ae_title, self._host, str(self.port)]
        return subprocess.run(echo, capture_output=True, timeout=COMMAND_SECONDS, check=False).returncode == 0

    def files(self) -> dict[str, Path]:
        """Find what it has, by SOP Instance UID."""
        return {uid: paths[-1] for uid, paths in self.arrivals().items()}

    def arrivals(self) -> dict[str, list[Path]]:
        """Find everything that came, by SOP Instance UID."""
        found: dict[str, list[Path]] = {}
        for path in self.received.iterdir():
            with suppress(InvalidDicomError, EOFError, AttributeError):  # it is being written
                uid = str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
                found.setdefault(uid, []).append(path)
        return found
