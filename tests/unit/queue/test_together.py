"""One transaction for all that wait for one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from dicom_node.queue.together import Together

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def test_those_who_come_while_one_is_at_work_are_served_together_and_each_gets_its_own_result() -> None:
    batches: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def double(work: Sequence[int]) -> list[int]:
        batches.append(list(work))
        begun.set()
        go_on.wait(60)
        return [2 * each for each in work]

    together = Together(double)
    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(together, 0)
        assert begun.wait(60)
        others = [threads.submit(together, number) for number in range(1, 5)]
        while len(together.waiting) < 4:
            pass
        assert not any(each.done() for each in [first, *others])
        go_on.set()
        assert [each.result() for each in [first, *others]] == [0, 2, 4, 6, 8]
    assert [sorted(batch) for batch in batches] == [[0], [1, 2, 3, 4]]


def test_those_who_come_while_the_turn_is_waited_for_are_taken_along() -> None:
    batches: list[list[int]] = []
    turn, waits = threading.Lock(), threading.Event()

    @contextmanager
    def others_turn() -> Iterator[None]:
        waits.set()
        with turn:
            yield

    def keep(work: Sequence[int]) -> Sequence[int]:
        assert turn.locked()
        batches.append(list(work))
        return work

    together = Together(keep, turn=others_turn)
    with ThreadPoolExecutor(4) as threads:
        with turn:
            first = threads.submit(together, 0)
            assert waits.wait(60)
            others = [threads.submit(together, number) for number in range(1, 4)]
            while len(together.waiting) < 4:
                pass
        assert [each.result() for each in [first, *others]] == [0, 1, 2, 3]
    assert [sorted(batch) for batch in batches] == [[0, 1, 2, 3]]


def test_who_has_no_turn_says_so_and_nobody_does_it_afterwards() -> None:
    done: list[int] = []
    has_turn = False

    @contextmanager
    def turn() -> Iterator[None]:
        if not has_turn:
            raise OSError
        yield

    def keep(work: Sequence[int]) -> Sequence[int]:
        done.extend(work)
        return work

    together = Together(keep, turn=turn)
    with pytest.raises(OSError, match=r"^$"):
        together(1)
    has_turn = True
    assert together(2) == 2
    assert (done, together.waiting) == ([2], [])


def test_one_that_cannot_be_done_is_no_others_failure() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def invert(work: Sequence[int]) -> list[float]:
        begun.set()
        go_on.wait(60)
        return [1 / each for each in work]

    together = Together(invert)
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(together, 1)
        assert begun.wait(60)
        good, bad, other = (threads.submit(together, number) for number in (2, 0, 4))
        while len(together.waiting) < 3:
            pass
        go_on.set()
        assert (first.result(), good.result(), other.result()) == (1, 0.5, 0.25)
        with pytest.raises(ZeroDivisionError):
            bad.result()


def test_where_none_can_be_done_nobody_waits_for_the_others_to_fail_first() -> None:
    begun, go_on, tries = threading.Event(), threading.Event(), []

    def refuse(work: Sequence[int]) -> list[int]:
        tries.append(len(work))
        begun.set()
        go_on.wait(60)
        raise ConnectionError

    together = Together(refuse, everybodys=(OSError,))
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(together, 0)
        assert begun.wait(60)
        others = [threads.submit(together, number) for number in range(1, 4)]
        while len(together.waiting) < 3:
            pass
        go_on.set()
        assert all(isinstance(each.exception(), ConnectionError) for each in [first, *others])
    assert tries == [1, 3]


@pytest.mark.parametrize("ending", [SystemExit, None])
def test_nobody_takes_what_was_not_carried_out_for_done(ending: type[BaseException] | None) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def give_up(_: Sequence[int]) -> list[int]:
        begun.set()
        go_on.wait(60)
        if ending:
            raise ending
        return []

    together = Together(give_up)
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(together, 0)
        assert begun.wait(60)
        others = [threads.submit(together, number) for number in range(1, 4)]
        while len(together.waiting) < 3:
            pass
        go_on.set()
        assert all(each.exception() is not None for each in [first, *others])
