"""The steps of one change in the log: which lines there are, for which keys, and that nothing is spent otherwise."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from hybridsync import tracing
from hybridsync.errors import SinkUnavailable
from hybridsync.model import Applied, Dirty, Listing, Put, Record, Remove
from hybridsync.resource import Resource
from hybridsync.supervisor import Supervised
from hybridsync.testing import MemorySink, MemorySource, MemoryStore
from hybridsync.traced_seams import traced
from hybridsync.tracing import Tracer
from hybridsync.znode import Stat, version_of
from tests.eventually import eventually
from tests.multiread_answers import sent_stat
from tests.unit.engine import fast

STEPS_OF_A_CHANGE = ["event seen", "read", "compared", "written", "acknowledged"]


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """Every log line, as structlog's event dictionaries."""
    capture, before = LogCapture(), structlog.get_config()
    structlog.configure(processors=[capture], wrapper_class=structlog.stdlib.BoundLogger)
    yield capture.entries
    structlog.configure(**before)
    logging.getLogger(tracing.LOGGER).setLevel(logging.NOTSET)


def steps(lines: list[Any], key: str) -> list[str]:
    return [line["step"] for line in lines if line["event"] == "trace" and line["key"] == key]


def line(lines: list[Any], step: str, key: str = "/a/b") -> Any:
    (found,) = [each for each in lines if each["event"] == "trace" and (each["step"], each["key"]) == (step, key)]
    return found


