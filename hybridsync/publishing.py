"""Publishing by hand, for applications that edit documents themselves: the rules and the sink of one resource."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias

from hybridsync.canonical import content_version
from hybridsync.errors import ConfigurationError, SinkError
from hybridsync.model import ANY, Applied, Change, Put, Record, Remove
from hybridsync.settings import Settings
from hybridsync.sinks.base import Sink
from hybridsync.sources.publish_judge import shown
from hybridsync.sources.publish_rules import PublishRules, Switch
from hybridsync.wiring import publishing_parts

Done: TypeAlias = Literal["created", "updated", "unchanged", "withdrawn", "deleted"]


class Publisher:
    """Writes single documents at once, by the rules of a resource. Made by `publisher`."""

    def __init__(self, rules: PublishRules, sink: Sink) -> None:
        self._rules = rules
        self._sink = sink

    def validate(self, document: Mapping[str, Any]) -> list[str]:
        """What keeps the document from being published, one line a field and rule, without values."""
        return self._rules.violations(document)

    async def publish(self, document: Mapping[str, Any]) -> Done:
        """Makes ZooKeeper hold what the document says; `withdrawn` for one that is switched off.

        Raises `Invalid` (a `ValueError` with `problems`), `SinkUnavailable`, or `SinkError` when the znode is refused.
        """
        key = document.get(self._rules.key)
        if self._rules.when is not None and self._rules.switch(document.get(self._rules.when)) is Switch.OFF:
            if isinstance(key, str):
                await self.withdraw(key)
            return "withdrawn"
        value = self._rules.publish(document)
        applied = await self._apply(Put(Record(str(key), value, content_version(value)), ANY))
        return "created" if applied.inserted else "updated" if applied.updated else "unchanged"

    async def withdraw(self, key: str) -> Done:
        """Deletes the znode of a key. Raises `SinkUnavailable`, or `SinkError` when that is refused."""
        return "deleted" if (await self._apply(Remove(key))).deleted else "unchanged"

    async def _apply(self, change: Change) -> Applied:
        applied = await self._sink.apply([change])
        for key, reason in applied.failed.items():
            raise SinkError(f"{self._sink.description}: {shown(key)!r}: {reason}")
        return applied


@asynccontextmanager
async def publisher(settings: Settings, resource: str) -> AsyncIterator[Publisher]:
    """The publisher of a resource for the length of a block.

    Raises `ConfigurationError` for a resource that is not configured or does not publish, `SinkUnavailable`
    or `SinkError` when the path cannot be used.
    """
    config = settings.resources.get(resource)
    if config is None:
        known = ", ".join(settings.resources) or "none is configured"
        raise ConfigurationError(f"unknown resource {resource!r}; known: {known}")
    rules, sink = publishing_parts(resource, config, settings)
    try:
        await sink.prepare()
        yield Publisher(rules, sink)
    finally:
        await sink.close()
