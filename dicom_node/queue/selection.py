"""Which instances an operator means, when he means thousands."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, not_, or_, select, true

from dicom_node.model import State
from dicom_node.queue.schema import delivery, instance


@dataclass(frozen=True, slots=True)
class Selection:
    """Instances for which everything that is given holds; all of them when nothing is.

    Attributes
    ----------
    states : tuple of State
        One of these, as :attr:`~dicom_node.queue.EntrySummary.state` says it; any when empty.
    reason : str
        What the reason of the instance, or of a delivery of it, has in it; case does not count.
    destination : str
        Where a delivery of it goes; a held one when only what is HELD is meant.
    calling_ae_title : str
        Who sent it.
    received_before, received_after : float or None
        When it was received, in seconds since the epoch.
    """

    states: tuple[State, ...] = ()
    reason: str = ""
    destination: str = ""
    calling_ae_title: str = ""
    received_before: float | None = None
    received_after: float | None = None

    def where(self) -> ColumnElement[bool]:
        """Tell it in SQL, of rows of ``instance``."""
        said: list[ColumnElement[bool]] = [true()]
        if self.states:
            said.append(or_(*(shown_as(state) for state in self.states)))
        if self.destination or self.reason:
            said.append(self._by_delivery())
        if self.calling_ae_title:
            said.append(instance.c.calling_ae_title == self.calling_ae_title)
        if self.received_before is not None:
            said.append(instance.c.received_at <= self.received_before)
        if self.received_after is not None:
            said.append(instance.c.received_at >= self.received_after)
        return and_(*said)

    def _by_delivery(self) -> ColumnElement[bool]:
        fits: list[ColumnElement[bool]] = [true()]
        if self.destination:
            fits.append(delivery.c.destination == self.destination)
        if self.reason:
            fits.append(_has(delivery.c.reason, self.reason))
        if self.states == (State.HELD,):
            fits.append(delivery.c.state == State.HELD)
        by_delivery = instance.c.id.in_(select(delivery.c.instance_id).where(*fits))
        return by_delivery if self.destination else or_(_has(instance.c.reason, self.reason), by_delivery)


def shown_as(state: State) -> ColumnElement[bool]:
    """Tell :attr:`~dicom_node.queue.EntrySummary.state` in SQL, so that the index on the state serves."""
    is_redacted = instance.c.state == State.REDACTED
    if state is State.HELD:
        return or_(instance.c.state == State.HELD, and_(is_redacted, _has_delivery(State.HELD)))
    is_stored = and_(not_(_has_delivery(State.REDACTED)), _has_delivery(State.STORED))
    if state is State.STORED:
        return and_(is_redacted, not_(_has_delivery(State.HELD)), is_stored)
    if state is State.REDACTED:
        return and_(is_redacted, not_(_has_delivery(State.HELD)), not_(is_stored))
    return instance.c.state == state


def _has_delivery(state: State) -> ColumnElement[bool]:
    return instance.c.id.in_(select(delivery.c.instance_id).where(delivery.c.state == state))


def _has(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    return func.lower(column).contains(text.lower(), autoescape=True)
