"""Those who change the tree while a service watches it: at a steady rate, or as fast as ZooKeeper takes it.

Both run in processes of their own. Times are `time.monotonic()`, which all processes of a machine share.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from benchmarks.tree import Tree, connected, value

_SECONDS = 120.0
_SETS_A_REQUEST = 100
_REQUESTS_IN_FLIGHT = 4
_WRITERS = 2


def steadily(hosts: str, tree: Tree, numbers: Sequence[int], number: int, rate: float) -> list[float]:
    """Sets these leaves to their `number`-th value, `rate` a second; when each request was sent."""
    client = connected(hosts)
    try:
        sent: list[float] = []
        answers: deque[Any] = deque()
        begin = time.monotonic()
        for at, leaf in enumerate(numbers):
            wait = begin + at / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            sent.append(time.monotonic())
            answers.append(client.set_async(tree.leaf(leaf), value(leaf, number)))
            while answers and answers[0].ready():
                answers.popleft().get()
        for answer in answers:
            answer.get(timeout=_SECONDS)
        return sent
    finally:
        client.stop()
        client.close()


def burst(hosts: str, tree: Tree, numbers: Sequence[int], changes: Sequence[int]) -> tuple[float, float]:
    """Sets these leaves to their values after each of `changes`, one after the other, by several processes.

    Returns when the first request was sent and when the last answer came.
    """
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    shares = [numbers[first::_WRITERS] for first in range(_WRITERS)]
    processes = [context.Process(target=_burst, args=(told, hosts, tree, share, changes)) for share in shares]
    for process in processes:
        process.start()
    times = [told.get(timeout=_SECONDS) for _ in processes]
    return min(began for began, _ in times), max(ended for _, ended in times)


def _burst(told: Any, hosts: str, tree: Tree, numbers: Sequence[int], changes: Sequence[int]) -> None:
    client = connected(hosts)
    try:
        answers: deque[Any] = deque()
        began = time.monotonic()
        for change in changes:
            for start in range(0, len(numbers), _SETS_A_REQUEST):
                transaction = client.transaction()
                for leaf in numbers[start : start + _SETS_A_REQUEST]:
                    transaction.set_data(tree.leaf(leaf), value(leaf, change))
                if len(answers) >= _REQUESTS_IN_FLIGHT:
                    _done(answers.popleft())
                answers.append(transaction.commit_async())
        while answers:
            _done(answers.popleft())
        told.put((began, time.monotonic()))  # at once: ending the session takes its time
    finally:
        client.stop()
        client.close()


def _done(answer: Any) -> None:
    for result in answer.get(timeout=_SECONDS):
        if isinstance(result, Exception):
            raise result
