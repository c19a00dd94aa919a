"""A node at work for long, with faults: what became of every instance, and what its processes have come to hold."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from tests.support.arrivals import Balance, balance
from tests.support.burned_in import burned_in
from tests.support.images import uid_of
from tests.support.modality import Modality
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.node import Node
    from tests.support.peers import StoreSCP

BATCH = 30
_AWAY = 3.0
_WAITING = 60
"""Instances that may wait before more are sent: a busy machine takes longer, and is not to be overrun."""

_WARM = 4
"""The first so manyth of the samples of a process are left out: caches fill."""


class Held(NamedTuple):
    """What a process holds: resident memory in KiB, and open file descriptors."""

    memory: int
    descriptors: int


class Growth(NamedTuple):
    """Medians of the first and the last third of the samples of one process."""

    role: str
    samples: int
    before: Held
    after: Held


class Soak:
    """One run: batches of images from a modality, one fault a batch.

    Parameters
    ----------
    node, pacs
        Both work; the destination keeps repeats.
    folder : Path
        Where the images stand that are sent.
    seed : int
        Of the faults.
    """

    def __init__(self, node: Node, pacs: StoreSCP, folder: Path, seed: int) -> None:
        self._node, self._pacs, self._folder = node, pacs, folder
        self._random = Random(seed)  # noqa: S311 - chance, no secrets
        self._samples: dict[tuple[str, int], list[Held]] = {}
        self.sent: list[str] = []
        self.happened: list[str] = []

    def run(self, seconds: float) -> Balance:
        """Work for so long, and count once everything has come to rest."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._batch()
        wait_until("all is sent or held", self._is_at_rest, self._node.counts)
        return balance(self.sent, self._node.held(), self._pacs.arrivals())

    def growth(self) -> list[Growth]:
        """Compare what each process held early and late, of those that lived long enough to tell."""
        return [
            Growth(role, len(warm), _median(warm[: len(warm) // 3]), _median(warm[-(len(warm) // 3) :]))
            for (role, _), all_of_it in self._samples.items()
            if len(warm := all_of_it[len(all_of_it) // _WARM :]) >= _WARM
        ]

    def _batch(self) -> None:
        images = [burned_in(self._folder / f"{number}.dcm") for number in range(BATCH)]
        modality = Modality(self._node.port, images)
        modality.start()
        modality.wait_for(self._random.randrange(1, BATCH))
        name, happen = self._random.choice(self._faults())
        happen()
        self.happened.append(name)
        modality.wait()
        self.sent += [uid_of(image) for image in images]
        self._sample()
        wait_until("little waits", lambda: self._node.counts().get("RECEIVED", 0) < _WAITING, self._node.counts)

    def _faults(self) -> list[tuple[str, Callable[[], object]]]:
        return [
            ("nothing", lambda: None),
            ("kill redact", lambda: self._node.kill_role("redact")),
            ("destination away", self._destination_away),
            ("nothing", lambda: None),
        ]

    def _destination_away(self) -> None:
        self._pacs.end()
        time.sleep(_AWAY)
        self._pacs.start()

    def _is_at_rest(self) -> bool:
        return self._node.counts().keys() <= {"SENT", "HELD"}

    def _sample(self) -> None:
        for role in ("receive", "redact", "send"):
            for pid in self._node.roles(role):
                with suppress(FileNotFoundError, ProcessLookupError):
                    self._samples.setdefault((role, pid), []).append(_held_by(pid))


def _held_by(pid: int) -> Held:
    process = Path(f"/proc/{pid}")
    status = (process / "status").read_text(encoding="ascii", errors="replace")
    memory = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return Held(int(memory), sum(1 for _ in (process / "fd").iterdir()))


def _median(samples: list[Held]) -> Held:
    return Held(int(median(each.memory for each in samples)), int(median(each.descriptors for each in samples)))
