"""What takes long is kept off the event loop's thread, and comes back to it once it no longer does."""

from __future__ import annotations

import threading

import pytest

from hybridsync.sinks.short_work import FIRST_BYTES, INLINE_SECONDS, MOST_BYTES, ShortWork


class Work:
    """Takes as many seconds of its clock as it is told to, and remembers on which thread."""

    def __init__(self) -> None:
        self.now = 0.0
        self.short = ShortWork(lambda: self.now)

    async def is_inline(self, size: int, seconds: float) -> bool:
        def work() -> int:
            self.now += seconds
            return threading.get_ident()

        return await self.short.run(size, work) == threading.get_ident()


async def test_little_is_done_at_once_and_much_in_a_thread_while_nothing_is_known() -> None:
    assert await Work().is_inline(FIRST_BYTES, 0)
    assert not await Work().is_inline(FIRST_BYTES + 1, 0)


async def test_work_that_turns_out_short_comes_to_the_loop() -> None:
    work = Work()
    size = 8 * FIRST_BYTES
    assert [await work.is_inline(size, INLINE_SECONDS / 2) for _ in range(5)] == [False, False, False, True, True]
    assert not await work.is_inline(3 * size, 0)


async def test_what_is_too_much_by_any_measure_never_comes_to_the_loop() -> None:
    work = Work()
    assert [await work.is_inline(MOST_BYTES, 0) for _ in range(9)][-1]
    assert not await work.is_inline(MOST_BYTES + 1, 0)


async def test_work_that_turns_out_long_leaves_the_loop_and_returns_when_it_is_short_again() -> None:
    work = Work()
    assert await work.is_inline(FIRST_BYTES, 10 * INLINE_SECONDS)
    assert not await work.is_inline(FIRST_BYTES, 10 * INLINE_SECONDS)
    assert [await work.is_inline(FIRST_BYTES, 0) for _ in range(5)] == [False, False, False, False, True]


async def test_what_is_tiny_says_nothing_about_much() -> None:
    work = Work()
    assert await work.is_inline(1, INLINE_SECONDS / 100)
    assert await work.is_inline(FIRST_BYTES, 0)


@pytest.mark.parametrize("size", [0, FIRST_BYTES * 2])
async def test_an_error_is_told_and_the_time_until_then_counts(size: int) -> None:
    work = Work()

    def fail() -> None:
        work.now += 100 * INLINE_SECONDS
        raise ValueError("no document")

    with pytest.raises(ValueError, match="no document"):
        await work.short.run(size, fail)
    assert not await work.is_inline(FIRST_BYTES, 0)
