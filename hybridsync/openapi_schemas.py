"""The shapes of every JSON answer and of the trigger's body, as JSON Schema 2020-12 for the OpenAPI document.

Words that may stand in an answer come from the enums that the code itself uses, so the two cannot drift.
An object has exactly the keys that are named here; a key that is not required is there only when there is
something to say.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeAlias

from hybridsync.decision import Action, Mode, Reason
from hybridsync.exceptions import ExceptionKind
from hybridsync.state import SyncStatus
from hybridsync.status import InformerState, Trigger

Schema: TypeAlias = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
SECONDS: Schema = {"type": "number", "minimum": 0}
MOMENT: Schema = {"type": "string", "format": "date-time", "description": "ISO 8601, UTC, with Z"}
NAMES: Schema = {"type": "array", "items": TEXT}


def ref(name: str) -> Schema:
    """A reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    if "$ref" in schema:
        return {"oneOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


def words(enum: type[Enum]) -> Schema:
    """One of the words of an enum of the code."""
    return {"type": "string", "enum": [member.value for member in enum]}


def constant(value: bool) -> Schema:
    """Always this value."""
    return {"type": "boolean", "const": value}


def exactly(properties: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """An object with all of `properties`, perhaps some of `optional`, and nothing else."""
    return {
        "type": "object",
        "properties": properties | (optional or {}),
        "required": list(properties),
        "additionalProperties": False,
    }


_COUNTS = {name: COUNT for name in ("read", "inserted", "updated", "deleted", "unchanged")}

_VERIFY = exactly(
    {"finishedAt": nullable(MOMENT), **{name: COUNT for name in ("compared", "missing", "extra", "different")}},
    {
        "repaired": COUNT,
        "unreadable": COUNT,
        "samples": {"type": "object", "additionalProperties": NAMES, "description": "The first few keys by kind"},
        "error": nullable(TEXT),
    },
)

_INVALID = exactly(
    {
        "count": COUNT,
        "first": {"type": "array", "items": exactly({"key": TEXT, "message": TEXT})},
    }
)

_EXCEPTED = exactly({"key": TEXT, "kind": words(ExceptionKind), "why": TEXT})

_EXCEPTIONS = exactly({**{kind.value: COUNT for kind in ExceptionKind}, "first": {"type": "array", "items": _EXCEPTED}})

_RESOURCE = exactly(
    {
        "resourceType": TEXT,
        "status": words(SyncStatus),
        "lastSyncTime": nullable(MOMENT),
        "lastSyncDuration": nullable(SECONDS),
        "lastSyncCount": nullable(COUNT),
        "resourceVersion": nullable(TEXT),
        "error": nullable(TEXT),
        "informerReconnectCount": COUNT,
        "isStale": FLAG,
        # not below zero in practice; a clock that was set back can make it so
        "ageSeconds": nullable({"type": "number"}),
        "inSync": FLAG,
        "confirmedAt": nullable(MOMENT),
        "gapSince": nullable(MOMENT),
        "decision": nullable(ref("Decision")),
        "exceptions": ref("Exceptions"),
        "informer": ref("Informer"),
        "progress": nullable(ref("Progress")),
        "lastResult": nullable(ref("SyncResult")),
    },
    {"lastVerify": nullable(ref("VerifyResult")), "invalid": ref("InvalidRecords")},
)

SCHEMAS: dict[str, Schema] = {
    "Error": exactly({"error": TEXT}),
    "UnknownResources": exactly({"error": TEXT, "unknown": NAMES}),
    "Health": exactly(
        {
            "status": {"type": "string", "enum": ["ok", "degraded"]},
            "version": TEXT,
            "uptimeSeconds": SECONDS,
            "instance": TEXT,
        },
        {"reasons": NAMES},
    ),
    "Live": exactly({"live": constant(True)}),
    "NotLive": exactly({"live": constant(False), "error": TEXT, "deadTasks": NAMES}),
    "Started": exactly({"started": constant(True)}),
    "NotStarted": exactly({"started": constant(False), "reason": nullable(TEXT), "waitingFor": NAMES}),
    "Ready": exactly({"ready": constant(True), "reason": {"type": "null"}, "waitingFor": NAMES}),
    "NotReady": exactly({"ready": constant(False), "reason": TEXT, "waitingFor": NAMES}),
    "SyncReport": exactly(
        {
            "ready": FLAG,
            "instance": TEXT,
            "summary": ref("Summary"),
            "sync": {"type": "array", "items": ref("Resource")},
        }
    ),
    "Summary": exactly(
        {name: COUNT for name in ("total", "completed", "failed", "inProgress", "never", "stale")},
    ),
    "Resource": _RESOURCE,
    "Decision": exactly(
        {
            "mode": words(Mode),
            "action": words(Action),
            "reason": words(Reason),
            "blocking": FLAG,
            "detail": TEXT,
        }
    ),
    "Exceptions": _EXCEPTIONS,
    "ExceptionsPage": exactly({"exceptions": {"type": "array", "items": _EXCEPTED}, "next": nullable(TEXT)}),
    "Informer": exactly(
        {"state": words(InformerState), "since": MOMENT, "lastEventTime": nullable(MOMENT), "pending": COUNT}
    ),
    "Progress": exactly({**_COUNTS, "elapsedSeconds": SECONDS, "total": nullable(COUNT)}),
    "SyncResult": exactly(
        {"trigger": words(Trigger), **_COUNTS, "durationSeconds": SECONDS},
        {"warnings": ref("SyncWarnings"), "error": TEXT},
    ),
    "SyncWarnings": exactly(
        {"unreadable": COUNT, "unreadableRoots": NAMES, "failedDocuments": COUNT, "failedSamples": NAMES}
    ),
    "VerifyResult": _VERIFY,
    "InvalidRecords": _INVALID,
    "TriggerRequest": {
        "type": "object",
        "properties": {
            "resources": {
                "type": "array",
                "items": TEXT,
                "minItems": 1,
                "description": "Names of resources; all when left out",
            },
            "wait": {"type": "boolean", "default": False, "description": "Answer when the syncs have ended"},
            "allowSweep": {"type": "boolean", "default": False, "description": "This once without the sweep guard"},
        },
        "additionalProperties": False,
    },
    "Triggered": exactly({"accepted": NAMES, "alreadyRunning": NAMES}),
    "TriggerResults": exactly(
        {
            "results": {
                "type": "object",
                "additionalProperties": {"oneOf": [ref("SyncResult"), ref("Error")]},
                "description": "By resource: how its sync ended, or why it failed",
            }
        }
    ),
}