def znode(key: str, mzxid: int) -> Record:
    stat = Stat(1, mzxid, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    return Record(key, b"", version_of(stat), sent_stat(stat))


@asynccontextmanager
async def followed(
    source: MemorySource, sink: MemorySink, *globs: str, everything: bool = False
) -> AsyncIterator[None]:
    """A resource on the twins, traced, and in sync at the beginning."""
    resource = Resource("r", *traced("r", source, sink, globs, everything=everything), MemoryStore(), fast())
    task = Supervised("r", resource.run)
    task.start()
    try:
        await eventually(lambda: resource.status().in_sync, what="in sync")
        yield
    finally:
        resource.stop()
        await task.stop(5.0)
        await resource.close()


async def test_a_watched_change_of_a_named_key_has_a_line_a_step(lines: list[Any]) -> None:
    source, sink = MemorySource(), MemorySink()
    async with followed(source, sink, "named/*"):
        source.put("named/x", b"1")
        source.put("other", b"1")
        await eventually(lambda: "acknowledged" in steps(lines, "named/x"), what="the last step")

    assert steps(lines, "named/x") == STEPS_OF_A_CHANGE
    assert steps(lines, "other") == []
    traced_lines = [each for each in lines if each["event"] == "trace"]
    assert {(each["log_level"], each["resource"]) for each in traced_lines} == {("info", "r")}
    assert [each["ms"] for each in traced_lines] == sorted(each["ms"] for each in traced_lines)


async def test_at_debug_every_watched_change_is_traced_and_a_first_sync_is_not(lines: list[Any]) -> None:
    source, sink = MemorySource(), MemorySink()
    source.put("old", b"1")
    async with followed(source, sink, everything=True):
        source.put("new", b"1")
        await eventually(lambda: "acknowledged" in steps(lines, "new"), what="the last step")
        source.remove("new")
        await eventually(lambda: len(steps(lines, "new")) == 10, what="the removal as well")

    assert steps(lines, "new") == STEPS_OF_A_CHANGE * 2
    assert steps(lines, "old") == []
    assert {each["log_level"] for each in lines if each["event"] == "trace"} == {"debug"}


async def test_a_full_sync_traces_named_keys_only_and_says_what_is_equal(lines: list[Any]) -> None:
    source, sink = MemorySource(), MemorySink()
    source.put("named", b"1")
    source.put("other", b"1")
    async with followed(source, sink, "named"):
        assert steps(lines, "named") == ["read", "compared", "written", "acknowledged"]
    lines.clear()

    async with followed(source, sink, "named"):
        assert steps(lines, "named") == ["read", "compared"]
        assert line(lines, "compared", "named")["result"] == "equal, nothing to write"
        assert steps(lines, "other") == []


async def test_a_named_key_that_somebody_deleted_from_the_mirror_is_not_called_equal(lines: list[Any]) -> None:
    source, sink = MemorySource(), MemorySink()
    source.put("named", b"1")
    plain, wrapped = traced("r", source, sink, ["named"], everything=False)
    await wrapped.apply([Put(source.records["named"])])
    assert [len(piece) async for piece in wrapped.index()] == [1]
    sink.records.clear()
    lines.clear()

    assert [piece async for piece in wrapped.index()] in ([], [{}])
    assert [len(batch.records) async for batch in plain.list(Listing())] == [1]

    assert steps(lines, "named") == ["read"]


def test_lines_carry_the_zxid_of_the_state_and_of_the_removal(lines: list[Any]) -> None:
    tracer = Tracer("r", ["/a/*"], everything=False)
    put, remove = Put(znode("/a/b", 77)), Remove("/a/c", as_of=78)
    for change in (put, remove):
        tracer.seen(change.key, "changed")
    tracer.read(["/a/b", "/a/c", "/a/hidden"], [put, remove])
    tracer.written(tracer.writing([put, remove]), Applied())

    for step in ("read", "compared", "written", "acknowledged"):
        assert line(lines, step)["zxid"] == 77
        assert line(lines, step, "/a/c")["zxid"] == 78
    assert "zxid" not in line(lines, "event seen")
    assert line(lines, "event seen")["change"] == "changed"
    assert line(lines, "acknowledged")["result"] == "stored"
    assert line(lines, "acknowledged", "/a/c")["result"] == "removed"
    assert line(lines, "read", "/a/c")["found"] == "gone"
    assert "the mirror keeps" in line(lines, "read", "/a/hidden")["found"]


def test_a_write_that_fails_is_told_and_its_milliseconds_go_on(
    lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    tracer, put = Tracer("r", [], everything=True), Put(znode("/a/b", 5))
    tracer.seen("/a/b", None)
    tracer.read(["/a/b"], [put])
    tracer.not_written(tracer.writing([put]), SinkUnavailable("MongoDB: no answer"))
    tracer.read(["/a/b"], [put])
    tracer.written(tracer.writing([put]), Applied())

    assert [each["step"] for each in lines] == [
        *STEPS_OF_A_CHANGE[:4],
        "not written",
        *STEPS_OF_A_CHANGE[1:],
    ]
    assert line(lines, "not written")["error"] == "MongoDB: no answer"
    times = [each["ms"] for each in lines]
    assert times == sorted(times)
    assert len(set(times)) == len(times)


def test_an_event_during_the_write_begins_a_change_of_its_own(lines: list[Any]) -> None:
    tracer, first, second = Tracer("r", [], everything=True), Put(znode("/a/b", 5)), Put(znode("/a/b", 6))
    tracer.seen("/a/b", None)
    tracer.read(["/a/b"], [first])
    under_way = tracer.writing([first])
    tracer.seen("/a/b", None)
    tracer.written(under_way, Applied())
    tracer.read(["/a/b"], [second])
    tracer.written(tracer.writing([second]), Applied())

    assert [each["zxid"] for each in lines if each["step"] == "acknowledged"] == [5, 6]
    assert len(lines) == 10


def test_a_document_that_cannot_be_stored_says_why(lines: list[Any]) -> None:
    tracer, put = Tracer("r", ["/a/b"], everything=False), Put(znode("/a/b", 5))
    tracer.written(tracer.writing([put]), Applied(failed={"/a/b": "too large"}))
    assert line(lines, "acknowledged")["result"] == "too large"


def test_events_that_are_never_read_are_forgotten_and_bounded(
    lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "KEYS_REMEMBERED", 2)
    tracer = Tracer("r", [], everything=True)
    for key in ("/1", "/2", "/3"):
        tracer.seen(key, None)
    tracer.read(["/1", "/2", "/3"], [])
    assert [each["key"] for each in lines if each["step"] == "read"] == ["/2", "/3"]

    tracer.seen("/4", None)
    tracer.watching()
    lines.clear()
    tracer.read(["/4"], [Put(znode("/4", 1))])
    assert lines == []


@pytest.mark.parametrize("level", [logging.ERROR, logging.INFO])
def test_what_is_named_is_logged_at_any_level(level: int, caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger()
    before = root.level
    root.setLevel(level)
    try:
        Tracer("r", ["/a"], everything=False)
        assert logging.getLogger(tracing.LOGGER).isEnabledFor(logging.INFO)
        assert not logging.getLogger(tracing.LOGGER).isEnabledFor(logging.DEBUG)
    finally:
        root.setLevel(before)
        logging.getLogger(tracing.LOGGER).setLevel(logging.NOTSET)


def test_nothing_is_wrapped_when_nothing_is_traced() -> None:
    source, sink = MemorySource(), MemorySink()
    assert traced("r", source, sink, (), everything=False) == (source, sink)


async def test_a_wrapped_source_and_sink_say_and_do_the_same(lines: list[Any]) -> None:
    source, sink = MemorySource(), MemorySink()
    source.invalid["k"], source.proof_seconds = "reason", 7.0
    source.put("a", b"1")
    wrapped_source, wrapped_sink = traced("r", source, sink, ["a"], everything=False)
    assert (wrapped_source.description, wrapped_sink.description) == (source.description, sink.description)
    assert (wrapped_source.invalid, wrapped_source.proof_seconds) == ({"k": "reason"}, 7.0)
    assert wrapped_sink.keeps_newest == sink.keeps_newest
    changes = await wrapped_source.read([Dirty("a")])
    assert (await wrapped_sink.apply(changes)).inserted == 1
    assert await wrapped_sink.count() == 1
    assert await wrapped_sink.held(["a", "b"]) == await sink.held(["a", "b"]) != {}
    assert await wrapped_sink.differing([source.records["a"]]) == []


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("/a/b", ["/a/b"], ["/a", "/a/b/c", "/a/bb"]),
        ("/a/*", ["/a/b"], ["/a", "/a/b/c"]),
        ("/a/**", ["/a/b", "/a/b/c"], ["/a", "/ab/c"]),
        ("/**/c", ["/c", "/a/b/c"], ["/a/b/cc"]),
        ("**", ["/a", "a", "ns/pod"], ["/"]),
        ("default/web-?", ["default/web-1", "/default/web-1"], ["other/web-1"]),
        ("/a/[xy]", ["/a/x"], ["/a/z"]),
    ],
)
def test_a_glob_matches_keys_and_not_what_is_below_them(glob: str, yes: list[str], no: list[str]) -> None:
    tracer = Tracer("r", [glob], everything=False)
    assert [key for key in yes + no if tracer.names(key)] == yes
