"""What is learnt from lost connections: limits that are there, and none that are not."""

from __future__ import annotations

from hybridsync.zookeeper.limits import (
    ANSWER_BYTES,
    LOSSES_ALONE,
    REFUSED_SECONDS,
    REQUEST_BYTES,
    RIGHT_AFTER_SECONDS,
    Limits,
    Weight,
)


class Server:
    """Drops the connection at requests of more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.now = 0.0
        self.losses = 0
        self.limits = Limits("a server", clock=lambda: self.now)

    def send(self, size: int, *, divisible: bool = True) -> bool:
        weight = Weight(size, 0, divisible)
        if size > self.limit:
            self.losses += 1
            self.limits.lost([(weight, self.now)])
            return False
        self.limits.answered(weight)
        return True

    def send_batches(self) -> None:
        while not self.send(self.limits.request_bytes):
            pass


def test_batches_are_halved_until_they_fit() -> None:
    server = Server(100_000)
    server.send_batches()
    assert 50_000 <= server.limits.request_bytes <= 100_000
    assert server.losses < 6


def test_one_request_that_cannot_be_cut_is_refused_after_some_losses_and_tried_once_more_later() -> None:
    server = Server(100_000)
    server.send_batches()
    for _ in range(LOSSES_ALONE):
        assert server.limits.refused_bytes is None
        server.send(150_000, divisible=False)
    assert server.limits.refused_bytes == 150_000
    server.now += REFUSED_SECONDS
    assert server.limits.refused_bytes is None
    server.send(150_000, divisible=False)
    assert server.limits.refused_bytes == 150_000
    server.now += REFUSED_SECONDS
    server.limit = 200_000
    assert server.limits.refused_bytes is None
    assert server.send(150_000, divisible=False)
    server.limit = 100_000
    server.send(150_000, divisible=False)
    assert server.limits.refused_bytes is None, "one loss is an accident again"


def test_connections_that_are_cut_at_random_teach_nothing() -> None:
    limits = Limits("a server", clock=lambda: 0.0)
    weight = Weight(REQUEST_BYTES, ANSWER_BYTES)
    for _ in range(1000):
        limits.answered(weight)
        limits.lost([(weight, 0.0), (Weight(100), 0.0)])
    assert (limits.request_bytes, limits.answer_bytes) == (REQUEST_BYTES, ANSWER_BYTES)


def test_connections_lost_with_small_requests_under_way_teach_nothing() -> None:
    limits = Limits("a server", clock=lambda: 0.0)
    for _ in range(1000):
        limits.lost([(Weight(2_000, 10_000), 0.0)])
        limits.lost([])
    assert (limits.request_bytes, limits.answer_bytes) == (REQUEST_BYTES, ANSWER_BYTES)


def test_connections_lost_long_after_the_request_was_sent_teach_nothing() -> None:
    limits = Limits("a server", clock=lambda: RIGHT_AFTER_SECONDS + 1)
    for _ in range(1000):
        limits.lost([(Weight(REQUEST_BYTES), 0.0)])
    assert limits.request_bytes == REQUEST_BYTES


def test_a_server_that_takes_less_than_it_did_is_noticed() -> None:
    server = Server(REQUEST_BYTES)
    server.send_batches()
    server.limit = 60_000
    server.send_batches()
    assert server.limits.request_bytes <= 60_000


def test_long_answers_are_halved_too() -> None:
    limits = Limits("a server", clock=lambda: 0.0)
    for _ in range(3):
        limits.lost([(Weight(1_000, limits.answer_bytes), 0.0)])
    assert limits.answer_bytes < ANSWER_BYTES / 2
