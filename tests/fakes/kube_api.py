"""A Kubernetes API server of our own for tests, as the API concepts page documents it: LIST, WATCH, GET, and writes.

It runs in a thread, so that it answers whatever the test is busy with. Every fault is a switch on it, and
every request is remembered. Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from tests.fakes import kube_writes
from tests.fakes.kube_answers import Asked, Instead, Refusal, failure, seen_by, send, status
from tests.fakes.kube_config import kubeconfig
from tests.fakes.kube_lists import is_metadata_only, listed, too_large
from tests.fakes.kube_store import Object, Store, Table, Type

__all__ = [
    "CONFIG_MAPS",
    "DEPLOYMENTS",
    "LEASES",
    "NAMESPACES",
    "NODES",
    "SECRETS",
    "WIDGETS",
    "Instead",
    "KubeApi",
    "Refusal",
    "kube_api",
]

T = TypeVar("T")
DEPLOYMENTS = Type("apps/v1", "deployments", "Deployment")
SECRETS = Type("v1", "secrets", "Secret")
CONFIG_MAPS = Type("v1", "configmaps", "ConfigMap")
LEASES = Type("coordination.k8s.io/v1", "leases", "Lease")
NAMESPACES = Type("v1", "namespaces", "Namespace", namespaced=False)
NODES = Type("v1", "nodes", "Node", namespaced=False)
WIDGETS = Type("example.com/v1", "widgets", "Widget")


class KubeApi:
    """The server. `bookmark_seconds`: between bookmarks. `longest_watch`: seconds, whatever was asked for.

    `gone_as_http`: says 410 as the status of the answer and not as an event. `instant`: so many watches are closed at
    once. `offers_rest`: a listing whose snapshot is gone may go on. `deaf`: watches stay open and say nothing more.
    `refused`: by verb and `plural` or `namespace/plural`; `instead`: what something between answers, by the same.
    `serves_metadata`: lists of metadata alone. `continues`: see `kube_lists.listed`. `tls`: for https.
    `bookmarks_without_end`: watches send nothing else, as fast as they can.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.store = Store()
        self.asked: list[Asked] = []
        self.refused: dict[tuple[str, str], Refusal] = {}
        self.instead: dict[tuple[str, str], Instead] = {}
        self.serves_metadata = True
        self.continues = ""
        self.bookmarks_without_end = False
        self.bookmark_seconds = 0.5
        self.longest_watch = 1000.0
        self.gone_as_http = False
        self.instant = 0
        self.offers_rest = True
        self.deaf = False
        self.token = ""
        self.on_page: Callable[[int], None] = lambda number: None
        self.listing = self.most_listing = 0
        self.url = ""
        self._tls = tls
        self._port = port
        self._watches: set[asyncio.Task[Any]] = set()
        self._requests: list[web.Request] = []
        self._changed = asyncio.Condition()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    # -- for tests --------------------------------------------------------------------------------

    def put(self, plural: str, namespace: str, name: str, **fields: Any) -> Object:
        """Creates or replaces an object."""
        return self.do(lambda: self.store.put(plural, namespace, name, **fields))

    def delete(self, plural: str, namespace: str, name: str) -> None:
        """Deletes an object."""
        self.do(lambda: self.store.delete(plural, namespace, name))

    def do(self, work: Callable[[], T]) -> T:
        """Runs something in the server's thread and wakes its watches."""

        async def within() -> T:
            result = work()
            async with self._changed:
                self._changed.notify_all()
            return result

        return asyncio.run_coroutine_threadsafe(within(), self._loop).result(60)

    def end_watches(self) -> None:
        """Closes every watch in good order."""
        self.do(lambda: [task.cancel() for task in self._watches])

    def cut_watches(self) -> None:
        """Breaks every watch off."""
        self.do(self.abort_watches)

    def abort_watches(self) -> None:
        """The same, for what runs in the server's thread."""
        for request in self._requests:
            if request.transport is not None:
                request.transport.abort()

    def count(self, verb: str, **query: str) -> int:
        """How many requests of a verb came, whose parameters include these."""
        return sum(1 for one in list(self.asked) if one.verb == verb and query.items() <= one.query.items())

    @property
    def listings(self) -> int:
        """How many listings began, beside the questions for one object."""
        return sum(1 for one in list(self.asked) if one.verb == "list" and one.query.get("limit") != "1")

    @property
    def watching(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    def kubeconfig(self, directory: Path, token: str = "", **cluster: str) -> str:
        """A kubeconfig file for this server; `cluster`: more of what it says about it."""
        return kubeconfig(directory, self.url, token, **cluster)

    # -- the thread -------------------------------------------------------------------------------

    def start(self) -> None:
        """Returns once it listens."""
        self._thread.start()
        assert self._ready.wait(60)

    def stop(self) -> None:
        """Ends it, with every connection; may be called twice."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application()
        for root in ("/api/{api}", "/apis/{api:[^/]+/[^/]+}"):
            for middle in ("", "/namespaces/{namespace}"):
                app.router.add_get(f"{root}{middle}/{{plural}}", self._collection)
                app.router.add_get(f"{root}{middle}/{{plural}}/{{name}}", self._object)
                app.router.add_post(f"{root}{middle}/{{plural}}", self._write)
                app.router.add_patch(f"{root}{middle}/{{plural}}/{{name}}", self._write)
                app.router.add_delete(f"{root}{middle}/{{plural}}/{{name}}", self._write)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"{'https' if self._tls else 'http'}://{host}:{port}"
        self._ready.set()
        await self._stop.wait()
        for task in list(self._watches):
            task.cancel()
        if self._tls is not None and runner.server is not None:
            for handler in runner.server.connections:  # else each waits for its client to say goodbye
                if handler.transport is not None:
                    handler.transport.abort()
        await runner.cleanup()

    # -- answers ----------------------------------------------------------------------------------

    def _refusal(self, request: web.Request, verb: str) -> web.Response | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        accept = request.headers.get("Accept", "")
        self.asked.append(Asked(verb, request.path, dict(request.query), token, time.monotonic(), accept))
        plural, namespace = request.match_info["plural"], request.match_info.get("namespace")
        for name in (f"{namespace}/{plural}", plural):
            instead = self.instead.get((verb, name))
            if instead is not None and instead.times:
                self.instead[verb, name] = instead._replace(times=instead.times - 1)
                return web.Response(status=instead.code, text=instead.body, content_type=instead.content_type)
        if self.token and token != self.token:
            return failure(401, "Unauthorized", "Unauthorized")
        for name in (f"{namespace}/{plural}", plural):
            refusal = self.refused.get((verb, name))
            if refusal is not None and refusal.times:
                self.refused[verb, name] = refusal._replace(times=refusal.times - 1)
                message = f'{plural} is forbidden: User "me" cannot {verb}' if refusal.code == 403 else refusal.reason
                return failure(refusal.code, refusal.reason, message, refusal.headers, refusal.details)
        if (request.match_info["api"], plural) not in self.store.tables:
            return web.Response(status=404, text="404 page not found\n")  # as a real one: no Status
        return None

    async def _object(self, request: web.Request) -> web.StreamResponse:
        refused = self._refusal(request, "get")
        if refused is not None:
            return refused
        info = request.match_info
        table = self.store.tables[info["api"], info["plural"]]
        name = info.get("namespace", ""), info["name"]
        found = self.store.latest(table, name)
        code, body = (200, found) if found is not None else kube_writes.missing(table, name)
        return web.json_response(body, status=code)

    async def _write(self, request: web.Request) -> web.StreamResponse:
        refused = self._refusal(request, {"POST": "create"}.get(request.method, request.method.lower()))
        if refused is not None:
            return refused
        info = request.match_info
        table, namespace = self.store.tables[info["api"], info["plural"]], info.get("namespace", "")
        body = await request.json() if request.can_read_body else {}
        if request.method == "POST":
            code, answer = kube_writes.create(self.store, table, namespace, body)
        elif request.method == "PATCH":
            code, answer = kube_writes.patch(self.store, table, (namespace, info["name"]), body)
        else:
            code, answer = kube_writes.delete(self.store, table, (namespace, info["name"]))
        async with self._changed:
            self._changed.notify_all()
        return web.json_response(answer, status=code)

    async def _collection(self, request: web.Request) -> web.StreamResponse:
        watch = request.query.get("watch", "").lower() in ("1", "t", "true")
        refused = self._refusal(request, "watch" if watch else "list")
        if refused is not None:
            return refused
        table = self.store.tables[request.match_info["api"], request.match_info["plural"]]
        if not watch:
            self.listing += 1
            self.most_listing = max(self.most_listing, self.listing)
            try:
                await asyncio.sleep(0)
                return self._list(request, table)
            finally:
                self.listing -= 1
        task = asyncio.current_task()
        assert task is not None
        self._watches.add(task)
        self._requests.append(request)
        try:
            return await self._watch(request, table)
        finally:
            self._watches.discard(task)
            self._requests.remove(request)

    def _list(self, request: web.Request, table: Table) -> web.Response:
        metadata_only = is_metadata_only(request.headers.get("Accept", ""))
        if metadata_only and not self.serves_metadata:
            return failure(406, "NotAcceptable", "only the following media types are accepted: application/json")
        return listed(
            self.store,
            table,
            request.match_info.get("namespace"),
            request.query,
            metadata_only=metadata_only,
            offers_rest=self.offers_rest,
            continues=self.continues,
            on_page=self.on_page,
        )

    async def _watch(self, request: web.Request, table: Table) -> web.StreamResponse:
        revision = int(request.query["resourceVersion"])
        if revision > self.store.revision:
            return too_large(self.store, request.query["resourceVersion"])
        gone = revision < self.store.compacted
        if gone and self.gone_as_http:
            return failure(410, "Expired", f"too old resource version: {revision} ({self.store.compacted})")
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        if self.instant:
            self.instant -= 1
            return answer
        if gone:
            message = f"too old resource version: {revision} ({self.store.compacted})"
            await send(answer, "ERROR", status(410, "Expired", message))
            return answer
        seconds = min(float(request.query.get("timeoutSeconds", "600")), self.longest_watch)
        with suppress(TimeoutError, asyncio.CancelledError, ConnectionError):
            async with asyncio.timeout(seconds):
                await self._stream(request, table, answer, revision)
        return answer

    async def _stream(self, request: web.Request, table: Table, answer: web.StreamResponse, told: int) -> None:
        query, namespace = request.query, request.match_info.get("namespace")
        selectors = query.get("labelSelector", ""), query.get("fieldSelector", "")
        loop = asyncio.get_running_loop()
        bookmark = loop.time() + self.bookmark_seconds
        while True:
            table = self.store.tables.get((table.type.api, table.type.plural), table)  # it may be restored meanwhile
            now, deaf = self.store.revision, self.deaf  # more may come while a slow reader holds this up
            if told < table.forgotten and not deaf:
                await send(answer, "ERROR", status(410, "Expired", f"too old resource version: {told}"))
                return
            for event in [] if deaf else table.since(told):
                if namespace in (None, event.name[0]):
                    kind, shown = seen_by(event, *selectors)
                    if shown is not None:
                        await send(answer, kind, shown)
            told = told if deaf else now
            if self.bookmarks_without_end:
                bookmark = 0.0
            if loop.time() >= bookmark and not deaf and query.get("allowWatchBookmarks"):
                bookmark = loop.time() + self.bookmark_seconds
                metadata = {"resourceVersion": str(told)}
                await send(
                    answer,
                    "BOOKMARK",
                    {"kind": table.type.kind, "apiVersion": table.type.api, "metadata": metadata},
                )
            with suppress(TimeoutError):
                pause = 0.0 if self.bookmarks_without_end else max(0.0, bookmark - loop.time()) or 0.01
                async with asyncio.timeout(pause), self._changed:
                    if told == self.store.revision or deaf:
                        await self._changed.wait()


@contextmanager
def kube_api(*types: Type, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[KubeApi]:
    """A running server with these types, ended afterwards."""
    api = KubeApi(tls, port)
    for type_ in types or (DEPLOYMENTS,):
        api.store.add_type(type_)
    api.start()
    try:
        yield api
    finally:
        api.stop()
