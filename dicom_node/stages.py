"""READ FIRST: the order of the work. Each stage takes claimed work and returns what its result is, or raises."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from dicom_node.errors import Damaged, Defer, Hold, RedactAgain, SpoolFull
from dicom_node.model import Outcome, Priority, RedactedFile, Redaction
from dicom_node.queue.digest import Digest
from dicom_node.queue.sidecar import copy_without, digest_of
from dicom_node.redaction import Policy, redact
from dicom_node.redaction.part10 import identity, read, write
from dicom_node.routes import matching_route, priority_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from _typeshed import ReadableBuffer

    from dicom_node.config import Configuration
    from dicom_node.destinations import Sender
    from dicom_node.model import Delivery, QueueEntry, SOPInstance, StoreStatus
    from dicom_node.queue import AnySpool
    from dicom_node.redaction import TextDetector


class Redacted(NamedTuple):
    """A clean file, where it goes, and how it became clean."""

    file: RedactedFile
    destinations: tuple[str, ...]
    redaction: Redaction
    route: str
    policy: str
    priority: Priority = Priority.MEDIUM


def redact_instance(
    entry: QueueEntry,
    spool: AnySpool,
    configuration: Configuration,
    policies: Mapping[str, Policy],
    detector: TextDetector,
) -> Redacted:
    """Route an instance, carry its policy out on every frame, and leave a clean file in the spool.

    Parameters
    ----------
    policies : mapping of str to Policy
        What each route that looks at pixels does, by its name.

    Raises
    ------
    Damaged
        When the disk has not kept what had Success.
    Hold
        When no route fits, or the policy cannot be carried out.
    SpoolFull
        When the clean file cannot be written now: the spool is full, read-only, broken or not there.
    """
    spool.check_room_to_redact(entry.size)
    with spool.original_file(entry.id) as original:
        _check_bytes(entry, original)
        route, policy, destinations, priority = _decided(entry, original, configuration)
        if entry.size > configuration.redact.maximum_bytes and policy != "pass":
            msg = f"larger than redact.maximum_bytes ({configuration.redact.maximum_bytes})"
            raise Hold(msg)
        if policy == "pass":
            instance, redaction = entry.instance, Redaction(Outcome.PASSED)
            with original.open("rb") as source:
                clean = _written(spool, entry, instance, lambda file: copy_without(source, file))
        else:
            dataset = read(original)
            # A release is an operator's word for this one instance: its policy alone, without what a route adds.
            released = Policy(policy, configuration.redact.fill, spacy_model=configuration.redact.spacy_model)
            redaction = redact(dataset, policies.get(route) or released, detector)
            instance = identity(dataset)
            clean = _written(spool, entry, instance, lambda file: write(dataset, file))
    return Redacted(clean, destinations, redaction, route, policy, priority)


def _check_bytes(entry: QueueEntry, original: Path) -> None:
    """See that the disk has kept what had Success: of lost pages, a decoder may notice nothing."""
    try:
        is_whole = digest_of(original, entry.digest) == entry.digest
    except OSError as error:
        msg = f"its bytes cannot be read: {error.strerror}"
        raise Hold(msg) from None
    if not is_whole:
        raise Damaged


class _Digested(io.BufferedIOBase):
    """A file that is written from its beginning to its end, and hashed meanwhile."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = Digest()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, content: ReadableBuffer, /) -> int:
        self._digest.update(content)
        written = self._file.write(content)
        self.size += written
        return written

    def tell(self) -> int:
        return self.size

    @property
    def digest(self) -> str:
        return self._digest.text


def _written(
    spool: AnySpool, entry: QueueEntry, instance: SOPInstance, write: Callable[[BinaryIO], object]
) -> RedactedFile:
    """Write a clean file, and tell what was written."""
    written: list[_Digested] = []

    def digested(file: BinaryIO) -> None:
        written.append(_Digested(file))
        write(cast("BinaryIO", written[-1]))

    path = spool.write_redacted(entry.id, entry.attempts, digested)
    return RedactedFile(path.name, path, instance, written[-1].size, written[-1].digest)


def _decided(
    entry: QueueEntry, original: Path, configuration: Configuration
) -> tuple[str, str, tuple[str, ...], Priority]:
    """Return route, policy, destinations and priority: what an operator said at the release, or what the routes say."""
    if entry.policy is not None:
        return "(released)", entry.policy, entry.destinations, entry.priority
    route = matching_route(configuration.routes, entry.origin, read(original, with_pixels=False))
    if route is None:
        msg = "no route fits"
        raise Hold(msg)
    return route.name, route.policy, route.destinations, priority_of(route)


def send_instance(
    delivery: Delivery,
    spool: AnySpool,
    sender: Sender,
    waiting: Sequence[tuple[str, str]] = (),
) -> StoreStatus:
    """Send a clean file to its destination.

    Parameters
    ----------
    waiting : sequence of (str, str)
        SOP Class and Transfer Syntax UIDs of what else goes there soon: one association carries it all.

    Raises
    ------
    Defer
        When it has to be tried again; RedactAgain when the disk has not kept the clean file.
    Hold
        When trying again would not help.
    """
    try:
        with spool.redacted_file(delivery.redacted_file) as path:
            _check_clean(delivery, path)
            return sender.send(path, delivery.instance, waiting, failures=delivery.failures, priority=delivery.priority)
    except SpoolFull as full:  # a store that is away: nothing is known against the instance
        raise Defer(str(full)) from None


def _check_clean(delivery: Delivery, path: Path) -> None:
    """See that the disk has kept what was written; nothing is sent of which that is not known."""
    if delivery.redacted_digest is None:
        return
    try:
        is_whole = digest_of(path, delivery.redacted_digest) == delivery.redacted_digest
    except OSError as error:  # reconcile has it made again where it is missing
        msg = f"the clean file cannot be read: {error.strerror}"
        raise Defer(msg) from None
    if not is_whole:
        raise RedactAgain
