"""A writer that changes a cluster in every way there is.

Single objects are created, changed, deleted, deleted and created again under their name; whole namespaces come
and go, one object after the other or all at once; objects of another type change, so that the version of the
cluster is not that of the mirrored type; and now and then a burst.
"""

from __future__ import annotations

from typing import Any

from tests.fakes.kube_api import KubeApi
from tests.fakes.kube_store import Object
from tests.faults.chaos.kubernetes.journal import KubernetesJournal
from tests.faults.chaos.writer import Act, Writer

_NAMES = 400
_TEAMS = 30
_OBJECTS = 12
_BURST = 120
# Around "/" and "-" in the order of bytes: what is listed in one order has its keys in another.
_SUFFIXES = ("", "-a", ".a", "0")
_NAMESPACE_SUFFIXES = ("", "-a", "0")
_DEEP = 120
"""Levels, more than BSON holds."""


class KubernetesWriter(Writer):
    """See `Writer`. Writes what it tells the journal, and objects of `other`, which nobody mirrors.

    `teams`: how many namespaces come and go.
    """

    def __init__(self, journal: KubernetesJournal, api: KubeApi, other: str, seed: int, teams: int = _TEAMS) -> None:
        super().__init__(seed)
        self._journal = journal
        self._api = api
        self._other = other
        self._lone = [
            f"one{self._random.choice(_NAMESPACE_SUFFIXES)}/web-{number}{self._random.choice(_SUFFIXES)}"
            for number in range(_NAMES)
        ]
        self._namespaces = [f"team-{number}{self._random.choice(_NAMESPACE_SUFFIXES)}" for number in range(teams)]

    @property
    def namespaces(self) -> list[str]:
        """Those it writes in."""
        return sorted({key.split("/")[0] for key in self._lone} | set(self._namespaces))

    @property
    def _actions(self) -> list[tuple[Act, int]]:
        return [
            (self._change_one, 60),
            (self._change_another_type, 10),
            (self._make_again, 12),
            (self._grow_namespace, 8),
            (self._fell_namespace, 6),
            (self._fell_namespace_at_once, 4),
            (self._burst, 1),
        ]

    def _change_one(self) -> None:
        key = self._pick(self._lone)
        if self._journal.exists(key) and self._random.random() < 0.3:
            self._journal.delete(key)
        else:
            self._journal.put(key, self._fields())

    def _change_another_type(self) -> None:
        self._api.put(self._other, "one", "settings", data={"n": str(self._random.randrange(10**6))})

    def _make_again(self) -> None:
        key = self._pick(self._lone)
        if self._journal.exists(key):
            self._journal.make_again(key, self._fields())
        else:
            self._journal.put(key, self._fields())

    def _grow_namespace(self) -> None:
        namespace = self._pick(self._namespaces)
        keys = [f"{namespace}/{number}{_SUFFIXES[number % len(_SUFFIXES)]}" for number in range(_OBJECTS)]
        if self._random.random() < 0.5:
            self._journal.put_all(keys, self._fields())
            return
        for key in keys:
            self._journal.put(key, self._fields())

    def _standing(self, namespace: str) -> list[str]:
        keys = [key for key in self._journal.keys if key.startswith(f"{namespace}/")]
        return [key for key in keys if self._journal.exists(key)]

    def _fell_namespace(self) -> None:
        for key in self._standing(self._pick(self._namespaces)):
            self._journal.delete(key)

    def _fell_namespace_at_once(self) -> None:
        self._journal.delete_all(self._standing(self._pick(self._namespaces)))

    def _burst(self) -> None:
        for _ in range(_BURST):
            self._change_one()

    def _fields(self) -> Object:
        """What an object has beside its name. Also what BSON cannot hold as it is."""
        number = self._random.randrange(10**6)
        deep: Any = number
        for _ in range(_DEEP):
            deep = [deep]
        bodies: list[Object] = [
            {"spec": {"replicas": number}, "status": {"ready": number % 2 == 0}},
            {"spec": {"text": f"{number}" + "x" * 5_000}},
            {"spec": {"a.b/c": number, "$set": {"": None}, "é": "\0 ü"}},
            {"spec": {"ratio": number / 7, "list": [1, 1.0, "1", True, [], {}]}},
            {"spec": {"large": 2**70 + number}},
            {"spec": {"deep": deep}},
        ]
        body = self._random.choices(bodies, [10, 2, 4, 4, 1, 1])[0]
        labels = {"app.kubernetes.io/name": f"app-{number % 5}", "n": str(number)} if number % 3 else {}
        return {"labels": labels, "annotations": {"example.com/note": f"{number}"}, **body}
