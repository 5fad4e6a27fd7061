"""What an API server says when it refuses, read from its Status object.

Source: Kubernetes API conventions, "Response status kind", and API concepts, "410 Gone responses",
"Too large resource version".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LONGEST_MESSAGE = 300


class ApiFailure(Exception):
    """A Status that is none of success. `retry_after`: seconds the server asks to wait, if it does.

    `name`: of the object in question, if it is about one.
    `continue_token`: where a listing may go on although its snapshot is gone (then not of one moment).
    """

    def __init__(self, status: Mapping[str, Any], code: int, retry_after: float | None = None) -> None:
        details = status.get("details")
        metadata = status.get("metadata")
        causes = details.get("causes") if isinstance(details, Mapping) else None
        self.code = code
        self.reason = str(status.get("reason") or "")
        self.message = " ".join(str(status.get("message") or "").split())[:LONGEST_MESSAGE]
        self.retry_after = retry_after
        self.continue_token = str(metadata.get("continue") or "") if isinstance(metadata, Mapping) else ""
        self.name = str(details.get("name") or "") if isinstance(details, Mapping) else ""
        self._causes = json.dumps(causes) if causes else ""
        super().__init__(str(self))

    def __str__(self) -> str:
        words = f"{self.code} {self.reason}".strip()
        return f"{words}: {self.message}" if self.message else words

    @property
    def expired(self) -> bool:
        """Whether the server no longer has what a resourceVersion or a continue token stands for."""
        return self.code == 410 or self.reason in ("Gone", "Expired") or "too old resource version" in self.message

    @property
    def too_new(self) -> bool:
        """Whether the server has not seen the resourceVersion yet: another server of the cluster gave it out."""
        return "ResourceVersionTooLarge" in self._causes or "Too large resource version" in self.message

    @property
    def busy(self) -> bool:
        """Whether the same request may succeed a little later, as the server says itself."""
        return self.code == 429 or (self.code in (503, 504) and self.retry_after is not None and not self.too_new)


def failure_of(body: bytes, code: int, retry_after: str | None) -> ApiFailure:
    """The failure behind an HTTP answer; proxies answer with something else than a Status."""
    try:
        status = json.loads(body)
    except (ValueError, RecursionError):
        status = None
    return ApiFailure(status if isinstance(status, Mapping) else {}, code, _seconds(retry_after))


def failure_of_event(status: object) -> ApiFailure:
    """The failure that an ERROR event of a watch carries."""
    known: Mapping[str, Any] = status if isinstance(status, Mapping) else {}
    code = known.get("code")
    return ApiFailure(known, code if isinstance(code, int) else 0)


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None
