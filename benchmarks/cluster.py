"""The Kubernetes benchmarks' cluster: the server process, its orders, and what a mirror of it must hold."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pymongo.collection import Collection

from benchmarks.cluster_server import facts, name
from benchmarks.rig import COLLECTION, ROOT, Rig, environ
from benchmarks.truth import NotEqual

Documents = Collection[dict[str, Any]]
_STOP_SECONDS = 30.0
_PATIENCE_SECONDS = 600.0
_POLL_SECONDS = 0.02
_LAST = 100
_SAMPLES = 5


class Cluster:
    """Orders for the server process; see `cluster_server.Cluster`."""

    def __init__(self, rig: Rig, process: subprocess.Popen[str], size: int) -> None:
        self._rig = rig
        self._process = process
        self.size = size
        self.url: str = self._answer()
        self.kubeconfig = str(_kubeconfig(self.url, rig.directory / "kubeconfig.yaml"))

    def do(self, order: str, *arguments: int) -> Any:
        """Gives an order and returns its answer once it is carried out. Raises `RuntimeError`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([order, arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the API server has ended")
        return json.loads(line)

    def settings(self, database: str) -> dict[str, str]:
        """Variables, without the prefix, that mirror it into `database`."""
        source = {"type": "kubernetes", "api": "v1", "plural": "configmaps", "kubeconfig": self.kubeconfig}
        return {
            "MONGODB_URI": self._rig.mongodb.uri_for(database),
            "RESOURCES": json.dumps({COLLECTION: {"source": source}}),
        }

    def wait_changed(
        self, mirror: Documents, numbers: Sequence[int], turn: int, since: float, gone: int | None = None
    ) -> float:
        """Seconds from `since` (`time.monotonic()`) until the mirror was equal. Raises `NotEqual` when it never is.

        `numbers`: objects that were changed last, in that `turn`; `gone`: one that was deleted. Only these are
        looked at, so that the answer costs MongoDB little; then everything is compared.
        """
        keys = [key_of(number) for number in numbers[-_LAST:]]
        changed = {"_id": {"$in": keys}, "labels.turn": str(turn)}
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            done = mirror.count_documents(changed) == len(keys)
            if done and (gone is None or mirror.find_one({"_id": key_of(gone)}) is None):
                seconds = time.monotonic() - since
                try:
                    self.check(mirror)
                except NotEqual:
                    if time.monotonic() > deadline:
                        raise
                else:
                    return seconds
            elif time.monotonic() > deadline:
                raise NotEqual("the newest changes did not arrive")
            time.sleep(_POLL_SECONDS)

    def check(self, mirror: Documents) -> None:
        """Compares keys, uids, versions and contents, with no code of hybridsync. Raises `NotEqual`."""
        expected: Mapping[str, list[str]] = self.do("objects")
        wrong: list[str] = []
        seen = 0
        for document in mirror.find({}, {"uid": 1, "version": 1, "value": 1}, batch_size=10_000):
            seen += 1
            told = expected.get(document["_id"])
            held = facts(document["value"])
            if told is None or held != tuple(told) or (document["uid"], document["version"]) != held[:2]:
                wrong.append(str(document["_id"]))
        if wrong or seen != len(expected):
            raise NotEqual(f"{seen} documents for {len(expected)} objects, {len(wrong)} wrong: {wrong[:_SAMPLES]}")


@contextmanager
def cluster(rig: Rig, size: int) -> Iterator[Cluster]:
    """A server of its own with so many objects, ended afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.cluster_server"],
        env=environ({}),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        made = Cluster(rig, process, size)
        made.do("fill", size)
        yield made
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def key_of(number: int) -> str:
    """The key of an object."""
    return "/".join(name(number))


def _kubeconfig(url: str, file: Path) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "me"}}],
    }
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file
