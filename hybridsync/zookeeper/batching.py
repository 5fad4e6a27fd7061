"""Which znodes go into the next multiRead, so that its answer stays small although no size is known before.

A multiRead knows `getData` and `getChildren` only: the size of a value is seen when it is there. So
sizes are learnt. Of a parent nobody knows, a few children are read; from then on as many as its
largest recent value allows, at most twice what was read of it so far. What is not known about a
parent is taken from its *family* (the children of its siblings), and what is not known of a
family is kept small. A parent with a thousand values of 1 MiB among small ones thus costs a few
MiB in one answer.

Work is taken from the top of a stack (depth first), so memory follows depth times fan-out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hybridsync.zookeeper.limits import Limits
from hybridsync.zookeeper.wire import OP_OVERHEAD, MultiRead

MAX_OPS = 500
IN_FLIGHT_ANSWERS = 3
"""So many answers of the length that is aimed for may be under way."""

SAMPLE = 4
"""Children of an unknown parent that are read first."""

SURPRISE_OPS = 64
SURPRISE_BYTES = 32 * 1024
"""What a value in an unknown family is taken for at least."""

DATA_OVERHEAD = 81
"""Bytes of a getData result besides the value: header 9, length 4, stat 68."""

QUEUED_NAMES = 10_000
"""No more children are listed while this many wait to be read."""

LOOK_AT_FRAMES = 1_000


class Sizes:
    """What is known of the values of one parent or family: bytes of a large recent one, how many were seen."""

    __slots__ = ("out", "per", "seen")

    def __init__(self, per: float = 0.0) -> None:
        self.per = per
        self.seen = 0
        self.out = 0

    def room(self) -> int:
        """How many more may be asked for now."""
        return max(SAMPLE, 2 * self.seen) - self.out

    def answered(self, count: int, largest: int) -> None:
        """Learns from an answer. A large value is forgotten by halves."""
        self.out -= count
        self.seen += count
        self.per = max(largest, self.per / 2)


class Frame:
    """Children of one parent that wait to be read. `base` and `prefix`: what goes in front of their names."""

    __slots__ = ("base", "below", "family", "names", "prefix", "sizes")

    def __init__(self, base: str, prefix: bytes, names: list[str], family: Sizes) -> None:
        self.base = base
        self.prefix = prefix
        self.names = names
        self.family = family
        self.sizes = Sizes()
        self.below = Sizes()


class Expansion(NamedTuple):
    """A znode whose children are to be listed; `family` is the one its children belong to."""

    path: str
    server_path: bytes
    children: int
    family: Sizes


class Run(NamedTuple):
    """Consecutive operations of a request: children of one frame."""

    frame: Frame
    names: Sequence[str]
    teachers: Sequence[Sizes]


class Request(NamedTuple):
    """One multiRead: the lists of children for `expansions`, then the values of `runs`. `cost` in expected bytes."""

    reads: MultiRead
    expansions: Sequence[Expansion]
    runs: Sequence[Run]
    cost: int


class Batcher:
    """The stack of what is still to be read; `limits` say how long requests and answers may become."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._frames: list[Frame] = []
        self._expansions: list[Expansion] = []
        self._queued = 0
        self._unknown = Sizes()
        self._name_bytes = 64.0
        self._in_flight = 0

    def add(self, frame: Frame) -> None:
        """Puts children on top of the stack."""
        self._frames.append(frame)
        self._queued += len(frame.names)

    def expand(self, expansion: Expansion) -> None:
        """Has the children of a znode listed."""
        self._expansions.append(expansion)

    def next_request(self) -> Request | None:
        """The next request; `None` while answers must come first, or when nothing is left."""
        aim = self._limits.answer_bytes
        if self._in_flight and self._in_flight + aim > IN_FLIGHT_ANSWERS * aim:
            return None
        draft = _Draft(self._limits.request_bytes, aim)
        self._take_expansions(draft)
        self._take_frames(draft)
        if not draft.count:
            return None
        reads = MultiRead(lists=draft.lists, values=draft.values)
        request = Request(reads, draft.expansions, draft.runs, int(draft.cost))
        self._in_flight += request.cost
        return request

    def answered(self, request: Request, largest: Sequence[int], name_bytes: float | None) -> None:
        """Learns from the answer: `largest` value of each run, and the average length of names, if any came."""
        self._in_flight -= request.cost
        for run, size in zip(request.runs, largest, strict=True):
            for teacher in run.teachers:
                teacher.answered(len(run.names), size + DATA_OVERHEAD)
        if name_bytes is not None:
            self._name_bytes = max(32.0, name_bytes, self._name_bytes / 2)

    def _take_expansions(self, draft: _Draft) -> None:
        """Lists go first: they lead downwards, and full requests need many parents to choose from."""
        expected = self._queued
        while self._expansions:
            top = self._expansions[-1]
            expected += top.children
            cost = 16 + top.children * self._name_bytes
            alone = not draft.count and not self._queued
            if not alone and (expected > QUEUED_NAMES or not draft.has_room(cost)):
                return
            if not draft.add_list(top.server_path, cost):
                return
            draft.expansions.append(self._expansions.pop())

    def _take_frames(self, draft: _Draft) -> None:
        kept: list[Frame] = []
        while self._frames and len(kept) < LOOK_AT_FRAMES and draft.has_room(0):
            frame = self._frames.pop()
            self._take_from(frame, draft)
            if frame.names:
                kept.append(frame)
        self._frames.extend(reversed(kept))

    def _take_from(self, frame: Frame, draft: _Draft) -> None:
        """Takes as many children of one parent as its sizes, and the request, allow."""
        room, per, teachers = self._allowance(frame)
        count = min(room, len(frame.names), draft.room_for(per))
        if count <= 0:
            return
        names = frame.names[-count:]
        taken = draft.add_values([frame.prefix + name.encode() for name in names], per)
        if taken:
            del frame.names[-count:]
            frame.names += names[taken:]
            self._queued -= taken
            for teacher in teachers:
                teacher.out += taken
            draft.runs.append(Run(frame, names[:taken], teachers))

    def _allowance(self, frame: Frame) -> tuple[int, float, Sequence[Sizes]]:
        """How many children may be asked for, what each is expected to cost, and who learns from them."""
        own, family, unknown = frame.sizes, frame.family, self._unknown
        if own.seen:
            return own.room(), own.per, (own,)
        if family.seen:
            return min(own.room(), family.room()), family.per, (own, family)
        room = min(own.room(), family.room(), unknown.room(), SURPRISE_OPS - unknown.out)
        return room, max(unknown.per, SURPRISE_BYTES), (own, family, unknown)


