"""One transaction for all that wait for one: a commit costs the same for one row as for many."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

_Work = TypeVar("_Work")
_Result = TypeVar("_Result")


class _Waiting(Generic[_Work, _Result]):
    def __init__(self, work: _Work) -> None:
        self.work = work
        self.result: _Result | None = None
        self.error: BaseException | None = None
        self.is_done = False


class Together(Generic[_Work, _Result]):
    """Does work of many threads in one go; each of them returns when its own is done, and not before.

    Whoever comes while a transaction runs waits for the next, which takes all that have come until then.

    Parameters
    ----------
    do : callable
        Takes some work, in the order in which it came, and returns the result of each. When it raises, each is done
        again for itself: one that cannot be done is no other's failure.
    everybodys : tuple of type
        What it raises where it could do none: nobody is to wait for the same to happen to each one before.
    turn : callable, optional
        What is entered before, where others than these threads take turns as well: who comes while that is waited for
        is taken along.
    """

    def __init__(
        self,
        do: Callable[[Sequence[_Work]], Sequence[_Result]],
        everybodys: tuple[type[Exception], ...] = (),
        turn: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._do = do
        self._everybodys = everybodys
        self._turn = turn
        self._own_turn = threading.Lock()
        self._lock = threading.Lock()
        self.waiting: list[_Waiting[_Work, _Result]] = []

    def __call__(self, work: _Work) -> _Result:
        """Have it done; what was raised for it is raised here."""
        own = _Waiting[_Work, _Result](work)
        with self._lock:
            self.waiting.append(own)
        with self._own_turn:
            if not own.is_done:
                try:
                    with self._turn():
                        self._carry_out(self._all_waiting())
                finally:
                    self._withdraw(own)
        if own.error is not None:
            raise own.error
        if not own.is_done:  # whoever had it in hand was ended: no result is not a result
            msg = "not carried out"
            raise RuntimeError(msg)
        return own.result  # type: ignore[return-value]  # it is done, so there is one

    def _all_waiting(self) -> Sequence[_Waiting[_Work, _Result]]:
        with self._lock:
            batch, self.waiting = self.waiting, []
        return batch

    def _withdraw(self, own: _Waiting[_Work, _Result]) -> None:
        """Let nobody do it any more: where there was no turn, this thread says that it was not done."""
        with self._lock:
            if own in self.waiting:
                self.waiting.remove(own)

    def _carry_out(self, batch: Sequence[_Waiting[_Work, _Result]]) -> None:
        try:
            results = list(zip(batch, self._do([each.work for each in batch]), strict=True))
        except Exception as error:  # noqa: BLE001 - raised in the thread whose work it is
            if len(batch) > 1 and not isinstance(error, self._everybodys):
                for each in batch:
                    self._carry_out([each])
                return
            for each in batch:
                each.error, each.is_done = error, True
            return
        for each, result in results:
            each.result, each.is_done = result, True
