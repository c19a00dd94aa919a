"""The loop that redacts: one instance after the other, and what became of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from dicom_node.errors import Damaged, Hold, SpoolFull
from dicom_node.worker import settled, since, unexpected

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_node.model import QueueEntry
    from dicom_node.queue import Queue
    from dicom_node.stages import Redacted
    from dicom_node.worker import Leases, Pace

    RedactStage = Callable[[QueueEntry], Redacted]

log = structlog.get_logger()


def redact_next(queue: Queue, owner: str, leases: Leases, pace: Pace, stage: RedactStage) -> bool:
    """Redact the next instance that waits; False when there is none.

    Raises
    ------
    SpoolFull
        When there is no room for the clean file; the instance waits again.
    """
    entry = queue.ledger.claim(owner, pace.lease)
    if entry is None:
        return False
    line = log.bind(stage="redact", entry_id=entry.id, bytes=entry.size, attempts=entry.attempts)
    started = time.monotonic()
    with leases.held([entry]):
        try:
            done = stage(entry)
        except SpoolFull as full:  # the instance is not to blame: it waits for room
            line.warning("instance", action="given back", reason=str(full), seconds=since(started))
            settled(lambda: queue.ledger.put_last(entry), pace)
            raise
        except Hold as hold:
            reason = str(hold)
            hold_it = queue.ledger.settle_damaged if isinstance(hold, Damaged) else queue.ledger.settle_held
            is_settled = settled(lambda: hold_it(entry, reason), pace)
            line.warning("instance", action="held" if is_settled else "lost", reason=reason, seconds=since(started))
        except Exception as error:  # noqa: BLE001 - whatever it was, the instance is not known to be clean
            reason = unexpected(error)
            line.exception("instance", action="held", reason=reason, seconds=since(started))
            if not settled(lambda: queue.ledger.settle_held(entry, reason), pace):
                line.warning("instance", action="lost")
        else:
            is_settled = settled(
                lambda: queue.ledger.settle_redacted(entry, done.file, done.destinations, done.priority), pace
            )
            line.info(
                "instance",
                action="redacted" if is_settled else "lost",
                outcome=done.redaction.outcome,
                route=done.route,
                policy=done.policy,
                regions=len(done.redaction.regions),
                seconds=since(started),
            )
    return True
