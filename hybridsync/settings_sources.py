"""Where settings come from: variables, a profile file, JSON, TOML, files with secrets.

Only reads; `settings_tree` merges. What a value may be is said by the models in `settings.py` and
`resource_config.py`; what is wrong here (an unknown variable, a file that cannot be parsed) is
collected as one line each, so that the user sees everything at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo

from hybridsync.nearest import nearest
from hybridsync.resource_config import TEXTS, known_keys
from hybridsync.resource_kinds import FILE_SUFFIX, PARTS
from hybridsync.settings_files import find_profile, read_profile, read_toml
from hybridsync.settings_masks import is_secret
from hybridsync.settings_secrets import read_secret_files
from hybridsync.settings_tree import DELIMITER, PREFIX, Origin, Raw

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
_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")


class Variable(NamedTuple):
    """One variable that belongs to hybridsync: its name in lower case without the prefix, and its value."""

    key: str
    written: str
    value: str
    prefixed: bool


def read(environ: Mapping[str, str], settings: Mapping[str, FieldInfo]) -> Raw:
    """Reads the profile, then the environment over it, then the resources from all places, then secrets in files."""
    raw = Raw({name: field.default is None for name, field in settings.items() if is_secret(field)})
    fields = (*settings, *(name + FILE_SUFFIX for name in raw.secrets))
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
    read_secret_files(raw)
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
    return PREFIX + nearest(key, [*fields, *CONTROLS, *_nested()]).upper()


@cache
def _nested() -> tuple[str, ...]:
    """The keys of the variables of a resource called `name`."""
    options = [(part, option) for part in PARTS for option in known_keys(part)]
    return tuple(DELIMITER.join(("resources", "name", *option)) for option in [*options, *((text,) for text in TEXTS)])


def _service_links(environ: Mapping[str, str]) -> set[str]:
    """The variables Kubernetes and Docker set in every pod for a service named `hybridsync` or `hybridsync-…`.

    They are told by their anchor, `…_PORT=tcp://…`. Kubernetes documentation, "Environment variables".
    """
    services = {
        written.removesuffix("_PORT")
        for written, value in environ.items()
        if re.fullmatch(r"HYBRIDSYNC(_\w+)?_PORT", written) and re.match("(tcp|udp|sctp)://", value)
    }
    return {written for written in environ if services and _links_to(written, services)}


def _links_to(written: str, services: Collection[str]) -> bool:
    """Whether a variable is set for one of the services: its name is that of one, and one of the known endings."""
    return any(
        written[: start.start()] in services and _LINK.fullmatch(written, start.start())
        for start in re.finditer("_(?=SERVICE_|PORT)", written)
    )


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
