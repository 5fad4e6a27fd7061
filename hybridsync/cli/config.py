"""`hybridsync config`: the effective settings and where each came from."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from hybridsync.cli.session import results
from hybridsync.settings import load_settings, masked
from hybridsync.settings_tree import variable


def config() -> None:
    """Print the effective settings, secrets masked, and where each came from."""
    loaded = load_settings()
    table = Table("variable", "value", "from", box=None)
    for name, value in masked(loaded.settings).items():
        row = (variable(tuple(name.split("."))), value, loaded.origins.get(name, "default"))
        table.add_row(*(Text(word, overflow="fold") for word in row))
    results().print(table)
