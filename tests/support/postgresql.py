"""A PostgreSQL server of a test's own: Debian's, on a port of this machine, with nothing of it left afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import create_engine
from sqlalchemy.schema import CreateSchema

from tests.support.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.network import Machine

_USER = "postgres"
"""Whose server it is where the tests are root's: the server refuses to be root's."""

_SETTINGS = """
max_connections = 200
"""


class PostgreSQL:
    """One server with an empty database; it is not started yet.

    Parameters
    ----------
    machine : Machine, optional
        Where it runs; on this machine's own address without one.
    """

    def __init__(self, machine: Machine | None = None) -> None:
        self._address = machine.address if machine else "127.0.0.1"
        self._within = machine.within if machine else ()
        # Not in pytest's folder: that is closed to the server's user.
        self._folder = Path(tempfile.mkdtemp(prefix="dicom_node-postgresql-"))
        self._port = free_port()
        self._schemas = 0
        if os.geteuid() == 0:
            user = pwd.getpwnam(_USER)
            os.chown(self._folder, user.pw_uid, user.pw_gid)
        # Trust: whoever may connect to this machine's own address may run the tests as well.
        self._run("initdb", "--auth=trust", "--username=node", "--encoding=UTF8", "--no-sync")
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(f"{_SETTINGS}port = {self._port}\nlisten_addresses = '{self._address}'\n")
            file.write(f"unix_socket_directories = '{self._folder}'\n")
        with (self._data / "pg_hba.conf").open("a", encoding="utf-8") as file:
            file.write(f"host all all {self._address}/24 trust\n")

    @property
    def url(self) -> str:
        """What a configuration has as ``ledger``."""
        return f"postgresql+psycopg://node@{self._address}:{self._port}/postgres"

    @property
    def url_from_here(self) -> str:
        """The same for this process, wherever the server runs: a socket in a folder needs no network."""
        return f"postgresql+psycopg://node@/postgres?host={self._folder}&port={self._port}"

    def new_ledger(self) -> str:
        """Make a schema with nothing in it, and return its URL."""
        self._schemas += 1
        engine = create_engine(self.url_from_here)
        with engine.begin() as connection:
            connection.execute(CreateSchema(f"ledger{self._schemas}"))
        engine.dispose()
        return f"{self.url}?options=-csearch_path%3Dledger{self._schemas}"

    def start(self) -> None:
        """Start it, and wait until it answers; after a crash it recovers first."""
        self._run("pg_ctl", "start", "--wait", f"--log={self._folder / 'log'}", within=self._within)

    def crash(self) -> None:
        """End it at once, without a checkpoint and with every connection."""
        self._run("pg_ctl", "stop", "--mode=immediate")

    def end(self) -> None:
        """End it, and delete all of it."""
        if (self._data / "postmaster.pid").exists():
            self.crash()
        shutil.rmtree(self._folder)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *arguments: str, within: Sequence[str] = ()) -> None:
        command = [str(programs() / program), *arguments, f"--pgdata={self._data}"]
        if os.geteuid() == 0:
            command = [*within, "setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups", *command]
        elif within:  # who is root there only, and must not be
            command = [*within, "unshare", f"--map-user={os.getuid()}", f"--map-group={os.getgid()}", *command]
        # The server inherits what its starter has open: it must not hold a pipe of the test's.
        subprocess.run(command, check=True, cwd=self._folder, stdout=subprocess.DEVNULL, timeout=60)


@cache
def programs() -> Path:
    """Find the server's programs: Debian puts them on nobody's path."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    on_path = shutil.which("pg_ctl")
    return debian[-1] if debian else Path(str(on_path)).parent
