"""What a resource may be: its source, its sink and its own options, read and checked together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NoReturn

from pydantic import BeforeValidator, ConfigDict, Field, InstanceOf, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from hybridsync.kube_options import KubernetesSource
from hybridsync.resource_conflicts import Conflict, conflicts
from hybridsync.resource_kinds import (
    FILE_SUFFIX,
    PAIRS,
    PARTS,
    PUBLISHING,
    SECRET_FILE_ALLOWED,
    SECRETS,
    SINKS,
    SOURCES,
    Kinds,
    MongoSink,
    MongoSource,
    Options,
    ZooKeeperSink,
    ZooKeeperSource,
    check_collection,
    check_field,
)
from hybridsync.schema_files import SCHEMA_ALLOWED, SchemaFile, read_schema
from hybridsync.sources.publish_rules import PublishRules

NAME_ALLOWED = "a lower-case letter, then up to 62 of a-z, 0-9, _ and -"
FIELDS_ALLOWED = "a table of texts: name in the znode = name of a field of the document"
OWN: Mapping[str, str] = {"schema": SCHEMA_ALLOWED, "fields": FIELDS_ALLOWED}
"""Options of the resource itself, beside source and sink."""

TABLES: tuple[str, ...] = (*PARTS, "fields")
"""What of a resource is merged key by key."""

DEFAULT_TYPES: Mapping[str, str] = {"sink": "mongodb"}
"""The type of a part that names none."""

TEXTS: tuple[str, ...] = ("schema",)
"""What of a resource a variable carries as it is."""


def by_type(kinds: Kinds, default: str | None = None) -> Callable[[object], object]:
    """A validator that lets the model named by `type` do the checking; `default` stands in for no `type`.

    It takes the place of pydantic's discriminated unions, whose errors name the members of the union.
    """

    def choose(value: object) -> object:
        if isinstance(value, tuple(kinds.values())):
            return value
        if not isinstance(value, Mapping):
            raise PydanticCustomError("table", "not a table")
        if value.get("type") == "":
            value = {key: option for key, option in value.items() if key != "type"}
        kind = value.get("type", default)
        if isinstance(kind, str) and kind in kinds:
            return kinds[kind].model_validate(value)
        known = {key for model in kinds.values() for key in model.model_fields}
        known |= {option + FILE_SUFFIX for _, option in SECRETS}
        problems: list[InitErrorDetails] = [
            {"type": "extra_forbidden", "loc": (str(key),), "input": None} for key in value if key not in known
        ]
        wrong = PydanticCustomError("type_unknown" if "type" in value else "missing", "unknown type")
        raise ValidationError.from_exception_data(
            "type", [{"type": wrong, "loc": ("type",), "input": value.get("type")}, *problems], hide_input=True
        )

    return choose


class ResourceConfig(Options):
    """One resource: what is read, where it is written, and for published documents what is taken of them."""

    model_config = ConfigDict(populate_by_name=True)

    source: Annotated[ZooKeeperSource | MongoSource | KubernetesSource, BeforeValidator(by_type(SOURCES))]
    sink: Annotated[MongoSink | ZooKeeperSink, BeforeValidator(by_type(SINKS, default=DEFAULT_TYPES["sink"]))] = (
        MongoSink()
    )
    schema_: Annotated[InstanceOf[SchemaFile] | None, BeforeValidator(read_schema)] = Field(
        default=None, alias="schema"
    )
    fields: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _parts_fit(self) -> ResourceConfig:
        source, sink = self.source.type, self.sink.type
        if (source, sink) not in PAIRS:
            allowed = " or ".join(f"{one} → {other}" for one, other in PAIRS)
            _refuse(("sink", "type"), f"a source of type {source} does not go there; a resource is {allowed}", sink)
        if source not in PUBLISHING:
            for option, given in (("schema", self.schema_), ("fields", self.fields)):
                if given:
                    _refuse((option,), "it is for documents that are published: the source is not of type mongodb", "")
            return self
        for name, own in self.fields.items():
            try:
                check_field(own)
            except ValueError as error:
                _refuse(("fields", name), str(error), own)
        try:
            self.publish_rules()
        except ValueError as error:
            _refuse(("fields",), str(error), self.fields)
        return self

    def publish_rules(self) -> PublishRules:
        """The rules of a resource that publishes documents."""
        if not isinstance(self.source, MongoSource):
            raise TypeError("only documents are published")
        schema = None if self.schema_ is None else self.schema_.schema
        return PublishRules(self.source.key, self.source.when, self.fields, schema)


def _refuse(place: tuple[str, ...], reason: str, value: object) -> NoReturn:
    wrong = PydanticCustomError("value_error", "{error}", {"error": ValueError(reason)})
    raise ValidationError.from_exception_data(
        "resource", [{"type": wrong, "loc": place, "input": value}], hide_input=True
    )


def completed(resources: Mapping[str, ResourceConfig], *, anonymous: bool = False) -> dict[str, ResourceConfig]:
    """The resources with the collection of each spelled out. `anonymous`: ZooKeeper is used without credentials.

    Raises `pydantic.ValidationError` when a resource's own name cannot be a collection, when one needs credentials
    that are not there, or when resources get into each other's way (`resource_conflicts`).
    """
    complete: dict[str, ResourceConfig] = {}
    problems: list[Conflict] = []
    for name, config in resources.items():
        complete[name] = config
        if not isinstance(config.sink, MongoSink):
            if anonymous and config.sink.acl.get_secret_value() == "creator":
                reason = "it needs the credentials of a creator: set HYBRIDSYNC_ZOOKEEPER_AUTH"
                problems.append(Conflict(name, "acl", reason, "creator"))
            continue
        collection = config.sink.collection or name
        try:
            check_collection(collection)
        except ValueError as error:
            problems.append(Conflict(name, "collection", str(error), collection))
        sink = config.sink.model_copy(update={"collection": collection})
        complete[name] = config.model_copy(update={"sink": sink})
    problems += conflicts({name: (config.source, config.sink) for name, config in complete.items()})
    if problems:
        details: list[InitErrorDetails] = [
            {
                "type": PydanticCustomError("value_error", "{error}", {"error": ValueError(problem.reason)}),
                "loc": (problem.resource, "sink", problem.option),
                "input": problem.value,
            }
            for problem in problems
        ]
        raise ValidationError.from_exception_data("resources", details, hide_input=True)
    return complete


def known_keys(part: str | None, kind: Any = None) -> dict[str, str]:
    """Option → what is allowed. `part` is `source`, `sink` or None for the resource itself; `kind` its type.

    With an unknown kind: the options of every kind.
    """
    if part is None:
        tables = {part: f"a table with type = {' or '.join(kinds)} and its options" for part, kinds in PARTS.items()}
        return {**tables, **OWN}
    kinds = PARTS[part]
    chosen = [kinds[kind]] if isinstance(kind, str) and kind in kinds else list(kinds.values())
    keys = {"type": " or ".join(kinds)}
    for model in chosen:
        for key, field in model.model_fields.items():
            if isinstance(field.json_schema_extra, dict):
                keys[key] = str(field.json_schema_extra["allowed"])
            if (part, key) in SECRETS:
                keys[key + FILE_SUFFIX] = SECRET_FILE_ALLOWED
    return keys
