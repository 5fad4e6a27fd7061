"""The pieces that the fields of `Settings` are made of: bounds with their wording, and what empty means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, SecretStr

YEAR_HOURS = 8760
WEEK_SECONDS = 604_800
DECADE_SECONDS = 315_360_000

FILE_ALLOWED = "a readable file, PEM"
URI_ALLOWED = "mongodb://[USER:PASSWORD@]HOST[:PORT][,…][/DATABASE][?OPTIONS], or mongodb+srv://"
HOSTS_ALLOWED = "HOST[:PORT], several with commas between them, IPv6 in brackets, one chroot such as /app at the end"

KEYS_ALLOWED = "globs of keys such as /services/user/**, with commas between them, or as a JSON list"


def option(default: Any, allowed: str, meaning: str, **constraints: Any) -> Any:
    """A field with a default. `allowed` ends error lines; both texts are in docs/configuration.md."""
    return Field(default, description=meaning, json_schema_extra={"allowed": allowed}, **constraints)


def number(default: float, low: float, high: float, meaning: str, *, above: bool = False) -> Any:
    """A finite number from `low` to `high`; with `above`, `low` itself is not allowed."""
    whole = isinstance(default, int)
    kind = "a whole number" if whole else "a number"
    allowed = f"{kind} above {low:.12g}, up to {high:.12g}" if above else f"{kind} from {low:.12g} to {high:.12g}"
    bounds: dict[str, Any] = {"gt" if above else "ge": low, "le": high}
    if not whole:
        bounds["allow_inf_nan"] = False
    return option(default, allowed, meaning, **bounds)


def lower(value: object) -> object:
    """Words are taken in any case."""
    return value.lower() if isinstance(value, str) else value


def _none_if_empty(value: object) -> object:
    return None if isinstance(value, str) and not value else value


def _listed(value: object) -> object:
    """A variable carries a JSON list (it starts with `[`), or globs with commas between them."""
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return tuple(glob for part in value.split(",") if (glob := part.strip()))
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("it is not a JSON list") from None
    if not isinstance(value, list | tuple) or not all(isinstance(glob, str) for glob in value):
        raise ValueError("it is not a list of texts")
    return tuple(value)


GlobList: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_listed)]
OptionalSecret: TypeAlias = Annotated[SecretStr | None, BeforeValidator(_none_if_empty)]
OptionalPath: TypeAlias = Annotated[Path | None, BeforeValidator(_none_if_empty)]
ResourceName: TypeAlias = Annotated[str, Field(pattern=r"\A[a-z][a-z0-9_-]{0,62}\z")]
