"""What a resource may be: one model for each kind of source and of sink.

A further kind is one more model here and one more line in `SOURCES` or `SINKS`; reading, merging,
error messages and the list of known variables follow from the models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from hybridsync.addresses import check_znode_path
from hybridsync.errors import ConfigurationError
from hybridsync.sources.exclude import Exclude

STATE_COLLECTION = "sync_states"
LONGEST_COLLECTION = 190
"""Bytes. MongoDB allows 255 for database (63 at most), dot and collection together."""

NAME_ALLOWED = "a lower-case letter, then up to 62 of a-z, 0-9, _ and -"
PATH_ALLOWED = "an absolute znode path such as /services, without //, . or .. parts and without a / at the end"
EXCLUDE_ALLOWED = 'a list of globs of full paths below the source\'s path, such as ["/services/tmp/**"]'
COLLECTION_ALLOWED = (
    "a MongoDB collection name other than sync_states: no $, no NUL, no system. in front, "
    "no dot at either end, no two dots together, 190 bytes at most"
)
_WILDCARD = re.compile(r"[*?\[]")


def _check_path(path: str) -> str:
    try:
        return check_znode_path(path)
    except ValueError as error:
        raise ValueError(f"it {error}") from None


def _read_globs(value: object) -> object:
    """A variable carries a JSON list, or one glob as it is (a glob starts with `/`, a list with `[`)."""
    if isinstance(value, str):
        if not value.strip():
            return ()
        if not value.lstrip().startswith("["):
            return (value,)
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("it is not a JSON list") from None
    if not isinstance(value, list | tuple) or not all(isinstance(glob, str) for glob in value):
        raise ValueError("it is not a list of texts")
    return tuple(value)


def _check_glob(glob: str, root: str) -> None:
    """Refuses a glob that leaves out everything, or that can match nothing below `root`."""
    try:
        check_znode_path(glob)
        pattern = Exclude([glob])
    except (ValueError, ConfigurationError):
        raise ValueError("a glob is not an absolute path, or has a bad [set]") from None
    if pattern.excluded(root):
        raise ValueError("a glob leaves out the source's path itself, and all of it")
    parts, above = glob.split("/"), [] if root == "/" else root.split("/")
    for part, expected in zip(parts, above, strict=False):
        if part == "**":
            return
        if not _WILDCARD.search(part) and part != expected:
            raise ValueError("a glob matches nothing below the source's path")
    if len(parts) <= len(above):
        raise ValueError("a glob matches nothing below the source's path")


def check_collection(name: str) -> str:
    """Returns a collection name that a mirror may have. Rules: MongoDB manual, naming restrictions."""
    if not name:
        raise ValueError("it is empty")
    if name == STATE_COLLECTION:
        raise ValueError("that is where the sync states are kept")
    if name.startswith("system."):
        raise ValueError("names that start with system. are MongoDB's own")
    if re.search("[$\x00\ud800-\udfff]", name) or name.startswith(".") or name.endswith(".") or ".." in name:
        raise ValueError("MongoDB does not allow that name")
    if len(name.encode()) > LONGEST_COLLECTION:
        raise ValueError(f"it is longer than {LONGEST_COLLECTION} bytes")
    return name


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ZooKeeperSource(_Options):
    """A ZooKeeper tree: `path` and everything below it, save what a glob of `exclude` matches.

    Paths are as the client sees them, below the chroot of `ZOOKEEPER_HOSTS`.
    """

    type: Literal["zookeeper"] = "zookeeper"
    path: Annotated[str, AfterValidator(_check_path)] = Field(json_schema_extra={"allowed": PATH_ALLOWED})
    exclude: Annotated[tuple[str, ...], BeforeValidator(_read_globs)] = Field(
        default=(), json_schema_extra={"allowed": EXCLUDE_ALLOWED}
    )

    @field_validator("exclude")
    @classmethod
    def _globs_fit(cls, globs: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for glob in globs:
            _check_glob(glob, info.data.get("path", "/"))
        return globs


class MongoSink(_Options):
    """A MongoDB collection in the database of `MONGODB_URI`; within `Settings` it always has a name."""

    type: Literal["mongodb"] = "mongodb"
    collection: str = Field(default="", json_schema_extra={"allowed": COLLECTION_ALLOWED})
    """Empty stands for the resource's name, which `Settings` puts here."""

    @field_validator("collection")
    @classmethod
    def _collection_allowed(cls, name: str) -> str:
        return check_collection(name) if name else name


