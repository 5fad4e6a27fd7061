"""Where the schema of a resource is found, and reading it.

A relative name is looked for from the working directory, then from the directory above
`HYBRIDSYNC_CONFIG_DIR`, then among what comes with hybridsync, so that `config/schemas/…` works in all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridsync.settings_files import SHIPPED_DIRECTORIES
from hybridsync.sources.publish_schema import PublishSchema

SCHEMA_ALLOWED = "a readable file with a JSON Schema (Draft 2020-12) that names the properties to publish"


@dataclass(frozen=True)
class SchemaFile:
    """A schema and where it was found. Equal to another that asks for the same."""

    path: str
    schema: PublishSchema

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SchemaFile) and self.schema.canonical == other.schema.canonical

    def __hash__(self) -> int:
        return hash(self.schema.canonical)


def read_schema(value: object) -> object:
    """The schema in the file that an option names. Raises `ValueError` with the reason."""
    if value is None or value == "" or isinstance(value, SchemaFile):
        return value or None
    if not isinstance(value, str | Path):
        raise ValueError("it is not the name of a file")
    path = next((place for place in _places(str(value), "") if _is_file(place)), Path(value))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror or 'input error'}") from None
    except ValueError:
        raise ValueError("it is not a file name") from None
    return SchemaFile(str(path), PublishSchema(text))


def with_schemas_found(resources: Mapping[str, Any], config_dir: str) -> dict[str, Any]:
    """The resources with the full path of each schema that is found beside `config_dir` and not nearer."""
    found = dict(resources)
    for name, table in resources.items():
        schema = table.get("schema") if isinstance(table, Mapping) else None
        if config_dir and isinstance(schema, str) and schema:
            place = next((place for place in _places(schema, config_dir) if _is_file(place)), Path(schema))
            found[name] = {**table, "schema": str(place)}
    return found


def _places(name: str, config_dir: str) -> list[Path]:
    above = [Path(config_dir).resolve().parent] if config_dir else []
    return [Path(name), *(place / name for place in above), *(place.parent / name for place in SHIPPED_DIRECTORIES)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
