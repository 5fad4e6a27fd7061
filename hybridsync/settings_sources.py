"""Where settings come from: variables, a profile file, JSON, TOML; merged into one tree that remembers origins.

Only reads and merges. What a value may be is said by the models in `settings.py` and
`resource_config.py`; what is wrong here (an unknown variable, a file that cannot be parsed) is
collected as one line each, so that the user sees everything at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from hybridsync.nearest import nearest
from hybridsync.resource_config import TABLES, TEXTS, known_keys
from hybridsync.resource_kinds import PARTS
from hybridsync.settings_files import find_profile, read_profile, read_toml

PREFIX = "HYBRIDSYNC_"
DELIMITER = "__"
TEST_PREFIX = PREFIX + "TEST_"
ENVIRONMENT = "environment"
CONTROLS = ("env", "config_dir")
"""Variables that say where the others are; read from the environment only."""
UNPREFIXED = (
    "sync_on_startup",
    "auto_sync_on_informer_failure",
    "periodic_sync_interval_hours",
    "data_stale_threshold_seconds",
)
"""Fields that are also read without the prefix."""

Location: TypeAlias = tuple[str, ...]
"""`("http_port",)` or `("resources", "services", "source", "path")`."""


class Origin(NamedTuple):
    """Where a value was written. `label` is shown by `config`; the rest names it in error lines."""

    label: str
    container: str
    """The variable or the file that holds it, as the user wrote it."""
    location: Location
    """What the container as a whole stands for."""
    where: str = ""
    """` in production.env` for a variable of a file."""
    exact: bool = True
    """Whether the container holds this one value, as text; otherwise it is JSON or TOML."""

    def name(self, location: Location) -> str:
        """What the user wrote, or would write in this place, for the value at `location`."""
        if location == self.location:
            return self.container + self.where
        if self.exact:
            return variable(location) + self.where
        return ".".join(location[len(self.location) :]) + f" in {self.container}{self.where}"


class Variable(NamedTuple):
    """One variable that belongs to hybridsync: its name in lower case without the prefix, and its value."""

    key: str
    written: str
    value: str
    prefixed: bool


@dataclass(slots=True)
class Raw:
    """Everything that was read, not yet validated. `origins` has an entry for every leaf."""

    values: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    origins: dict[Location, Origin] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    config_dir: str = ""
    """What `HYBRIDSYNC_CONFIG_DIR` says."""

    def put(self, location: Location, value: object, origin: Origin) -> None:
        """Sets what is at `location`; a table is merged into a table, two levels below the resource."""
        if location[0] != "resources":
            self.values[location[0]] = value
            self.origins[location] = origin
        elif isinstance(value, Mapping) and (len(location) < 3 or (len(location) == 3 and location[2] in TABLES)):
            self._table(location)
            if not value:
                self.origins.setdefault(location, origin)
            for key, below in value.items():
                self.put((*location, str(key)), below, origin)
        else:
            self._table(location[:-1])[location[-1]] = value
            self._forget(location)
            self.origins[location] = origin

    def below(self, location: Location) -> dict[Location, Origin]:
        """The origins of the leaves at and below `location`."""
        return {leaf: origin for leaf, origin in self.origins.items() if leaf[: len(location)] == location}

    def _forget(self, location: Location) -> None:
        for leaf in self.below(location):
            del self.origins[leaf]

    def _table(self, location: Location) -> dict[str, Any]:
        table = self.resources
        for depth, key in enumerate(location[1:], start=2):
            below = table.get(key)
            if not isinstance(below, dict):
                self._forget(location[:depth])
                below = table[key] = {}
            table = below
        return table


def variable(location: Location) -> str:
    """The full name of the variable for `location`."""
    return PREFIX + DELIMITER.join(location).upper()


def read(environ: Mapping[str, str], fields: Collection[str]) -> Raw:
    """Reads the profile, then the environment over it, then the resources from all places."""
    raw = Raw()
    real = _variables(environ, "", fields, raw)
    controls = {var.key: var for var in real if var.prefixed and var.key in CONTROLS}
    if (config_dir := controls.get("config_dir")) is not None:
        raw.config_dir = config_dir.value
    layers = [(ENVIRONMENT, "", [var for var in real if var.key not in CONTROLS])]
    profile = find_profile(controls, raw.problems)
    if profile is not None:
        where = f" in {profile}"
        content = read_profile(profile, raw.problems)
        layers.insert(0, (profile.name, where, _variables(content, where, fields, raw, complete=True)))
    for label, where, variables in layers:
        for var in sorted(variables, key=lambda var: var.prefixed):
            if var.key != "resources" and DELIMITER not in var.key:
                raw.put((var.key,), var.value, Origin(label, var.written, (var.key,), where))
    _read_resources_file(raw)
    for label, where, variables in layers:
        tree = [var for var in variables if var.key.split(DELIMITER)[0] == "resources"]
        for var in sorted(tree, key=lambda var: var.key.count(DELIMITER)):
            _read_resource_variable(var, label, where, raw)
    return raw


def _variables(
    environ: Mapping[str, str], where: str, fields: Collection[str], raw: Raw, *, complete: bool = False
) -> list[Variable]:
    """The variables that are hybridsync's own. With `complete`, all of them have to be."""
    found: dict[tuple[str, bool], Variable] = {}
    links = _service_links(environ)
    for written, value in environ.items():
        upper = written.upper()
        prefixed = upper.startswith(PREFIX)
        key = (upper.removeprefix(PREFIX) if prefixed else upper).lower()
        if upper.startswith(TEST_PREFIX) or written in links or not (prefixed or complete or key in UNPREFIXED):
            continue
        if prefixed and complete and key in CONTROLS:
            raw.problems.append(f"{written}{where}: read from the environment only, not from a profile")
        elif not _known(key, fields, prefixed=prefixed):
            raw.problems.append(f"{written}{where}: unknown variable; the nearest known one is {_nearest(key, fields)}")
        elif not _is_text(value):
            raw.problems.append(f"{written}{where}: the value is not UTF-8 text")
        elif (key, prefixed) in found:
            twin = found[key, prefixed].written
            raw.problems.append(f"{written}{where}: set twice, also as {twin}; names differ in case only")
        else:
            found[key, prefixed] = Variable(key, written, value, prefixed)
    return list(found.values())


