"""The engine runs on any source and sink: it must not pull in the clients of particular servers."""

from __future__ import annotations

import subprocess
import sys

CLIENTS = ("kazoo", "motor", "pymongo", "bson", "aiohttp", "pydantic")
ENGINE = ("hybridsync.manager", "hybridsync.verify", "hybridsync.testing")

PROGRAM = f"""
import importlib, sys
for name in {ENGINE!r}:
    importlib.import_module(name)
print(sorted({{name.partition(".")[0] for name in sys.modules}} & set({CLIENTS!r})))
"""


def test_the_engine_and_its_twins_import_no_client_library() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)

    assert found.stdout.strip() == "[]"
