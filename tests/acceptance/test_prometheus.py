"""A real Prometheus scrapes the real service, and an alert fires when its cause is made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hybridsync.embedded import MongoServer
from tests.acceptance.place import Place
from tests.prometheus import PrometheusServer, promtool
from tests.service import ROOT, Service, wait_until


def impatient_rules(directory: Path) -> Path:
    """A copy of the alerts that do not wait: whatever the `for`, one second will do."""
    text = (ROOT / "ops" / "alerts.rules.yaml").read_text()
    impatient, changed = re.subn(r"(?m)^(\s+for:) \w+$", r"\1 1s", text)
    assert changed == text.count("alert:")
    file = directory / "impatient.rules.yaml"
    file.write_text(impatient)
    return file


@pytest.mark.timeout(300)
def test_prometheus_scrapes_the_service_and_an_alert_fires_and_ends_with_its_cause(
    own_place: Place, own_mongodb: MongoServer, tmp_path: Path
) -> None:
    own_place.grow({"": b"", "/a": b"1", "/b": b"2"})
    with Service(own_place.settings()) as service:
        service.wait_in_sync()
        target = service.url.removeprefix("http://")
        with PrometheusServer(tmp_path / "prometheus", [target], [impatient_rules(tmp_path)]) as prometheus:
            wait_until(lambda: prometheus.value("hybridsync_ready") == 1, "the service is scraped and ready")
            assert prometheus.value('hybridsync_records{resource="services"}') == 3
            own_place.set("/a", b"changed")
            wait_until(lambda: prometheus.value("hybridsync_propagation_seconds_count"), "a change is counted")
            wait_until(lambda: not prometheus.firing(), "nothing fires while all is well")

            own_mongodb.stop()
            wait_until(lambda: "HybridsyncNotReady" in prometheus.firing(), "the alert fires without MongoDB")
            assert "HybridsyncDown" not in prometheus.firing()
            own_mongodb.start()
            service.wait_ready()
            wait_until(lambda: "HybridsyncNotReady" not in prometheus.firing(), "the alert ends")

            service.kill()
            wait_until(lambda: "HybridsyncDown" in prometheus.firing(), "the alert fires when the process is gone")


def test_the_metrics_of_the_real_service_keep_the_conventions(place: Place) -> None:
    place.grow({"": b"", "/a": b"1"})
    with Service(place.settings()) as service:
        service.wait_in_sync()
        for path in ("/metrics", "/api/v1/metrics"):
            status, text = service.get(path)
            assert status == 200
            assert promtool("check", "metrics", given=text) == ""
        assert f"{place.root}/a" not in text
