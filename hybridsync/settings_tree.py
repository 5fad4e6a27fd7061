"""What was read, merged into one tree that remembers where each value was written.

Merging keeps an index of the leaves below every place, so that the work grows with what is written, not with its
square. A secret and the file it may stand in (`NAME`, `NAME_FILE`) are one place: whichever comes later wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from hybridsync.resource_config import TABLES
from hybridsync.resource_kinds import FILE_SUFFIX, SECRETS

PREFIX = "HYBRIDSYNC_"
DELIMITER = "__"

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
    secret: Location = ()
    """The secret that was read from a file, which the container names."""
    file: str = ""
    """The name of that file, as it may be shown."""

    def name(self, location: Location) -> str:
        """What the user wrote, or would write in this place, for the value at `location`."""
        if self.file and location == self.secret:
            return f"{self.name((*location[:-1], location[-1] + FILE_SUFFIX))}: {self.file}"
        if location == self.location:
            return self.container + self.where
        if self.exact:
            return variable(location) + self.where
        return ".".join(location[len(self.location) :]) + f" in {self.container}{self.where}"

    def beside(self, other: Origin) -> bool:
        """Whether neither was written in a place that wins over the other's."""
        if self.exact or other.exact:
            return self[:1] + self[3:5] == other[:1] + other[3:5] and len(self.location) == len(other.location)
        return self[:5] == other[:5]


@dataclass(slots=True)
class Raw:
    """Everything that was read, not yet validated. `origins` has an entry for every leaf."""

    secrets: Mapping[str, bool] = field(default_factory=dict)
    """The settings that are secret, and whether an empty one counts as not set."""
    values: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    origins: dict[Location, Origin] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    config_dir: str = ""
    """What `HYBRIDSYNC_CONFIG_DIR` says."""
    _leaves: dict[Location, dict[Location, None]] = field(default_factory=dict)
    """Of every place that has some: the leaves at and below it, in the order in which they came."""

    def put(self, location: Location, value: object, origin: Origin) -> None:
        """Sets what is at `location`; a table is merged into a table, two levels below the resource."""
        twin = self.twin(location)
        if twin in self.origins and not self._settled(location, value, origin, twin):
            return
        if location[0] != "resources":
            self.values[location[0]] = value
            self._remember(location, origin)
        elif isinstance(value, Mapping) and (len(location) < 3 or (len(location) == 3 and location[2] in TABLES)):
            self._table(location)
            if not value and location not in self.origins:
                self._remember(location, origin)
            for key, below in value.items():
                self.put((*location, str(key)), below, origin)
        else:
            self._table(location[:-1])[location[-1]] = value
            self._forget(location)
            self._remember(location, origin)

    def drop(self, location: Location) -> None:
        """Takes away what is at `location`."""
        table = self.values if location[0] != "resources" else self._table(location[:-1])
        table.pop(location[-1], None)
        self._forget(location)

    def value(self, location: Location) -> Any:
        """What is at `location`; `None` when there is nothing."""
        table: Any = self.values if location[0] != "resources" else {"resources": self.resources}
        for key in location:
            table = table.get(key) if isinstance(table, Mapping) else None
        return table

    def below(self, location: Location) -> Iterator[tuple[Location, Origin]]:
        """The leaves at and below `location`, with their origins."""
        for leaf in self._leaves.get(location, ()):
            yield leaf, self.origins[leaf]

    def twin(self, location: Location) -> Location:
        """For a secret the place of its file, for such a file that of the secret; else empty."""
        *above, last = location
        secret = last.removesuffix(FILE_SUFFIX)
        known = secret in self.secrets if not above else len(location) == 4 and (location[2], secret) in SECRETS
        if not known:
            return ()
        return (*above, secret if last != secret else last + FILE_SUFFIX)

    def _settled(self, location: Location, value: object, origin: Origin, twin: Location) -> bool:
        """Settles a secret against its file, or a file against its secret: whether `value` is to be put."""
        other = self.origins[twin]
        secret, file = sorted([location, twin], key=lambda place: len(place[-1]))
        optional = self.secrets.get(secret[0], False)
        if not origin.beside(other) or (optional and self.value(twin) == ""):
            self.drop(twin)
            return True
        if not (optional and value == ""):
            names = [(origin if place == location else other).name(place) for place in (secret, file)]
            self.problems.append(f"{names[0]}: set, and {names[1]} too; allowed: one of them")
            self.drop(twin)
        return False

    def _remember(self, location: Location, origin: Origin) -> None:
        self.origins[location] = origin
        for depth in range(1, len(location) + 1):
            self._leaves.setdefault(location[:depth], {})[location] = None

    def _forget(self, location: Location) -> None:
        for leaf in list(self._leaves.get(location, ())):
            del self.origins[leaf]
            for depth in range(1, len(leaf) + 1):
                del self._leaves[leaf[:depth]][leaf]

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
