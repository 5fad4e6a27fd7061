"""The command line: one file a command, put together in `main.py`."""

from hybridsync.cli.main import app, main

__all__ = ["app", "main"]
