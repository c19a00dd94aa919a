"""The node as a process of its own, as an operator starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import yaml

from dicom_node.config.receive import LEAST_FREE
from dicom_node.queue import Ledger, Queue, Spool
from tests.support.ledgers import empty
from tests.support.processes import ROOT, end_marked, environment, free_port, marked, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dicom_node.queue import EntrySummary
    from tests.support.network import Machine

AE_TITLE = "DICOM_NODE"
COMMAND_SECONDS = 60.0


class Node:
    """A node with a data folder, a port and a configuration of its own.

    Parameters
    ----------
    folder : Path
        Where everything of it stands.
    routes, destinations
        Of the configuration.
    python_path : Path, optional
        A folder with a ``sitecustomize.py`` for its processes.
    ledger : str, optional
        URL of a ledger in PostgreSQL; SQLite in the data folder without it.
    data_dir : Path, optional
        Where the spool is, if it is shared with other nodes.
    lease_seconds : float
        Of the configuration.
    receive : mapping, optional
        Of the configuration, beside address and port.
    spool : str
        Of the configuration.
    redactors : int
        Of the configuration; each takes seconds to start.
    profile : str
        Of the detector; most tests are about the way of an instance, and the quick one sees their text as well.
    machine : Machine, optional
        Where it runs; on this machine's own address without one.
    ledger_from_here : str, optional
        URL of the ledger for this process, where it is another than for the node.
    queue : mapping, optional
        Of the configuration, beside short times.
    """

    def __init__(
        self,
        folder: Path,
        routes: Sequence[Mapping[str, Any]],
        destinations: Mapping[str, Mapping[str, Any]],
        python_path: Path | None = None,
        *,
        ledger: str = "",
        data_dir: Path | None = None,
        lease_seconds: float = 3.0,
        receive: Mapping[str, Any] | None = None,
        spool: str = "",
        redactors: int = 1,
        profile: str = "fast",
        machine: Machine | None = None,
        ledger_from_here: str = "",
        queue: Mapping[str, Any] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.data_dir = data_dir or folder / "data"
        self.configuration = folder / "node.yaml"
        self._environment = environment(folder, python_path)
        self._process: subprocess.Popen[bytes] | None = None
        self._within = machine.within if machine else ()
        host = machine.address if machine else "127.0.0.1"
        self._ledger_url = ledger_from_here or ledger or f"sqlite:///{self.data_dir / 'ledger.db'}"
        times = {"poll_seconds": 0.1, "retry_seconds": 0.2, "retry_maximum_seconds": 1}
        content = {
            "log_level": "debug",
            "ledger": ledger,
            "spool": spool,
            "receive": {"host": host, "port": self.port, "minimum_free_bytes": LEAST_FREE, **(receive or {})},
            "queue": {**times, "lease_seconds": lease_seconds, **(queue or {})},
            "redact": {"processes": redactors, "profile": profile},
            "destinations": {name: dict(values) for name, values in destinations.items()},
            "routes": [dict(route) for route in routes],
        }
        self.configuration.write_text(yaml.safe_dump(content), encoding="utf-8")

    def start(self, *arguments: str) -> str:
        """Start it, and return what it says on standard output once it is ready."""
        told = ["--config", str(self.configuration), "--data-dir", str(self.data_dir), *arguments]
        with (self.folder / "stdout").open("wb") as stdout, (self.folder / "stderr").open("ab") as stderr:
            self._process = subprocess.Popen(
                [*self._within, sys.executable, "-m", "dicom_node", "serve", *told],
                env=self._environment,
                cwd=self.folder,
                stdout=stdout,
                stderr=stderr,
            )
        wait_until("the node is ready or has ended", lambda: "ready" in self.said or not self.is_running)
        return self.said

    @property
    def said(self) -> str:
        """What the running node has written on its standard output."""
        return (self.folder / "stdout").read_text(encoding="utf-8")

    @property
    def logged(self) -> str:
        """What all its processes, of all its starts, have written on standard error."""
        return (self.folder / "stderr").read_text(encoding="utf-8")

    @property
    def is_running(self) -> bool:
        """Whether the supervisor lives."""
        return self._process is not None and self._process.poll() is None

    def roles(self, role: str = "") -> set[int]:
        """Find its processes of a role, or of all roles."""
        return {pid for pid, command in marked(self.folder).items() if f"dicom_node.roles.{role}" in command}

    def kill_role(self, role: str) -> None:
        """``kill -9`` every process of a role."""
        for pid in self.roles(role):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_supervisor(self) -> None:
        """``kill -9`` the process that started the others."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """``kill -9`` all of it at once, as power loss would; wherever it stands."""
        self.kill_supervisor()
        end_marked(self.folder)

    def terminate(self) -> None:
        """Ask it to drain."""
        if self._process:
            self._process.terminate()

    def wait(self) -> int:
        """Wait for its end, and return the exit code."""
        if self._process is None:
            msg = "it was not started"
            raise ValueError(msg)
        return self._process.wait(COMMAND_SECONDS)

    def stop(self) -> int:
        """Let it drain, and return the exit code."""
        self.terminate()
        return self.wait()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``dicom-node`` on the data of this node."""
        told = [*arguments, "--config", str(self.configuration), "--data-dir", str(self.data_dir)]
        return run_command(self.folder, *told)

    def counts(self) -> dict[str, int]:
        """Count its instances by state, without those that are not there."""
        with closing(self._ledger()) as ledger:
            return {state: count for state, count in ledger.counts().items() if count}

    def entries(self) -> list[EntrySummary]:
        """List its instances as the ledger has them."""
        with closing(self._ledger()) as ledger:
            return ledger.entries(limit=100_000)

    def state(self, entry_id: str) -> str:
        """Tell where one instance stands."""
        with closing(self._ledger()) as ledger:
            return ledger.entry(entry_id).state.value

    def wait_for(self, **counts: int) -> None:
        """Wait until its instances stand so: ``SENT=3, HELD=1``."""
        wait_until(f"the queue holds {counts}", lambda: self.counts() == counts, self._standing)

    def wait_until_all_are(self, *states: str, count: int) -> None:
        """Wait until so many instances are in these states."""
        wait_until(
            f"{count} are {', '.join(states)}",
            lambda: sum(self.counts().get(state, 0) for state in states) == count,
            self._standing,
        )

    def wait_until_logged(self, text: str) -> None:
        """Wait until one of its processes has logged this."""
        wait_until(f"{text} is logged", lambda: text in self.logged, self._standing)

    def lose_ledger(self) -> None:
        """Delete every row of its ledger, under its hands if it runs."""
        empty(self._ledger_url)

    def held(self) -> set[str]:
        """Find what is held for a reason, by SOP Instance UID."""
        held = [each for each in self.entries() if each.state == "HELD" and each.reason]
        return {each.entry.instance.sop_instance_uid for each in held}

    def reconcile(self) -> None:
        """Let ledger and spool agree at once, as its supervisor does every minute; when nothing is in hand."""
        with closing(self._ledger()) as ledger:
            Queue(Spool(self.data_dir / "spool"), ledger).reconcile(older_than_seconds=0.0)

    def spooled(self) -> list[Path]:
        """List the files of its spool."""
        return [path for path in (self.data_dir / "spool").rglob("*") if path.is_file()]

    def _standing(self) -> dict[str, object]:
        """Tell where instances stand, and why."""
        return {**self.counts(), "reasons": {summary.reason for summary in self.entries()}}

    def _ledger(self) -> Ledger:
        return Ledger(self._ledger_url)


def run_command(folder: Path, *arguments: str, python_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``dicom-node`` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "dicom_node", *arguments],
        env=environment(folder, python_path),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