Kinds: TypeAlias = Mapping[str, type[BaseModel]]
SOURCES: Kinds = {"zookeeper": ZooKeeperSource}
SINKS: Kinds = {"mongodb": MongoSink}
PARTS: Mapping[str, Kinds] = {"source": SOURCES, "sink": SINKS}


def by_type(kinds: Kinds, default: str | None = None) -> Callable[[object], object]:
    """A validator that lets the model named by `type` do the checking; `default` stands in for no `type`.

    It takes the place of pydantic's discriminated unions, which need two models at least.
    """

    def choose(value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        if value.get("type") == "":
            value = {key: option for key, option in value.items() if key != "type"}
        kind = value.get("type", default)
        if isinstance(kind, str) and kind in kinds:
            return kinds[kind].model_validate(value)
        known = {key for model in kinds.values() for key in model.model_fields}
        problems: list[InitErrorDetails] = [
            {"type": "extra_forbidden", "loc": (str(key),), "input": None} for key in value if key not in known
        ]
        wrong = PydanticCustomError("type_unknown" if "type" in value else "missing", "unknown type")
        raise ValidationError.from_exception_data(
            "type", [{"type": wrong, "loc": ("type",), "input": value.get("type")}, *problems], hide_input=True
        )

    return choose


class ResourceConfig(_Options):
    """One resource: what is read, and where it is written."""

    source: Annotated[ZooKeeperSource, BeforeValidator(by_type(SOURCES))]
    sink: Annotated[MongoSink, BeforeValidator(by_type(SINKS, default="mongodb"))] = MongoSink()


def with_collections(resources: Mapping[str, ResourceConfig]) -> dict[str, ResourceConfig]:
    """The resources with the collection of each spelled out.

    Raises `pydantic.ValidationError` when a resource's own name cannot be a collection, or when two
    resources write the same one.
    """
    complete: dict[str, ResourceConfig] = {}
    writers: dict[str, str] = {}
    problems: list[InitErrorDetails] = []
    for name, config in resources.items():
        collection = config.sink.collection or name
        try:
            check_collection(collection)
            if collection in writers:
                raise ValueError(f"resource {writers[collection]} writes it too")
        except ValueError as error:
            refused = PydanticCustomError("value_error", "{error}", {"error": error})
            problems.append({"type": refused, "loc": (name, "sink", "collection"), "input": collection})
        writers[collection] = name
        sink = config.sink.model_copy(update={"collection": collection})
        complete[name] = config.model_copy(update={"sink": sink})
    if problems:
        raise ValidationError.from_exception_data("resources", problems, hide_input=True)
    return complete


def known_keys(part: str | None, kind: Any = None) -> dict[str, str]:
    """Option → what is allowed. `part` is `source`, `sink` or None for the resource itself; `kind` its type.

    With an unknown kind: the options of every kind.
    """
    if part is None:
        return {part: f"a table with type = {' or '.join(kinds)} and its options" for part, kinds in PARTS.items()}
    kinds = PARTS[part]
    chosen = [kinds[kind]] if isinstance(kind, str) and kind in kinds else list(kinds.values())
    keys = {"type": " or ".join(kinds)}
    for model in chosen:
        for key, field in model.model_fields.items():
            if isinstance(field.json_schema_extra, dict):
                keys[key] = str(field.json_schema_extra["allowed"])
    return keys
