"""Composition root: which role runs in which process, signals, drain, restart.

``serve`` supervises: it starts one process for each role (one redactor per core, as many receivers as are configured),
starts those again that die, ends the leases of the dead, and lets the ledger agree with the spool now and then. It
listens for the receivers, but touches no pixel and no association.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import structlog

from dicom_node import __version__
from dicom_node.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dicom_node.config import Configuration
    from dicom_node.queue import Queue

Role = Literal["receive", "redact", "send"]
ROLES: tuple[Role, ...] = get_args(Role)

READY = "ready"
"""What a role process writes on its standard output once it works."""

RECONCILE_SECONDS = 60.0
END_SECONDS = 10.0
"""What a process is given to end, beyond the time it drains for."""

RESTART_SECONDS = 1.0
"""A process that dies at once is started again after a pause: a crash loop leaves the machine usable."""

log = structlog.get_logger()


def owner_name(role: str, pid: int) -> str:
    """Name a role process in the ledger, so that the supervisor can end its leases when it dies."""
    return f"{socket.gethostname()}:{role}:{pid}"


@dataclass(slots=True)
class RoleProcess:
    """One role in a process of its own."""

    role: Role
    process: subprocess.Popen[str]
    input: socket.socket
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, role: Role) -> RoleProcess:
        """Start a role; it waits for its configuration on standard input, and drains when that closes."""
        # A socket, because it can carry descriptors: a receiver is given what it listens on.
        ours, theirs = socket.socketpair()
        # A session of its own: a terminal's Ctrl-C reaches the supervisor alone, which then drains its processes.
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - this interpreter, this package
                [sys.executable, "-m", f"dicom_node.roles.{role}"],
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        return cls(role, process, ours)

    def configure(self, configuration: Configuration, listener: Listener | None) -> None:
        """Give it the configuration, and a receiver what it listens on, and let it work."""
        content = configuration.model_dump_json().encode() + b"\n"
        descriptors = listener.descriptors if listener and self.role == "receive" else []
        with suppress(ConnectionError):  # it has died already: whoever looks after it will see
            sent = socket.send_fds(self.input, [content], descriptors)
            self.input.sendall(content[sent:])

    def is_ready(self) -> bool:
        """Wait until it works; False when it ended instead."""
        return self.process.stdout is not None and self.process.stdout.readline().strip() == READY


def serve(load: Callable[[], Configuration], roles: Sequence[Role], announce: Callable[[str], None]) -> int:
    """Run the node until SIGTERM or SIGINT, then drain.

    Parameters
    ----------
    load : callable
        Gives the configuration. The first role is started before: reading takes as long as a third of its imports.
    roles : sequence of Role
        The receiver first, if it is among them.
    announce : callable
        Takes what a person wants to know once the node is ready.

    Returns
    -------
    int
        Exit code: 0 after a drain, 1 when it could not start.

    Raises
    ------
    ConfigurationError
        When the configuration cannot be used.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    children = [RoleProcess.start(roles[0])]
    drain_seconds, listener = 0.0, None
    queue: Queue | None = None
    try:
        configuration = load()
        drain_seconds = configuration.queue.drain_seconds
        if "receive" in roles:
            listener = Listener.open(configuration.receive, is_shared=configuration.receive.processes > 1)
        children[0].configure(configuration, listener)
        # The receiver alone at first: what it accepts before the others work is safe in the queue.
        if roles[0] == "receive" and not children[0].is_ready():
            return 1
        children += [RoleProcess.start(role) for role in _others(roles, configuration)]
        for child in children[1:]:
            child.configure(configuration, listener)
        queue = _opened(configuration)
        # Not before: whoever hears it may count on a node that outlives its ledger's absence.
        announce(banner(configuration, roles))
        threading.Thread(target=_reconcile_now_and_then, args=(queue, configuration, stop), daemon=True).start()
        while not stop.wait(0.2):
            children = [_alive(child, queue, configuration, listener) for child in children]
    finally:
        if listener:  # first: who comes now is told so at once
            listener.close()
        _give_back(_end(children, drain_seconds), queue)
    log.info("stopped", pid=os.getpid())
    return 0


