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

from tests.support.processes import free_port, is_listening, wait_until, wait_until_standing

if TYPE_CHECKING:
    from collections.abc import Mapping

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_REGION": "us-east-1"}

# Its server in our hands: it refuses while a file is there, and keeps connections open as a store does.
_PROGRAM = """
import os, sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple
from werkzeug.wrappers import Response

port, busy = int(sys.argv[1]), sys.argv[2]
store = DomainDispatcherApplication(create_backend_app)
WSGIRequestHandler.protocol_version = "HTTP/1.1"


def application(environ, start_response):
    if os.path.exists(busy):
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        return Response("<Error><Code>SlowDown</Code></Error>", 503)(environ, start_response)
    return store(environ, start_response)


run_simple("127.0.0.1", port, application, threaded=True)
"""


class S3:
    """One server; buckets are made as they are asked for."""

    def __init__(self) -> None:
        self._port = free_port()
        self._buckets = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="dicom_node-s3-")
        self._busy = Path(self._folder.name) / "busy"

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
        with Path(self._folder.name, "log").open("wb") as output:
            command = [sys.executable, "-c", _PROGRAM, str(self._port), str(self._busy)]
            self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd=self._folder.name)
        wait_until("the store listens", lambda: is_listening(self._port))

    def new_bucket(self) -> str:
        """Make a bucket, and return the URL of a prefix in it."""
        self._buckets += 1
        bucket = f"bucket-{self._buckets}"
        request = urllib.request.Request(f"{self.endpoint}/{bucket}", method="PUT")  # noqa: S310 - this machine's own
        with urllib.request.urlopen(request, timeout=60):  # noqa: S310 - this machine's own
            return f"s3://{bucket}/spool/one"

    def refuse(self) -> None:
        """Answer 503 (Slow Down) to everybody."""
        self._busy.touch()

    def stand_still(self) -> None:
        """Answer nobody any more: connections come about, and nothing is heard on them."""
        wait_until_standing(self._signal(signal.SIGSTOP))

    def go_on(self) -> None:
        """Answer again, also what was asked while it stood still."""
        self._busy.unlink(missing_ok=True)
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """End it, with all it has."""
        if self._process:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def _signal(self, number: signal.Signals) -> int:
        assert self._process is not None
        os.kill(self._process.pid, number)
        return self._process.pid
