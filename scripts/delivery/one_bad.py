"""Whether one bad destination of three delays the two others: from an instance's Success to its arrival there."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.images import copies_of, pydicom_file, uid_of
from tests.support.modality import Modality
from tests.support.node import Node
from tests.support.processes import wait_until
from tests.support.scripted_scp import WELL, Behaviour, BlackHole, ScriptedSCP

BAR = 2.0
KINDS = ("well", "dead", "black hole", "slow", "aborting")
"""What becomes of the third destination, which is the first of the route."""

_BEHAVIOURS = {"well": WELL, "slow": Behaviour(seconds=2.0), "aborting": Behaviour(aborts=True)}
_SETTLES = 3.0
"""Seconds that the sender is given to find out how the third destination is now."""


class Third:
    """The destination that changes."""

    def __init__(self) -> None:
        self.scp = ScriptedSCP("THIRD")
        self._hole: BlackHole | None = None

    def become(self, kind: str) -> None:
        """Be well, or bad in one of the ways."""
        self.end()
        if kind == "black hole":
            self._hole = BlackHole(self.scp.port)
        elif kind != "dead":
            self.scp.become(_BEHAVIOURS[kind])

    def end(self) -> None:
        """Listen no more."""
        self.scp.end()
        if self._hole:
            with suppress(OSError):
                self._hole.end()
            self._hole = None


def delays(node: Node, goods: list[ScriptedSCP], images: list[Path]) -> Iterator[float]:
    """Send, and return the seconds from Success to arrival, at each of the good destinations."""
    received: dict[str, float] = {}
    modality = Modality(node.port, images, lambda path: received.update({uid_of(path): time.monotonic()}))
    modality.start()
    modality.wait()
    for good in goods:
        wait_until("it has everything", lambda good=good: set(received) <= good.uids())
        yield from (
            each.at - received[each.sop_instance_uid] for each in good.stored if each.sop_instance_uid in received
        )


def run(arguments: argparse.Namespace) -> None:
    """Measure each kind in turn, several times; exit with an error when one delays the others by more than the bar."""
    measured: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name, ExitStack() as stack:
        goods, third = [ScriptedSCP("SECOND"), ScriptedSCP("FIRST")], Third()
        stack.callback(third.end)
        for good in goods:
            good.start()
            stack.callback(good.end)
        destinations = {"third": third.scp.destination, "a": goods[0].destination, "b": goods[1].destination}
        # Nothing is looked at: the delay is to be that of the queue and of the senders.
        node = Node(
            Path(name) / "node",
            [{"name": "all", "policy": "pass", "destinations": list(destinations)}],
            destinations,
            redactors=2,
        )
        stack.callback(node.kill)
        _wait_as_by_default(node)
        node.start()
        for turn in range(arguments.rounds):
            for kind in KINDS[turn % len(KINDS) :] + KINDS[: turn % len(KINDS)]:  # what waits for it grows with each
                third.become(kind)
                time.sleep(_SETTLES)
                folder = Path(name) / f"{turn} {kind}"
                images = copies_of(pydicom_file("CT_small.dcm"), folder, arguments.instances)
                measured[kind].append(list(delays(node, goods, images)))
        third.become("well")
        _all_arrives(node, third.scp, len(KINDS) * arguments.rounds * arguments.instances)
    _report(measured)


def _wait_as_by_default(node: Node) -> None:
    """Try again after five seconds, as a node does; tests are in more of a hurry. Not after minutes: it has to end."""
    content = yaml.safe_load(node.configuration.read_text(encoding="utf-8"))
    content["queue"] |= {"retry_seconds": 5, "retry_maximum_seconds": 10}
    node.configuration.write_text(yaml.safe_dump(content), encoding="utf-8")


def _all_arrives(node: Node, third: ScriptedSCP, count: int) -> None:
    node.wait_for(SENT=count)
    print(f"{len(third.uids())} of {count} instances arrived at the bad destination once it was well")


def _report(measured: dict[str, list[list[float]]]) -> None:
    # Of each round apart: what another does on the same machine falls into one of them.
    p99 = {kind: median(quantiles(seconds, n=100)[98] for seconds in rounds) for kind, rounds in measured.items()}
    print("the third destination is   median s     p99 s   p99, times that of well (median of the rounds)")
    for kind, rounds in measured.items():
        middle = median(median(seconds) for seconds in rounds)
        print(f"  {kind:24} {middle:8.3f}  {p99[kind]:8.3f}   {p99[kind] / p99['well']:.2f}")
    if max(p99.values()) > BAR * p99["well"]:
        sys.exit(f"not within {BAR} times")
