"""The three measures: many small instances at once, one large one, and associations that do nothing."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from ingest.sender import Association, Image, ct, seconds_for
from ingest.servers import LONGEST_PDU, DcmtkStoreSCP, OrthancOnPostgreSQL, Server, TheNode, TheOrthanc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.postgresql import PostgreSQL

_LARGE_SIDE = 2048
_SETTLE_SECONDS, _ENDED_SECONDS = 2.0, 0.2
_LEAST_FREE, _AT_ONCE = 1 << 28, 1 << 24


@dataclass
class Rate:
    """What a server did in each round."""

    server: Server
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def servers(folder: Path, processes: Sequence[int], postgresql: PostgreSQL | None = None) -> list[Server]:
    """Make the node, once for each number of receivers, and the others; with PostgreSQL, two more that use it."""
    ledgers = {"": "", **({", PostgreSQL": postgresql.new_ledger()} if postgresql else {})}
    nodes = [
        TheNode(folder / f"node{n}{kind}", {"processes": n} if n else {}, f"dicom_node{kind}, {n or 'default'}", ledger)
        for kind, ledger in ledgers.items()
        for n in processes
    ]
    orthancs = [OrthancOnPostgreSQL(folder / "orthanc-postgresql", postgresql)] if postgresql else []
    return [*nodes, DcmtkStoreSCP(folder / "storescp"), TheOrthanc(folder / "orthanc"), *orthancs]


def rates(measured: Sequence[Server], rounds: int, each: int, associations: int, image: Image) -> list[Rate]:
    """Send the same to all of them in turn, round after round: what else the machine does falls on all alike."""
    found = [Rate(server) for server in measured]
    for rate in found:  # what is loaded at the first instance is not what is measured
        _sent(rate.server, image, associations, 2)
    for _ in range(rounds):
        for rate in found:
            os.sync()  # what the one before left unwritten is not this one's
            cpu = rate.server.cpu_seconds
            rate.seconds.append(_sent(rate.server, image, associations, each))
            time.sleep(_ENDED_SECONDS)
            rate.cpu.append(rate.server.cpu_seconds - cpu)
    return found


def rate_table(found: Sequence[Rate], instances: int, image: Image) -> str:
    """Medians of all rounds; a ratio is the median of the ratios of the rounds."""
    orthancs = [rate for rate in found if isinstance(rate.server, TheOrthanc)]
    megabytes = instances * image.size / 1e6
    times = "".join(f" times {orthanc.server.name} (rounds) |" for orthanc in orthancs)
    lines = [f"| | instances/s | MB/s |{times} CPU ms/MB |", "|---|---|---|" + "---|" * (len(orthancs) + 1)]
    for rate in found:
        middle = median(rate.seconds)
        ratios = "".join(f" {_ratio(rate, orthanc)} |" for orthanc in orthancs)
        lines.append(
            f"| {rate.server.name} | {instances / middle:.0f} | {megabytes / middle:.0f} |{ratios}"
            f" {1000 * median(rate.cpu) / megabytes:.2f} |"
        )
    return "\n".join(lines)


def large(measured: Sequence[Server], rounds: int, megabytes: int) -> str:
    """Send one object of so many megabytes, in every round to all."""
    frame_bytes = 2 * _LARGE_SIDE**2
    image = ct(_LARGE_SIDE, _LARGE_SIDE, frames=-(-megabytes * 1_000_000 // frame_bytes))
    found: dict[str, list[float]] = {server.name: [] for server in measured}
    for _ in range(rounds):
        for server in measured:
            os.sync()
            found[server.name].append(_sent(server, image, 1, 1))
    lines = [f"| one object of {image.size / 1e6:.0f} MB | MB/s (rounds) | peak RSS, MB |", "|---|---|---|"]
    for server in measured:
        speeds = [image.size / 1e6 / seconds for seconds in found[server.name]]
        lines.append(
            f"| {server.name} | {median(speeds):.0f} ({min(speeds):.0f} to {max(speeds):.0f})"
            f" | {server.peak_megabytes:.0f} |"
        )
    return "\n".join(lines)


def idle(measured: Sequence[Server], associations: int, seconds: float) -> str:
    """Open associations that say nothing, and see what they cost."""
    lines = [f"| {associations} idle associations, {seconds:.0f} s | % of a core |", "|---|---|"]
    for server in measured:
        opened = [Association(server.port, server.ae_title, LONGEST_PDU) for _ in range(associations)]
        time.sleep(_SETTLE_SECONDS)
        cpu, started = server.cpu_seconds, time.monotonic()
        time.sleep(seconds)
        share = (server.cpu_seconds - cpu) / (time.monotonic() - started)
        lines.append(f"| {server.name} | {100 * share:.1f} |")
        for association in opened:
            association.release()
    return "\n".join(lines)


def fill_page_cache(folder: Path) -> None:
    """Let no memory be free, as on a machine that has been up for long: whoever needs pages takes them from others.

    Pages that are free, and were never used, can cost a virtual machine several times as much.
    """
    path = folder / "nothing"
    with path.open("wb") as file:
        file.truncate(2 * memory()[0])
    with path.open("rb", buffering=0) as file:
        while memory()[1] > _LEAST_FREE and file.read(_AT_ONCE):
            pass


def memory() -> tuple[int, int]:
    """Tell how many bytes of memory there are, and how many are free: not even the page cache has them."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    found = {name: int(value.split()[0]) * 1024 for name, _, value in (line.partition(":") for line in lines)}
    return found["MemTotal"], found["MemFree"]


def file_system(folder: Path) -> str:
    """Say what kind of file system the folder is on."""
    told = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=True)  # noqa: S603, S607
    return told.stdout.strip()


def _ratio(rate: Rate, other: Rate) -> str:
    ratios = [theirs / ours for ours, theirs in zip(rate.seconds, other.seconds, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _sent(server: Server, image: Image, associations: int, each: int) -> float:
    opened = [Association(server.port, server.ae_title, LONGEST_PDU) for _ in range(associations)]
    return seconds_for(opened, image, each)
