"""The helper that the tests wait with: it returns what came, and says what did not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.eventually import eventually


async def test_the_first_true_answer_is_returned() -> None:
    answers = iter([None, 0, "", "here"])
    assert await eventually(lambda: next(answers)) == "here"


async def test_a_coroutine_is_awaited() -> None:
    answers = iter([False, True])

    async def ask() -> bool:
        return next(answers)

    assert await eventually(ask)


async def test_an_assertion_that_fails_is_tried_again() -> None:
    answers = iter([1, 2, 3])

    def three() -> bool:
        assert next(answers) == 3
        return True

    assert await eventually(three)


async def test_what_did_not_come_is_said_together_with_the_last_answer() -> None:
    with pytest.raises(AssertionError, match=r"after 0\.05 s still not so: the count is 5; last answer: 0"):
        await eventually(lambda: 0, timeout=0.05, what="the count is 5")


async def test_any_other_error_passes_at_once() -> None:
    def broken() -> bool:
        raise ZeroDivisionError

    predicate: Callable[[], bool | Awaitable[bool]] = broken
    with pytest.raises(ZeroDivisionError):
        await eventually(predicate)
