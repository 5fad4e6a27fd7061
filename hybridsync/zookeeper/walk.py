"""Reading many znodes: the whole of a tree, or a list of paths, with a few multiReads under way.

The walk is a generator that asks only when it is asked: a slow consumer holds at most the
answers that are under way, and one that stops leaves nothing running.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import aclosing
from itertools import compress, repeat
from typing import NamedTuple, Protocol

from hybridsync.errors import ListingFailed
from hybridsync.give_way import MANY_RECORDS, give_way
from hybridsync.model import Record
from hybridsync.znode import prefix_below
from hybridsync.zookeeper.batching import Batcher, Expansion, Frame, Request, Run, Sizes
from hybridsync.zookeeper.calls import Answer, AnswerTooLong
from hybridsync.zookeeper.codes import in_words
from hybridsync.zookeeper.limits import refused
from hybridsync.zookeeper.session import Session
from hybridsync.zookeeper.wire import NO_AUTH, NO_NODE, Data, ErrorCode, MultiRead, OpResult

REQUESTS_IN_FLIGHT = 4

MANY_NAMES = 1000
"""To look at so many takes about a millisecond."""

_new = tuple.__new__
"""Makes a named tuple of a tuple without a call into Python: this file sees every znode of a tree."""


class Filter(Protocol):
    """What is left out. False where that is nothing."""

    def __bool__(self) -> bool:
        """Whether anything may be."""

    def excluded(self, path: str) -> bool:
        """Whether the znode is not to be read."""

    def nothing_below(self, path: str) -> bool:
        """Whether no child of it is to be read."""


class Everything:
    """A filter that leaves out nothing, for single znodes."""

    def __bool__(self) -> bool:
        """No."""
        return False

    def excluded(self, path: str) -> bool:
        """No."""
        return False

    def nothing_below(self, path: str) -> bool:
        """Only the znodes themselves are read."""
        return True


class Piece(NamedTuple):
    """What one answer brought; `zxid` is a state of the server not older than what it says.

    `forbidden` are znodes that may not be read; `too_long` those of which server or client cannot take as much as
    would have to be sent, each with the reason. Nothing below either is read.
    """

    found: list[Record]
    gone: list[str]
    forbidden: list[str]
    too_long: dict[str, str]
    zxid: int


async def walk(session: Session, root: str, leave_out: Filter, *, epoch: int) -> AsyncGenerator[Piece, None]:
    """Reads `root` and everything below it, each znode once, on the connection of `epoch`.

    A znode that goes away meanwhile is among `gone` or not named at all. Of one that may not be
    read nothing below is read. Raises what `Session.send` tells, and `ListingFailed` for any
    other error of a single znode.
    """
    if leave_out.excluded(root):
        return
    reader = _Reader(session, leave_out, epoch, descend=True)
    reader.add_path(root, Sizes())
    async with aclosing(reader.pieces()) as pieces:
        async for piece in pieces:
            yield piece


async def pieces_of(
    session: Session, paths: Iterable[str], leave_out: Filter, *, epoch: int
) -> AsyncGenerator[Piece, None]:
    """Reads the given znodes, without their children, piece by piece. Raises like `walk`."""
    reader = _Reader(session, leave_out, epoch, descend=False)
    reader.add_paths([path for path in paths if not leave_out.excluded(path)])
    async with aclosing(reader.pieces()) as pieces:
        async for piece in pieces:
            yield piece


async def read_paths(session: Session, paths: Iterable[str], leave_out: Filter, *, epoch: int) -> list[Piece]:
    """Reads the given znodes, without their children. Raises like `walk`."""
    async with aclosing(pieces_of(session, paths, leave_out, epoch=epoch)) as pieces:
        return [piece async for piece in pieces]


class _Reader:
    """Sends what the batcher makes of the work, and makes work of the answers."""

    def __init__(self, session: Session, leave_out: Filter, epoch: int, *, descend: bool) -> None:
        self._session = session
        self._leave_out = leave_out
        self._epoch = epoch
        self._descend = descend
        self._batcher = Batcher(session.limits)
        self._again: list[Request] = []
        self._put_aside: dict[str, str] = {}
        self._alone_under_way = False

    def add_path(self, path: str, family: Sizes) -> None:
        """Has one znode read that is not known as anybody's child."""
        prefix = self._session.server_path(path).encode()
        self._batcher.add(Frame(path, prefix, self._short_enough(path, prefix, [""]), family))

    def add_paths(self, paths: Sequence[str]) -> None:
        """Has znodes read, sorted into parents and families."""
        by_parent: dict[str, list[str]] = {}
        families: dict[str, Sizes] = {}
        for path in paths:
            parent, _, name = path.rpartition("/")
            by_parent.setdefault(parent, []).append(name)
        for parent, names in by_parent.items():
            family = families.setdefault(parent.rpartition("/")[0], Sizes())
            if names == [""]:  # the root of all
                self.add_path("/", family)
            else:
                self._add_children(parent or "/", names, family)

    def _add_children(self, parent: str, names: list[str], family: Sizes) -> None:
        server_parent = self._session.server_path(parent)
        prefix = prefix_below(server_parent).encode()
        base = prefix_below(parent)
        self._batcher.add(Frame(base, prefix, self._short_enough(base, prefix, names), family))

    def _short_enough(self, base: str, prefix: bytes, names: list[str]) -> list[str]:
        """The names less those whose request alone is known to be too long; these are put aside."""
        limit = self._session.limits.refused_bytes
        if limit is None:
            return names
        short: list[str] = []
        for name in names:
            size = MultiRead(values=[prefix + name.encode()]).encoded_bytes
            if size < limit:
                short.append(name)
            else:
                self._put_aside[base + name] = refused(size, limit)
        return short

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """Reads until nothing is left."""
        under_way: dict[asyncio.Future[Answer], Request] = {}
        while True:
            while (request := self._next(under_way)) is not None:
                sent = await self._session.send(request.reads, epoch=self._epoch, answer_bytes=request.cost)
                under_way[sent] = request
            if not under_way:
                break
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for answered in [future for future in under_way if future.done()]:
                request = under_way.pop(answered)
                try:
                    answer = answered.result()
                except AnswerTooLong as error:
                    self._cut(request, str(error))
                    continue
                if len(answer.value) >= MANY_RECORDS:
                    await give_way()
                yield await self._understood(request, answer)
        if self._put_aside:
            yield Piece([], [], [], self._put_aside, 0)

    def _next(self, under_way: Collection[object]) -> Request | None:
        """The next request; one that is longer than the server takes, perhaps, goes with nothing beside it."""
        if len(under_way) >= REQUESTS_IN_FLIGHT or (under_way and self._alone_under_way):
            return None
        self._alone_under_way = False
        request = self._again.pop() if self._again else self._batcher.next_request()
        if request is not None and request.reads.encoded_bytes > self._session.limits.request_bytes:
            if under_way:
                self._again.append(request)
                return None
            self._alone_under_way = True
        return request

    def _cut(self, request: Request, why: str) -> None:
        """Has each znode of a request asked for by itself: one of the answers is too long."""
        if not request.reads.divisible:
            path = request.expansions[0].path if request.expansions else _only(request.runs[0])
            self._put_aside[path] = f"{why}; what is below it, or its value, is too much for one answer"
            self._batcher.answered(request, [0 for _ in request.runs], None)
            return
        cost = request.cost
        for expansion in request.expansions:
            reads = MultiRead(lists=[expansion.server_path])
            self._again.append(Request(reads, [expansion], [], cost))
            cost = 0  # what the whole was expected to cost is given back once
        for run in request.runs:
            for name in run.names:
                reads = MultiRead(values=[run.frame.prefix + name.encode()])
                self._again.append(Request(reads, [], [Run(run.frame, [name], run.teachers)], cost))
                cost = 0

    async def _understood(self, request: Request, answer: Answer) -> Piece:
        results: Sequence[OpResult] = answer.value
        piece = Piece([], [], [], {}, answer.zxid)
        at = len(request.expansions)
        listed = [await self._listed(*pair, piece) for pair in zip(request.expansions, results[:at], strict=True)]
        largest: list[int] = []
        for run in request.runs:
            largest.append(self._run(run, results[at : at + len(run.names)], piece))
            at += len(run.names)
        count = sum(number for number, _ in listed)
        size = sum(length for _, length in listed)
        self._batcher.answered(request, largest, 4 + size / count if count else None)
        return piece

    def _run(self, run: Run, results: Sequence[OpResult], piece: Piece) -> int:
        """Takes in the znodes of one parent; returns the size of the largest value. Few steps of Python for each."""
        base = run.frame.base
        paths = [base + name for name in run.names]
        there = list(map(isinstance, results, repeat(Data)))
        if not all(there):
            for path, result in zip(paths, results, strict=True):
                if not isinstance(result, Data):
                    self._failed(path, result, piece)
            paths, results = list(compress(paths, there)), list(compress(results, there))
        if not paths:
            return 0
        values, stats, versions, children = zip(*results, strict=True)
        piece.found.extend(map(_new, repeat(Record), zip(paths, values, versions, stats, strict=True)))
        if self._descend and any(children):
            self._expand(run.frame, zip(paths, children, strict=True))
        return max(map(len, values))

    def _expand(self, frame: Frame, children: Iterable[tuple[str, int]]) -> None:
        """Has the children listed of those znodes that have some."""
        for path, count in children:
            if count and not self._leave_out.nothing_below(path):
                server_path = self._session.server_path(path).encode()
                self._batcher.expand(Expansion(path, server_path, count, frame.below))

    async def _listed(self, expansion: Expansion, result: OpResult, piece: Piece) -> tuple[int, int]:
        """Takes in a list of children; returns how many and how long their names are together."""
        if not isinstance(result, list):
            self._failed(expansion.path, result, piece)
            return 0, 0
        wanted = await self._wanted(expansion.path, result) if self._leave_out else result
        if wanted:
            self._add_children(expansion.path, wanted, expansion.family)
        return len(result), sum(map(len, result))

    async def _wanted(self, parent: str, names: list[str]) -> list[str]:
        """The names of those children that are to be read; by and by, because there may be a million."""
        base = prefix_below(parent)
        left_out = self._leave_out.excluded
        wanted: list[str] = []
        for start in range(0, len(names), MANY_NAMES):
            if start:
                await give_way()
            wanted += [name for name in names[start : start + MANY_NAMES] if not left_out(base + name)]
        return wanted

    def _failed(self, path: str, result: OpResult, piece: Piece) -> None:
        if result == NO_NODE:
            piece.gone.append(path)
        elif result == NO_AUTH:
            piece.forbidden.append(path)
        else:
            code = in_words(int(result)) if isinstance(result, ErrorCode) else "an answer of another kind"
            raise ListingFailed(f"{self._session.where} cannot read {path!r}: {code}")


def _only(run: Run) -> str:
    return run.frame.base + run.names[0]