def _known(key: str, fields: Collection[str], *, prefixed: bool) -> bool:
    if not prefixed:
        return key in UNPREFIXED
    name, *nested = key.split(DELIMITER)
    return key in fields or key in CONTROLS or (name == "resources" and 1 <= len(nested) <= 3 and all(nested))


def _nearest(key: str, fields: Iterable[str]) -> str:
    nested = [DELIMITER.join(("resources", "name", part, option)) for part in PARTS for option in known_keys(part)]
    nested += [DELIMITER.join(("resources", "name", option)) for option in TEXTS]
    return PREFIX + nearest(key, [*fields, *CONTROLS, *nested]).upper()


def _service_links(environ: Mapping[str, str]) -> set[str]:
    """The variables Kubernetes and Docker set in every pod for a service named `hybridsync` or `hybridsync-…`.

    They are told by their anchor, `…_PORT=tcp://…`. Kubernetes documentation, "Environment variables".
    """
    links: set[str] = set()
    for written, value in environ.items():
        if re.fullmatch(r"HYBRIDSYNC(_\w+)?_PORT", written) and re.match("(tcp|udp|sctp)://", value):
            base = written.removesuffix("_PORT")
            link = re.compile(
                rf"{base}_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
            )
            links.update(name for name in environ if link.fullmatch(name))
    return links


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_resources_file(raw: Raw) -> None:
    path = raw.values.get("resources_file")
    if not path:
        return
    document = read_toml(path, raw.origins["resources_file",].name(("resources_file",)), raw.problems)
    for key in document:
        if key != "resources":
            raw.problems.append(f"{key} in {path}: unknown; allowed: [resources.NAME] tables only")
    resources = document.get("resources", {})
    if not isinstance(resources, Mapping):
        raw.problems.append(f"resources in {path}: not a table; allowed: [resources.NAME] tables")
        return
    raw.put(("resources",), resources, Origin(Path(path).name, path, ("resources",), exact=False))


def _read_resource_variable(var: Variable, label: str, where: str, raw: Raw) -> None:
    location = tuple(var.key.split(DELIMITER))
    if len(location) == 4 or (len(location) == 3 and location[2] in TEXTS):
        raw.put(location, var.value, Origin(label, var.written, location, where))
        return
    if not var.value:
        return
    origin = Origin(label, var.written, location, where, exact=False)
    try:
        value = json.loads(var.value, object_pairs_hook=_distinct)
    except RecursionError:
        raw.problems.append(f"{origin.name(location)}: nested too deeply; allowed: a JSON object")
    except ValueError as error:
        raw.problems.append(f"{origin.name(location)}: not JSON ({error}); allowed: a JSON object")
    else:
        if isinstance(value, dict):
            raw.put(location, value, origin)
        else:
            raw.problems.append(f"{origin.name(location)}: not a JSON object; allowed: a JSON object")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return table
