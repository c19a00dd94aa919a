"""Orthanc as a destination: a PACS that looks into what it is sent."""

from __future__ import annotations

import json
import subprocess
from http.client import HTTPConnection
from shutil import which
from typing import TYPE_CHECKING, Any

from tests.support.processes import environment, free_port, is_listening, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Orthanc:
    """Debian's Orthanc, with a store of its own; it keeps every SOP Class in every transfer syntax.

    Parameters
    ----------
    folder : Path
        Where everything of it stands.
    **settings
        Of its configuration, beside those.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        folder.mkdir(parents=True)
        self.port, self._http_port = free_port(), free_port()
        configuration = {
            "StorageDirectory": str(folder / "store"),
            "IndexDirectory": str(folder / "store"),
            "DicomAet": "ORTHANC",
            "DicomPort": self.port,
            "HttpPort": self._http_port,
            "RemoteAccessAllowed": False,
            "UnknownSopClassAccepted": True,
            "Plugins": [],
            **settings,
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration), encoding="utf-8")
        # On Debian it stands where not every user's PATH has it.
        program = which("Orthanc") or "/usr/sbin/Orthanc"
        with (folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [program, str(folder / "orthanc.json")], env=environment(folder), stdout=output, stderr=output
            )

    @property
    def destination(self) -> dict[str, Any]:
        """How a node's configuration names it."""
        return {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": self.port}

    def wait_until_it_listens(self) -> None:
        """Wait for both of its servers."""
        wait_until("Orthanc listens", lambda: is_listening(self.port) and is_listening(self._http_port))

    def get(self, path: str) -> bytes:
        """Ask its REST API; what it cannot answer is an error."""
        return self._asked("GET", path)

    def store(self, file: Path) -> str:
        """Give it a file over its REST API; return its own id of the instance."""
        return str(json.loads(self._asked("POST", "/instances", file.read_bytes()))["ID"])

    def knows(self, name: str, ae_title: str, port: int) -> None:
        """Tell it of a modality: it reports on storage commitment to those alone that it knows."""
        modality = {"AET": ae_title, "Host": "127.0.0.1", "Port": port}
        self._asked("PUT", f"/modalities/{name}", json.dumps(modality).encode())

    def post(self, path: str, content: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """Ask its REST API to do something."""
        return json.loads(self._asked("POST", path, json.dumps(content).encode()))

    def forget(self, identifier: str) -> None:
        """Let it delete an instance: it would keep that instead of another one with the same UID."""
        self._asked("DELETE", f"/instances/{identifier}")

    def _asked(self, method: str, path: str, content: bytes | None = None) -> bytes:
        connection = HTTPConnection("127.0.0.1", self._http_port, timeout=30)
        try:
            connection.request(method, path, content)
            answer = connection.getresponse()
            received = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            msg = f"{path}: HTTP {answer.status}"
            raise OSError(msg)
        return received

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
