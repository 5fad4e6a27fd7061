"""Set-up of structured logging: one event a line on stderr, for people or as JSON.

hybridsync's own code logs through structlog; what libraries send to the standard `logging` module
takes the same way out. Nothing is configured on import: an application that uses hybridsync as a
library keeps the logging it has.
"""

from __future__ import annotations

import logging
import logging.config
import re
import sys
from collections.abc import Iterable
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MASK = "***"

_TALKATIVE_TASKS = ("pymongo.client", "pymongo.topology", "pymongo.connection")
"""What runs behind pymongo's back logs its own failures with a traceback; what matters of them the service tells."""

_LOUD_LIBRARIES = ("kazoo", "pymongo", "motor", "asyncio", "aiohttp")
_SHORTEST_SECRET = 4
"""Shorter secrets are not replaced by value: that would tear ordinary words apart."""

_URI_PASSWORD = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s/@:]*:)[^\s@/]+(?=@)", re.IGNORECASE)
_DIGEST_PASSWORD = re.compile(r"(?P<before>\bdigest:[^\s:]+:)\S+", re.IGNORECASE)


class MaskSecrets:
    """A structlog processor that replaces secrets wherever they turn up in an event.

    It is a belt: nothing should hand a secret to the log in the first place. Given secrets are
    replaced by value; passwords inside URIs and `digest:user:password` also when nobody gave them.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}, key=len, reverse=True)
        self._known = re.compile("|".join(re.escape(secret) for secret in known)) if known else None

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        return {key: self.clean(value) for key, value in event.items()}

    def clean(self, value: Any) -> Any:
        """The value without secrets: text is cleaned, containers are walked, the rest stays."""
        if isinstance(value, str):
            return self.clean_text(value)
        if isinstance(value, dict):
            return {key: self.clean(each) for key, each in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.clean(each) for each in value]
        if isinstance(value, BaseException):
            return self.clean_text(f"{type(value).__name__}: {value}")
        return value

    def clean_text(self, text: str) -> str:
        """The text without secrets."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        text = _URI_PASSWORD.sub(rf"\g<before>{MASK}", text)
        return _DIGEST_PASSWORD.sub(rf"\g<before>{MASK}", text)


def configure(level: str = "info", output: str = "console", secrets: Iterable[str] = ()) -> None:
    """Sends the logs of the process to stderr, replacing what was configured before.

    `level` is a name such as `info`; `output` is `console` or `json` (one object a line). Libraries
    are heard from `warning` on, or from `level` where that is stricter.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    mask = MaskSecrets(secrets)
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=_output_chain(output, mask))
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for library in _LOUD_LIBRARIES:
        logging.getLogger(library).setLevel(max(threshold, logging.WARNING))
    for name in _TALKATIVE_TASKS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # a logger may be created before this call (at import): it must still follow a later set-up
        cache_logger_on_first_use=False,
    )


def _output_chain(output: str, mask: MaskSecrets) -> list[Processor]:
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if output == "json":
        return [
            strip,
            structlog.processors.format_exc_info,
            structlog.processors.StackInfoRenderer(),
            mask,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(default=str),
        ]
    # the traceback becomes text before the mask sees it, so a secret in it is masked as well
    return [
        strip,
        structlog.processors.format_exc_info,
        structlog.processors.StackInfoRenderer(),
        mask,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
    ]
