"""An S3-compatible store of a test's own: moto's server, on a port of this machine, in a process that can stand still.

It keeps what it has in memory: it may be stopped and continued, or be cut off, and loses everything when it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.processes import free_port, is_listening, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_REGION": "us-east-1"}


class S3:
    """One server; buckets are made as they are asked for."""

    def __init__(self) -> None:
        self._port = free_port()
        self._buckets = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="dicom_node-s3-")

    @property
    def endpoint(self) -> str:
        """What ``AWS_ENDPOINT_URL`` has."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client of it needs."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint, "AWS_EC2_METADATA_DISABLED": "true"}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        # Its server alone, threaded: moto_server would set up every service of AWS for a command line.
        program = (
            "from moto.server import DomainDispatcherApplication as App, create_backend_app as make\n"
            "from werkzeug.serving import WSGIRequestHandler, run_simple\n"
            "WSGIRequestHandler.protocol_version = 'HTTP/1.1'\n"
            f"run_simple('127.0.0.1', {self._port}, App(make), threaded=True)"
        )
        with Path(self._folder.name, "log").open("wb") as output:
            command = [sys.executable, "-c", program]
            self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd=self._folder.name)
        wait_until("the store listens", lambda: is_listening(self._port))

    def new_bucket(self) -> str:
        """Make a bucket, and return the URL of a prefix in it."""
        self._buckets += 1
        bucket = f"bucket-{self._buckets}"
        request = urllib.request.Request(f"{self.endpoint}/{bucket}", method="PUT")  # noqa: S310 - this machine's own
        with urllib.request.urlopen(request, timeout=60):  # noqa: S310 - this machine's own
            return f"s3://{bucket}/spool/one"

    def stand_still(self) -> None:
        """Answer nobody any more: connections come about, and nothing is heard on them."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again, also what was asked meanwhile."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """End it, with all it has."""
        if self._process:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)
