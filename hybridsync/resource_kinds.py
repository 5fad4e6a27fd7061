"""The kinds of sources and sinks, one model each, and which go together.

A further kind is one more model here, one more line in `SOURCES` or `SINKS`, its `PAIRS`, and its builder
in `wiring.py`. Reading, merging, error messages and the list of known variables follow from the models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from hybridsync.addresses import check_ends, check_znode_path
from hybridsync.errors import ConfigurationError
from hybridsync.kube_options import KubernetesSource
from hybridsync.sources.exclude import Exclude
from hybridsync.sources.publish_rules import is_field_name
from hybridsync.zookeeper.acl import ALLOWED as ACL_ALLOWED
from hybridsync.zookeeper.acl import access_of

STATE_COLLECTION = "sync_states"
LANES_COLLECTION = "sync_lanes"
LONGEST_COLLECTION = 190
"""Bytes. MongoDB allows 255 for database (63 at most), dot and collection together."""

PATH_ALLOWED = "an absolute znode path such as /services, without //, . or .. parts and without a / at the end"
EXCLUDE_ALLOWED = 'a list of globs of full paths below the source\'s path, such as ["/services/tmp/**"]'
COLLECTION_ALLOWED = (
    "a MongoDB collection name other than sync_states and sync_lanes: no $, no NUL, no system. in front, "
    "no dot at either end, no two dots together, 190 bytes at most"
)
FIELD_ALLOWED = "the name of a field at the top of the documents: no dot in it, no $ in front"
POLL_ALLOWED = "a number of seconds from 0.1 to 86400"
SECRET_FILE_ALLOWED = "a readable file with the secret in it as UTF-8 text; one line end at its end is dropped"
FILE_SUFFIX = "_file"
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
    """Returns a collection name that a resource may use. Rules: MongoDB manual, naming restrictions."""
    if not name:
        raise ValueError("it is empty")
    if name == STATE_COLLECTION:
        raise ValueError("that is where the sync states are kept")
    if name == LANES_COLLECTION:
        raise ValueError("that is where the lanes of the writers are kept")
    if name.startswith("system."):
        raise ValueError("names that start with system. are MongoDB's own")
    if re.search("[$\x00\ud800-\udfff]", name) or name.startswith(".") or name.endswith(".") or ".." in name:
        raise ValueError("MongoDB does not allow that name")
    if len(name.encode()) > LONGEST_COLLECTION:
        raise ValueError(f"it is longer than {LONGEST_COLLECTION} bytes")
    return name


def check_field(name: str) -> str:
    """Returns the name of a top-level field of a document."""
    if not is_field_name(name):
        raise ValueError("no field at the top of a document can be asked for by that name")
    return name


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


class Options(BaseModel):
    """Base of every table of options."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ZooKeeperSource(Options):
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


class MongoSource(Options):
    """The documents of a collection in the database of `MONGODB_URI`, each under the text in its field `key`.

    `when`: the field that switches a document on; `None`: all are on. `poll_seconds`: compare that often
    instead of following a change stream.
    """

    type: Literal["mongodb"] = "mongodb"
    collection: Annotated[str, AfterValidator(check_collection)] = Field(
        json_schema_extra={"allowed": COLLECTION_ALLOWED}
    )
    key: Annotated[str, AfterValidator(check_field)] = Field(json_schema_extra={"allowed": FIELD_ALLOWED})
    when: Annotated[str | None, BeforeValidator(_none_if_empty)] = Field(
        default=None, json_schema_extra={"allowed": FIELD_ALLOWED}
    )
    poll_seconds: Annotated[float | None, BeforeValidator(_none_if_empty)] = Field(
        default=None, ge=0.1, le=86400, allow_inf_nan=False, json_schema_extra={"allowed": POLL_ALLOWED}
    )

    @field_validator("when")
    @classmethod
    def _when_fits(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None:
            check_field(name)
            if name == info.data.get("key"):
                raise ValueError("that field is the key")
        return name


class MongoSink(Options):
    """A MongoDB collection in the database of `MONGODB_URI`; within `Settings` it always has a name."""

    type: Literal["mongodb"] = "mongodb"
    collection: str = Field(default="", json_schema_extra={"allowed": COLLECTION_ALLOWED})
    """Empty stands for the resource's name, which `Settings` puts here."""

    @field_validator("collection")
    @classmethod
    def _collection_allowed(cls, name: str) -> str:
        return check_collection(name) if name else name


class ZooKeeperSink(Options):
    """The znodes directly below `path`. `acl`: who may touch what is created there (it may hold a password)."""

    type: Literal["zookeeper"] = "zookeeper"
    path: Annotated[str, AfterValidator(_check_path)] = Field(json_schema_extra={"allowed": PATH_ALLOWED})
    acl: SecretStr = Field(default=SecretStr("open"), json_schema_extra={"allowed": ACL_ALLOWED})

    @field_validator("acl")
    @classmethod
    def _acl_known(cls, acl: SecretStr) -> SecretStr:
        check_ends(acl.get_secret_value())
        try:
            access_of(acl.get_secret_value(), "digest:a:b")  # whether there are credentials is asked later
        except ConfigurationError:
            raise ValueError("it is none of these") from None
        return acl


Kinds: TypeAlias = Mapping[str, type[BaseModel]]
SOURCES: Kinds = {"zookeeper": ZooKeeperSource, "mongodb": MongoSource, "kubernetes": KubernetesSource}
SINKS: Kinds = {"mongodb": MongoSink, "zookeeper": ZooKeeperSink}
PARTS: Mapping[str, Kinds] = {"source": SOURCES, "sink": SINKS}

PAIRS: tuple[tuple[str, str], ...] = (("zookeeper", "mongodb"), ("mongodb", "zookeeper"), ("kubernetes", "mongodb"))
"""Which source may have which sink."""

SECRETS: tuple[tuple[str, ...], ...] = (("sink", "acl"),)
"""Options whose value is never shown, and which may stand in a file that `OPTION_file` names."""

PUBLISHING: tuple[str, ...] = ("mongodb",)
"""Sources that publish documents, and so know `schema` and `fields`."""
