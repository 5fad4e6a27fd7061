"""The OpenAPI 3.1 document of every HTTP route, served at `/openapi.json`.

It is written by hand next to the handlers, and tests hold it to them: the routes that the application
has are the paths in here, and what the handlers answer fits the schemas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from hybridsync.openapi_schemas import SCHEMAS, ref
from hybridsync.version import version

Document: TypeAlias = dict[str, Any]

PATH = "/openapi.json"

_NO_STORE = {"Cache-Control": {"schema": {"type": "string", "const": "no-store"}, "required": True}}

_PROMETHEUS = {
    "text/plain": {"schema": {"type": "string"}},
    "application/openmetrics-text": {"schema": {"type": "string"}},
}


def document(prefixes: Sequence[str]) -> Document:
    """The whole document; every path is there once for each prefix."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hybridsync",
            "version": version(),
            "description": "Probes, freshness of the mirrors, metrics, and full syncs by hand.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {prefix + path: _named(item, prefix) for prefix in prefixes for path, item in _paths().items()},
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "controlToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The value of HYBRIDSYNC_CONTROL_TOKEN. Without one, callers on loopback need none.",
                }
            },
        },
    }


def _paths() -> dict[str, Document]:
    return {
        "/health": _readable("health", "What runs, and whether anything is wrong", {200: ("Always", "Health")}),
        "/health/live": _readable(
            "live",
            "Liveness: looks at no server",
            {200: ("The process works", "Live"), 503: ("A task is dead", "NotLive")},
        ),
        "/health/startup": _readable(
            "startup",
            "200 for good once it was ready",
            {200: ("It was ready", "Started"), 503: ("It was not ready yet", "NotStarted")},
        ),
        "/health/ready": _readable(
            "ready",
            "Whether the mirrors may be used now",
            {200: ("They may", "Ready"), 503: ("They may not; the body says why", "NotReady")},
        ),
        "/health/sync": _readable(
            "sync", "Everything that is known about each resource", {200: ("Always", "SyncReport")}
        ),
        "/health/sync/exceptions": _exceptions(),
        "/health/sync/trigger": {"post": _trigger()},
        "/metrics": _metrics(),
        PATH: _own_document(),
    }


def _readable(name: str, summary: str, answers: dict[int, tuple[str, str]]) -> Document:
    responses = {str(status): _json(text, schema) for status, (text, schema) in answers.items()}
    return _get_and_head(name, summary, responses)


def _exceptions() -> Document:
    """The one route that is asked with parameters."""
    answers = {
        "200": _json("A page of them, in the order of keys", "ExceptionsPage"),
        "400": _json("The resource is missing, or a parameter is unknown", "Error"),
        "404": _json("The resource is unknown", "UnknownResources"),
    }
    item = _get_and_head("exceptions", "What is not in the mirror of a resource as it should be, and why", answers)
    parameters = [
        {"name": "resource", "in": "query", "required": True, "schema": {"type": "string"}},
        {
            "name": "after",
            "in": "query",
            "required": False,
            "schema": {"type": "string"},
            "description": "`next` of the page before",
        },
    ]
    return {method: {**operation, "parameters": parameters} for method, operation in item.items()}


def _get_and_head(name: str, summary: str, responses: Document) -> Document:
    bare = {
        status: {key: value for key, value in response.items() if key != "content"}
        for status, response in responses.items()
    }
    return {
        "get": {"operationId": name, "summary": summary, "responses": responses},
        "head": {"operationId": f"{name}Head", "summary": f"{summary} (no body)", "responses": bare},
    }


def _json(text: str, schema: str, **headers: Document) -> Document:
    return {
        "description": text,
        "headers": _NO_STORE | headers,
        "content": {"application/json": {"schema": ref(schema)}},
    }


def _metrics() -> Document:
    response = {"description": "The exposition that Accept asks for", "headers": _NO_STORE, "content": _PROMETHEUS}
    return _get_and_head("metrics", "What Prometheus sees", {"200": response})


def _own_document() -> Document:
    response = {
        "description": "An OpenAPI 3.1 document",
        "headers": _NO_STORE,
        "content": {"application/json": {"schema": {"type": "object", "required": ["openapi", "info", "paths"]}}},
    }
    return _get_and_head("openapi", "This document", {"200": response})


def _trigger() -> Document:
    challenge = {"schema": {"type": "string", "const": "Bearer"}, "required": True}
    refused = {
        400: "Not JSON, wrong types, or unknown keys",
        403: "No token is set and the caller is not on loopback",
        408: "The body did not arrive in time",
        413: "The body is larger than 64 KiB",
        503: "The service is stopping",
    }
    return {
        "operationId": "trigger",
        "summary": "Start full syncs",
        "description": "A resource that is syncing is not started twice: the running sync is joined.",
        "security": [{"controlToken": []}, {}],
        "requestBody": {
            "required": False,
            "description": "None means all resources, without waiting",
            "content": {"application/json": {"schema": ref("TriggerRequest")}},
        },
        "responses": {
            "200": _json("wait: all of them succeeded", "TriggerResults"),
            "202": _json("Accepted", "Triggered"),
            "401": _json("The token is missing or wrong", "Error", **{"WWW-Authenticate": challenge}),
            "404": _json("A resource is unknown; nothing was started", "UnknownResources"),
            "500": _json("wait: one of them failed", "TriggerResults"),
            **{str(status): _json(text, "Error") for status, text in refused.items()},
        },
    }


def _named(item: Document, prefix: str) -> Document:
    """The same path under another prefix: operation ids are unique in a document."""
    if not prefix:
        return item
    label = "".join(part.capitalize() for part in prefix.split("/"))
    return {
        method: {**operation, "operationId": operation["operationId"] + label} for method, operation in item.items()
    }
