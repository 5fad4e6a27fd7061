"""Errors as JSON, for the application that is hybridsync's own."""

from __future__ import annotations

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from hybridsync.health import answer
from hybridsync.health_json import one_line

log: structlog.stdlib.BoundLogger = structlog.get_logger("hybridsync")


@web.middleware
async def json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers JSON also where aiohttp would answer a page of text."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return answer({"error": f"nothing is at {one_line(request.path)}"}, status=404)
    except web.HTTPException as error:
        refused = answer({"error": error.reason}, status=error.status)
        if "Allow" in error.headers:
            refused.headers["Allow"] = error.headers["Allow"]
        return refused
    except Exception:
        log.exception("request failed", method=request.method, path=request.path)
        return answer({"error": "internal error, see the log"}, status=500)
