"""The two kinds of files settings are read from: profiles (`NAME.env`) and resources (TOML).

A file that is missing or cannot be parsed becomes one line in `problems`, with the line number where
there is one; the rest of the settings is read all the same.
"""

from __future__ import annotations

import io
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from dotenv.parser import parse_stream

LOCAL_DIRECTORY = Path("config")
_PACKAGE = Path(__file__).parent
SHIPPED_DIRECTORIES = (_PACKAGE / "config", _PACKAGE.parent / "config")
"""In the wheel, and in a source checkout."""

TOML_ALLOWED = "allowed: a TOML file with [resources.NAME] tables"


class Control(Protocol):
    """A variable that says where settings are."""

    @property
    def written(self) -> str:
        """Its name as the user wrote it."""

    @property
    def value(self) -> str:
        """Its value."""


def find_profile(controls: Mapping[str, Control], problems: list[str]) -> Path | None:
    """The file that `HYBRIDSYNC_ENV` names, if any.

    Looked for in `HYBRIDSYNC_CONFIG_DIR` when that is set, else in `./config`, else among the shipped ones.
    """
    name, directory = controls.get("env"), controls.get("config_dir")
    if name is None or not name.value:
        return None
    places = [Path(directory.value)] if directory and directory.value else [LOCAL_DIRECTORY, *SHIPPED_DIRECTORIES]
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name.value):
        for place in places:
            if _is_file(place / f"{name.value}.env"):
                return place / f"{name.value}.env"
    known = sorted({path.stem for place in places for path in _profiles(place)})
    allowed = ", ".join(known) or "the name of a *.env file there, and there is none"
    problems.append(f"{name.written}: no profile {name.value[:80]!r} in {_shown(places)}; allowed: {allowed}")
    return None


def read_profile(path: Path, problems: list[str]) -> dict[str, str]:
    """Name → value of an env file, in python-dotenv's syntax; `$` is an ordinary character."""
    values: dict[str, str] = {}
    text = _read(path, f"{path}", problems)
    for binding in parse_stream(io.StringIO(text)):
        original = binding.original.string
        line = binding.original.line + len(original) - len(original.lstrip("\r\n"))
        if binding.error or (binding.key is not None and binding.value is None):
            problems.append(f"{path}: line {line} is not NAME=VALUE")
        elif binding.key is not None and binding.key in values:
            problems.append(f"{binding.key} in {path}: set twice, again in line {line}")
        elif binding.key is not None:
            values[binding.key] = binding.value or ""
    return values


def read_toml(path: str, variable: str, problems: list[str]) -> dict[str, Any]:
    """The document in a TOML file; empty, and a problem, when there is none. `variable` named the file."""
    text = _read(Path(path), f"{variable}: {path[:200]!r}", problems)
    try:
        return tomllib.loads(text)
    except RecursionError:
        problems.append(f"{path}: nested too deeply; {TOML_ALLOWED}")
    except ValueError as error:
        problems.append(f"{path}: not TOML: {' '.join(str(error).split())}; {TOML_ALLOWED}")
    return {}


def _read(path: Path, named: str, problems: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problems.append(f"{named}: line {line} is not UTF-8 text")
    except OSError as error:
        problems.append(f"{named}: cannot be read: {error.strerror or 'input error'}; allowed: a readable file")
    except ValueError:
        problems.append(f"{named}: cannot be read: not a file name; allowed: a readable file")
    return ""


def _profiles(directory: Path) -> list[Path]:
    try:
        return list(directory.glob("*.env"))
    except (OSError, ValueError):
        return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _shown(places: list[Path]) -> str:
    if places[0] == LOCAL_DIRECTORY:
        return "./config or among those that come with hybridsync"
    return repr(str(places[0])[:200])
