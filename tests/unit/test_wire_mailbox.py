"""Messages from a foreign thread: order, no loss, and a loop that stays alive in a flood."""

from __future__ import annotations

import asyncio
import threading
import time

from hybridsync.zookeeper.mailbox import Mailbox
from tests.eventually import eventually


async def test_messages_arrive_in_the_order_of_posting_and_none_is_lost() -> None:
    mailbox = Mailbox(asyncio.get_running_loop())
    seen: list[int] = []

    def post() -> None:
        for number in range(50_000):
            mailbox.post(seen.append, number)
            if number % 5_000 == 0:
                time.sleep(0.001)

    await asyncio.to_thread(post)
    await eventually(lambda: len(seen) == 50_000, what="every message handled")
    assert seen == list(range(50_000))


async def test_each_thread_keeps_its_order() -> None:
    mailbox = Mailbox(asyncio.get_running_loop())
    seen: list[tuple[int, int]] = []

    def post(thread: int) -> None:
        for number in range(5_000):
            mailbox.post(lambda pair: seen.append(pair), (thread, number))

    threads = [threading.Thread(target=post, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    await eventually(lambda: len(seen) == 20_000, what="every message handled")
    for number in range(4):
        assert [value for thread, value in seen if thread == number] == list(range(5_000))


async def test_a_flood_is_worked_off_in_slices() -> None:
    mailbox = Mailbox(asyncio.get_running_loop())
    handled = turns = 0

    def slow() -> None:
        nonlocal handled
        time.sleep(0.0005)
        handled += 1

    for _ in range(400):
        mailbox.post(slow)
    while handled < 400:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 8


async def test_a_message_that_fails_does_not_hold_up_the_next() -> None:
    loop = asyncio.get_running_loop()
    complaints: list[str] = []
    loop.set_exception_handler(lambda _, context: complaints.append(str(context["exception"])))
    mailbox = Mailbox(loop)
    seen: list[int] = []

    def fail() -> None:
        raise RuntimeError("broken")

    mailbox.post(fail)
    mailbox.post(seen.append, 1)
    await eventually(lambda: seen == [1], what="the message behind the broken one")
    assert complaints == ["broken"]


def test_posting_to_a_closed_loop_is_harmless() -> None:
    loop = asyncio.new_event_loop()
    mailbox = Mailbox(loop)
    loop.close()
    seen: list[int] = []
    mailbox.post(seen.append, 1)
    assert seen == []
