"""Ledger and spool are made to agree, whatever a crash, a lost ledger or a bad disk has left of them."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Literal

import structlog

from dicom_node.errors import Damaged
from dicom_node.model import QueueEntry, State
from dicom_node.queue.sidecar import digest_of
from dicom_node.queue.transitions import Accepted

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_node.queue import AnySpool
    from dicom_node.queue.ledger import Ledger
    from dicom_node.queue.object_spool import Look
    from dicom_node.queue.sidecar import Sidecar
    from dicom_node.queue.spool import Spool

_AT_ONCE = 500
"""Ids that are looked up in one query."""

_Finding = Literal[
    "as_it_should_be", "inserted", "duplicates", "deleted", "held", "found_again", "redact_again", "unreadable"
]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What :meth:`Queue.reconcile` found and did, in numbers.

    Attributes
    ----------
    inserted : int
        Bytes without a row: now they have one.
    duplicates, deleted : int
        Bytes that went: another entry has the same, or they are sent or dropped.
    held : int
        Rows without bytes, and bytes that are not those that arrived.
    found_again : int
        Rows that were held without bytes, whose bytes are back.
    redact_again : int
        Rows without their clean file.
    unreadable : int
        Bytes whose sidecar is missing or damaged, or that the disk refuses to read or delete: left where they are.
    swept : int
        Files that a crash left behind, and clean files of attempts that came to nothing.
    """

    inserted: int = 0
    duplicates: int = 0
    deleted: int = 0
    held: int = 0
    found_again: int = 0
    redact_again: int = 0
    unreadable: int = 0
    swept: int = 0


class Reconciler:
    """See :meth:`dicom_node.queue.Queue.reconcile`."""

    def __init__(self, spool: AnySpool, ledger: Ledger, keep_originals: float) -> None:
        self._spool = spool
        self._ledger = ledger
        self._keep_originals = keep_originals

    def reconcile(self, older_than_seconds: float) -> Reconciliation:
        """Look at every row that is not done, then at all bytes, then at what nobody means."""
        found: Counter[str] = Counter()
        found.update(_tried(each, partial(self._look_again, each)) for each in self._ledger.without_bytes())
        rows = self._ledger.unfinished()
        look = self._spool.look()
        found.update(_tried(row[0], partial(self._check_row, look, *row)) for row in rows)
        entry_ids = self._spool.entry_ids()
        while some := list(islice(entry_ids, _AT_ONCE)):
            states = self._ledger.states(some)
            kept = self._ledger.sent_within(some, self._keep_originals)
            found.update(
                _tried(each, partial(self._check_bytes, each, states.get(each), older_than_seconds))
                for each in some
                if each not in kept
            )
        swept = self._spool.sweep(older_than_seconds, keep={entry_id for entry_id, _, _ in rows})
        swept += self._sweep_attempts(older_than_seconds)
        del found["as_it_should_be"]
        return Reconciliation(swept=swept, **found)

    def _check_row(self, look: Spool | Look, entry_id: str, state: State, redacted_file: str | None) -> _Finding:
        # Files are older than what the row says of them, and go only after it says SENT or DROPPED. So a file that is
        # missing here is lost, if the row has still not changed: the ledger asks that again when it changes the row.
        if not look.has_original(entry_id):
            self._spool.check_there()
            return "held" if self._ledger.hold_without_bytes(entry_id) else "as_it_should_be"
        if state is not State.REDACTED or redacted_file is None or look.has_redacted(redacted_file):
            return "as_it_should_be"
        return "redact_again" if self._ledger.redact_again(entry_id, redacted_file) else "as_it_should_be"

    def _look_again(self, entry_id: str) -> _Finding:
        is_back = self._spool.has_original(entry_id) and self._ledger.retry(entry_id)
        return "found_again" if is_back else "as_it_should_be"

    def _sweep_attempts(self, older_than_seconds: float) -> int:
        """Delete clean files that no row means, nor will: the fence lets only the latest claim settle."""
        swept = 0
        files = self._spool.clean_files(older_than_seconds)
        while some := list(islice(files, _AT_ONCE)):
            rows = self._ledger.attempts([file.entry_id for file in some])
            for file in some:
                attempts, meant = rows.get(file.entry_id, (0, None))
                if file.attempt < attempts and file.name != meant:
                    with suppress(OSError):  # it is tried again at the next look
                        self._spool.remove_redacted(file.name)
                        swept += 1
        return swept

    def _check_bytes(self, entry_id: str, state: State | None, older_than_seconds: float) -> _Finding:
        if state is None:
            return self._insert(entry_id, older_than_seconds)
        if state not in (State.SENT, State.DROPPED):
            return "as_it_should_be"
        # Final, so a sender that is deleting the same files at this moment only makes them go sooner.
        self._spool.remove(entry_id, self._ledger.entry(entry_id).entry.attempts)
        return "deleted"

    def _insert(self, entry_id: str, older_than_seconds: float) -> _Finding:
        sidecar = self._readable_sidecar(entry_id)
        if sidecar is None and not self._spool.has_original(entry_id):
            return "as_it_should_be"  # Accepted, sent and deleted since it was listed.
        if sidecar is None:
            log.error("bytes without a readable sidecar", entry_id=entry_id)
            return "unreadable"
        # Its receiver may be about to insert the row itself: the same id is accepted twice without harm.
        entry = QueueEntry(
            entry_id,
            sidecar.instance,
            sidecar.origin,
            State.RECEIVED,
            sidecar.digest,
            sidecar.size,
            priority=sidecar.priority,
        )
        is_whole = self._is_whole(entry)
        if self._ledger.accept(entry) is Accepted.NEW:
            if is_whole:
                return "inserted"
            self._ledger.hold_without_bytes(entry_id, str(Damaged()))
            return "held"
        # A receiver may still wait to insert this row. Were the other entry dropped meanwhile, it would succeed, and
        # must find its bytes here: hence the age.
        if self._spool.age(entry_id) < older_than_seconds or not self._is_known_whole(entry):
            return "as_it_should_be"
        self._spool.remove(entry_id, attempts=0)
        return "duplicates"

    def _is_known_whole(self, duplicate: QueueEntry) -> bool:
        """Whether the other one has its own bytes; if not, these are needed as soon as that is noticed."""
        known = self._ledger.find(duplicate)
        try:
            return known is not None and self._is_whole(self._ledger.entry(known).entry)
        except LookupError:  # it has gone since: at the next look, these have a row
            return False

    def _is_whole(self, entry: QueueEntry) -> bool:
        """Whether its bytes are those that arrived; also when they have been sent and deleted since."""
        try:
            with self._spool.original_file(entry.id) as path:
                return digest_of(path, entry.digest) == entry.digest
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def _readable_sidecar(self, entry_id: str) -> Sidecar | None:
        try:
            return self._spool.sidecar(entry_id)
        except (OSError, ValueError):
            return None


def _tried(entry_id: str, look: Callable[[], _Finding]) -> _Finding:
    """Look at one; what the disk refuses of it keeps nobody from looking at the others."""
    try:
        return look()
    except OSError as error:  # not its own text, which quotes the path
        log.error("bytes that the disk refuses", entry_id=entry_id, reason=error.strerror)  # noqa: TRY400
        return "unreadable"
