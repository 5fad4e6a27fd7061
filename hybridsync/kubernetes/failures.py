"""What an API server says when it refuses, read from its Status object.

Source: Kubernetes API conventions, "Response status kind", and API concepts, "410 Gone responses",
"Too large resource version".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hybridsync.errors import SourceDisconnected

LONGEST_MESSAGE = 300


class WentSilent(SourceDisconnected):
    """A stream brought nothing for longer than it may: its connection may be half open."""


class ApiFailure(Exception):
    """An answer that is no success. `retry_after`: seconds the server asks to wait, if it does.

    `is_status`: whether the API said so, and not a proxy in its place. `name`, `kind`, `group`: of the object in
    question, if it is about one. `continue_token`: where a listing may go on although its snapshot is gone (then not
    of one moment).
    """

    def __init__(self, status: Mapping[str, Any], code: int, retry_after: float | None = None) -> None:
        details, metadata = _mapping(status.get("details")), _mapping(status.get("metadata"))
        causes = details.get("causes")
        self.code = code
        self.is_status = status.get("kind") == "Status"
        self.reason = str(status.get("reason") or "")
        self.message = " ".join(str(status.get("message") or "").split())[:LONGEST_MESSAGE]
        self.retry_after = retry_after
        self.continue_token = str(metadata.get("continue") or "")
        self.name, self.kind, self.group = (str(details.get(one) or "") for one in ("name", "kind", "group"))
        self._causes = json.dumps(causes) if causes else ""
        super().__init__(str(self))

    def __str__(self) -> str:
        words = f"{self.code} {self.reason}".strip()
        if not self.is_status:
            return f"{words} without a Status: something in between answered for the API server"
        return f"{words}: {self.message}" if self.message else words

    @property
    def expired(self) -> bool:
        """Whether the server no longer has what a resourceVersion or a continue token stands for."""
        gone = self.code == 410 or self.reason in ("Gone", "Expired") or "too old resource version" in self.message
        return self.is_status and gone

    @property
    def too_new(self) -> bool:
        """Whether the server has not seen the resourceVersion yet: another server of the cluster gave it out."""
        return "ResourceVersionTooLarge" in self._causes or "Too large resource version" in self.message

    @property
    def busy(self) -> bool:
        """Whether the same request may succeed a little later, as the server says itself."""
        return self.code == 429 or (self.code in (503, 504) and self.retry_after is not None and not self.too_new)

    def names(self, name: str, plural: str, group: str) -> bool:
        """Whether the API says that exactly this object is not there, and nothing else."""
        kind = self.kind.lower()
        return (
            self.code == 404
            and self.is_status
            and self.reason == "NotFound"
            and self.name == name
            and (not kind or kind == plural or plural.startswith(kind.removesuffix("y")))
            and (not self.group or self.group == group)
        )


def failure_of(body: bytes, code: int, retry_after: str | None) -> ApiFailure:
    """The failure behind an HTTP answer; proxies answer with something else than a Status."""
    try:
        status = json.loads(body)
    except (ValueError, RecursionError):
        status = None
    return ApiFailure(_mapping(status), code, _seconds(retry_after))


def failure_of_event(status: object) -> ApiFailure:
    """The failure that an ERROR event of a watch carries."""
    known = _mapping(status)
    code = known.get("code")
    return ApiFailure(known, code if isinstance(code, int) else 0)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None
