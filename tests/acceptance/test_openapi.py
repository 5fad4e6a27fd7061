"""The routes against their own description: schemathesis asks a running service, properly and improperly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.place import Place
from tests.service import Service

TOKEN = "open-sesame-43"
EXAMPLES = 25
"""For each operation; what schemathesis tries in any case comes on top."""


@pytest.fixture(scope="module")
def service(shared_place: Place) -> Iterator[Service]:
    """One small tree; nobody on loopback needs a token."""
    shared_place.grow({"": b"", "/a": b"1"})
    with Service(shared_place.settings()) as started:
        started.wait_in_sync()
        yield started


@pytest.fixture(scope="module")
def guarded(shared_place: Place, service: Service) -> Iterator[Service]:
    """The same tree with a token."""
    assert service.running
    with Service(shared_place.settings(CONTROL_TOKEN=TOKEN, SYNC_ON_STARTUP="never")) as started:
        started.wait_ready()
        yield started


def explored(service: Service, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A run of schemathesis: examples of its own, the edges of each schema, and what does not fit it."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json"]
    command += ["--max-examples", str(EXAMPLES), "--phases", "examples,coverage,fuzzing", "--seed", "1", "--no-color"]
    command += ["--generation-database", "none", "--request-timeout", "30", "--workers", "1", *options]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HYBRIDSYNC_")}
    return subprocess.run(command, cwd=directory, env=kept, capture_output=True, text=True, timeout=100, check=False)


def test_every_route_answers_as_described_to_whatever_is_asked(service: Service, tmp_path: Path) -> None:
    run = explored(service, tmp_path)

    assert run.returncode == 0, run.stdout + run.stderr
    assert '"level": "error"' not in service.stderr
    service.wait_in_sync()


def test_with_a_token_it_is_asked_for_and_the_rest_answers_as_described(guarded: Service, tmp_path: Path) -> None:
    run = explored(guarded, tmp_path, "--header", f"Authorization: Bearer {TOKEN}")

    assert run.returncode == 0, run.stdout + run.stderr
    assert TOKEN not in guarded.stderr


def test_the_document_is_the_same_at_both_paths_and_names_no_secret(guarded: Service) -> None:
    status, document = guarded.get("/openapi.json")

    assert status == 200
    assert document["openapi"] == "3.1.0"
    assert guarded.get("/api/v1/openapi.json") == (200, document)
    assert TOKEN not in json.dumps(document)
