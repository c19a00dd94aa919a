"""Machines on a network of a test's own: a network namespace each, joined by a bridge in another; nothing leaves.

A namespace has no name: it lives as long as the process that holds it, which ends with the test's process whatever
becomes of that, and as the processes that were started in it. Who is not root has a namespace of users as well.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import Self

import pytest

_HELD = ("unshare", "--net", "sh", "-c", "echo held; exec cat > /dev/null")
"""Waits for the end of its standard input."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, by its address.

    ``within`` is what a command begins with that is to run there.
    """

    address: str
    within: tuple[str, ...]
    port: str
    """Where its cable ends in the middle."""

    def run(self, command: str) -> None:
        """Run a command there."""
        done = subprocess.run([*self.within, *command.split()], capture_output=True, text=True, check=False, timeout=30)
        if done.returncode:
            msg = f"{command}: {done.stderr.strip()}"
            raise OSError(msg)


class Network:
    """A machine in the middle, and those that are connected to it by a cable each that can be pulled.

    Parameters
    ----------
    others : int
        How many.
    """

    def __init__(self, others: int) -> None:
        self._holders: list[subprocess.Popen[str]] = []
        try:
            self.middle = self._held(1)
            self.middle.run("ip link add name bridge0 type bridge")
            self.middle.run(f"ip address add {self.middle.address}/24 dev bridge0")
            self.middle.run("ip link set bridge0 up")
            self.others = [self._connected(number) for number in range(2, 2 + others)]
        except OSError:
            self.end()
            raise

    @classmethod
    def or_skip(cls, others: int) -> Self:
        """Make it, or say why this machine has none."""
        try:
            return cls(others)
        except OSError as error:
            pytest.skip(f"no network namespaces are to be had here: {error}")

    def pull(self, machine: Machine) -> None:
        """Pull its cable: from now on nothing comes through, and nobody is told."""
        self.middle.run(f"ip link set {machine.port} down")

    def plug(self, machine: Machine) -> None:
        """Put its cable back."""
        self.middle.run(f"ip link set {machine.port} up")

    def end(self) -> None:
        """Let go of every namespace; those in which nothing runs are gone then."""
        for holder in self._holders:
            holder.communicate(timeout=30)

    def _held(self, number: int) -> Machine:
        as_whom = ("unshare", "--map-root-user") if os.geteuid() else ()
        holder = subprocess.Popen(
            [*(self.middle.within if self._holders else as_whom), *_HELD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._holders.append(holder)
        if holder.stdout is None or holder.stdout.readline() != "held\n":
            raise OSError(holder.communicate(timeout=30)[1].strip())
        users = ("--user", "--preserve-credentials") if os.geteuid() else ()
        machine = Machine(f"192.0.2.{number}", ("nsenter", f"--target={holder.pid}", "--net", *users), f"port{number}")
        machine.run("ip link set lo up")
        return machine

    def _connected(self, number: int) -> Machine:
        machine = self._held(number)
        pid = self._holders[-1].pid
        self.middle.run(f"ip link add name {machine.port} type veth peer name eth0 netns {pid}")
        self.middle.run(f"ip link set {machine.port} master bridge0")
        self.plug(machine)
        machine.run(f"ip address add {machine.address}/24 dev eth0")
        machine.run("ip link set eth0 up")
        return machine