class _Draft:
    """A request in the making, of at most so many bytes, and so many bytes of answer."""

    def __init__(self, request_bytes: int, answer_bytes: int) -> None:
        self._longest = request_bytes
        self._aim = answer_bytes
        self.lists: list[bytes] = []
        self.values: list[bytes] = []
        self.expansions: list[Expansion] = []
        self.runs: list[Run] = []
        self.cost = 0.0
        self._request_bytes = 0

    @property
    def count(self) -> int:
        """How many operations there are."""
        return len(self.lists) + len(self.values)

    def has_room(self, cost: float) -> bool:
        """Whether one more operation fits without the answer growing too large."""
        return self.count < MAX_OPS and self.cost + cost <= self._aim

    def room_for(self, cost: float) -> int:
        """How many operations of this cost fit; the first of a request always does."""
        by_cost = int((self._aim - self.cost) / cost) if cost else MAX_OPS
        return max(min(MAX_OPS - self.count, by_cost), 0 if self.count else 1)

    def add_list(self, path: bytes, cost: float) -> bool:
        """Adds a list of children; `False` when the request itself would grow too large."""
        return self._add(self.lists, [path], cost)

    def add_values(self, paths: Sequence[bytes], cost: float) -> int:
        """Adds reads of values, as many of the first as the request itself has room for; says how many."""
        if self._add(self.values, paths, cost):
            return len(paths)
        for taken, path in enumerate(paths):  # very long paths: one by one
            if not self._add(self.values, [path], cost):
                return taken
        return len(paths)

    def _add(self, operations: list[bytes], paths: Sequence[bytes], cost: float) -> bool:
        size = sum(map(len, paths)) + OP_OVERHEAD * len(paths)
        if self._request_bytes + size > self._longest and (self.count or len(paths) > 1):
            return False
        operations += paths
        self._request_bytes += size
        self.cost += cost * len(paths)
        return True