def _others(roles: Sequence[Role], configuration: Configuration) -> list[Role]:
    """List the role of each process beside the first: receivers and redactors as configured, one of every other."""
    processes = {"receive": configuration.receive.processes, "redact": configuration.redactors}
    wanted: list[Role] = [role for role in roles for _ in range(processes.get(role, 1))]
    return wanted[1:]


def _opened(configuration: Configuration) -> Queue:
    from dicom_node.queue import open_queue  # noqa: PLC0415 - SQLAlchemy: the roles are started before that is loaded

    return open_queue(
        configuration.data_dir,
        configuration.ledger_url,
        configuration.receive.water_marks,
        configuration.store,
        keep_originals=configuration.retention.originals_seconds,
    )


def banner(configuration: Configuration, roles: Sequence[Role]) -> str:
    """Say to the person who started the node where it listens, where clean images go, and how to try it."""
    receive = configuration.receive
    lines = [f"dicom_node {__version__} is ready ({', '.join(roles)})"]
    if "receive" in roles:
        lines.append(f"  listens as AE title {receive.ae_title} on {receive.host}, port {receive.port}")
    used = dict.fromkeys(name for route in configuration.routes for name in route.destinations)
    lines += [f"  clean images for {name!r} go to {configuration.address(name)}" for name in used]
    lines.append("  only pixel data is cleaned: header attributes are forwarded as they came")
    if "receive" in roles:
        lines.append(f"  send it an image:  storescu -aec {receive.ae_title} localhost {receive.port} image.dcm")
    return "\n".join(lines)


def _alive(child: RoleProcess, queue: Queue, configuration: Configuration, listener: Listener | None) -> RoleProcess:
    """Return the child, or the one that takes its place when it has died; the dead one's leases end at once."""
    code = child.process.poll()
    if code is None:
        return child
    log.error("role process died", role=child.role, pid=child.process.pid, exit_code=code)
    try:
        queue.ledger.expire(owner_name(child.role, child.process.pid))
    except Exception:
        log.warning("leases not ended", exc_info=True)
    if time.monotonic() - child.started < RESTART_SECONDS:
        time.sleep(RESTART_SECONDS)
    child.input.close()
    another = RoleProcess.start(child.role)
    another.configure(configuration, listener)
    return another


def _reconcile_now_and_then(queue: Queue, configuration: Configuration, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            found = asdict(queue.reconcile())
            found["unknown_destination"] = queue.ledger.hold_unknown_destinations(configuration.destinations)
            others = set(configuration.destinations) - set(configuration.committing)
            found["no_commitment_asked"] = queue.ledger.settle_uncommitted(others)
            # After reconcile: originals go before their rows.
            found["expired"] = queue.expire_rows(configuration.retention.rows_seconds)
            log.info("reconciled", states={name: count for name, count in found.items() if count})
        except Exception:
            log.exception("reconcile failed")
        stop.wait(RECONCILE_SECONDS)


def _give_back(killed: Sequence[RoleProcess], queue: Queue | None) -> None:
    """Give back what they had in hand: they were slow, and another node takes it over now, not after their leases."""
    for child in killed:
        try:
            if queue:
                queue.ledger.give_back_of(owner_name(child.role, child.process.pid))
        except Exception:
            log.warning("leases not ended", exc_info=True)


def _end(children: list[RoleProcess], seconds: float) -> list[RoleProcess]:
    """Drain all at once: what the receiver still takes is safe in the queue. Kill, and return, what does not end."""
    killed = []
    for child in children:
        if child.process.poll() is None:
            child.process.terminate()
    deadline = time.monotonic() + seconds + END_SECONDS
    for child in children:
        try:
            child.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.error("role process killed", role=child.role, pid=child.process.pid)  # noqa: TRY400 - no exception's news
            child.process.kill()
            child.process.wait()
            killed.append(child)
    return killed
