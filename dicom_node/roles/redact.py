"""The role ``redact``: one instance after the other, one core."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import structlog

from dicom_node.node import owner_name
from dicom_node.policies import policies
from dicom_node.redaction.detect import Engine, make_detector
from dicom_node.redaction.memory import keep_freed_memory
from dicom_node.roles.process import pace, run, say_ready
from dicom_node.stages import redact_instance
from dicom_node.worker import Leases, work
from dicom_node.worker_redact import redact_next

if TYPE_CHECKING:
    import threading

    from dicom_node.config import Configuration
    from dicom_node.queue import Queue

log = structlog.get_logger()


def main(configuration: Configuration, queue: Queue, stop: threading.Event) -> None:
    """Redact until told to stop; the instance in hand is finished."""
    keep_freed_memory()
    how = configuration.redact
    detector = make_detector(Engine(how.detector, how.profile, how.tesseract_language, how.reading_language))
    log.info("redactor", engine=detector.name, pid=os.getpid())
    stage = partial(
        redact_instance,
        spool=queue.spool,
        configuration=configuration,
        policies=policies(configuration),
        detector=detector,
    )
    times = pace(configuration, limit=configuration.redact.limit_seconds)
    leases = Leases(queue, times)
    owner = owner_name("redact", os.getpid())
    say_ready()
    work(lambda: redact_next(queue, owner, leases, times, stage), stop, times.poll)


if __name__ == "__main__":
    run("redact", main)
