"""Prometheus and promtool for the tests: where they are, one check, and a private server.

`make test` unpacks Debian's package into the virtual environment; what is on PATH goes first.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybridsync.embedded.process import Server

_UNPACKED = Path(sys.prefix) / "prometheus" / "usr" / "bin"


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`. A missing one is a failure, never a skip."""
    found = shutil.which(name) or shutil.which(name, path=str(_UNPACKED))
    assert found is not None, f"there is no {name}: run 'make test', or install the Debian package prometheus"
    return found


def promtool(*arguments: str, given: str = "") -> str:
    """Runs promtool, which must be content, and returns what it said."""
    ended = subprocess.run(
        [program("promtool"), *arguments], input=given, capture_output=True, text=True, timeout=60, check=False
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    return said


class PrometheusServer(Server):
    """A private Prometheus that scrapes `targets` (host:port) every two seconds and evaluates rules every second."""

    name = "Prometheus"

    def __init__(self, directory: Path, targets: Sequence[str], rule_files: Sequence[Path]) -> None:
        super().__init__(directory)
        self._config = {
            "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
            "rule_files": [str(file) for file in rule_files],
            "scrape_configs": [{"job_name": "hybridsync", "static_configs": [{"targets": list(targets)}]}],
        }

    def _command(self) -> list[str]:
        config = self.directory / "prometheus.yaml"
        config.write_text(json.dumps(self._config))  # JSON is YAML
        return [
            program("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={self.data}",
            f"--web.listen-address={self.address}",
            "--log.level=warn",
        ]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def ask(self, path: str, **query: str) -> Any:
        """The data of one answer of the HTTP API."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)["data"]

    def value(self, expression: str) -> float | None:
        """The value of an expression now; `None` when it has no series, the first when it has several."""
        result = self.ask("query", query=expression)["result"]
        return float(result[0]["value"][1]) if result else None

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"}
