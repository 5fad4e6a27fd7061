"""What Prometheus reads, for managers in known states."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hybridsync.exceptions import Exceptions
from hybridsync.metrics import Metrics
from hybridsync.state import SyncState
from hybridsync.status import Counters, InformerState, Progress, Readiness, Trigger, VerifyOutcome
from tests.prometheus import promtool
from tests.unit.fake_manager import FakeManager, a_result, a_status, as_manager, at, serving

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(fake: FakeManager) -> Samples:
    return read(Metrics(as_manager(fake)))


def read(metrics: Metrics) -> Samples:
    text = metrics.render("")[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labelled(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


SERVICES = labelled(resource="services")


def test_a_resource_in_step() -> None:
    samples = scrape(FakeManager())

    expected: dict[str, Any] = {
        "hybridsync_in_sync": 1,
        "hybridsync_stale": 0,
        "hybridsync_records": 100_000,
        "hybridsync_pending_changes": 0,
        "hybridsync_last_sync_timestamp_seconds": at(0).timestamp(),
        "hybridsync_confirmed_timestamp_seconds": at(14).timestamp(),
    }
    assert {name: samples[name, SERVICES] for name in expected} == expected
    assert samples["hybridsync_ready", ()] == 1
    assert samples["hybridsync_mongodb_reachable", ()] == 1
    assert samples[
        "hybridsync_decision_info", labelled(resource="services", mode="auto", action="skip", reason="fresh")
    ]


def test_a_moment_that_never_was_is_zero_and_a_gap_that_is_not_there_is_absent() -> None:
    fake = FakeManager()
    fake.shown = [a_status(state=SyncState(resource_type="services"), confirmed_at=None, decision=None, is_stale=True)]

    samples = scrape(fake)

    assert samples["hybridsync_last_sync_timestamp_seconds", SERVICES] == 0
    assert samples["hybridsync_confirmed_timestamp_seconds", SERVICES] == 0
    assert ("hybridsync_gap_since_timestamp_seconds", SERVICES) not in samples


def test_an_open_gap_and_what_waits() -> None:
    fake = FakeManager()
    fake.shown = [a_status(gap_since=at(3), pending=17, in_sync=False, informer_state=InformerState.DISCONNECTED)]
    fake.ready, fake.mongodb_reachable = Readiness(False, "x", ()), False

    samples = scrape(fake)

    assert samples["hybridsync_gap_since_timestamp_seconds", SERVICES] == at(3).timestamp()
    assert samples["hybridsync_pending_changes", SERVICES] == 17
    assert samples["hybridsync_informer_state", labelled(resource="services", state="disconnected")] == 1
    assert samples["hybridsync_informer_state", labelled(resource="services", state="watching")] == 0
    assert (samples["hybridsync_ready", ()], samples["hybridsync_mongodb_reachable", ()]) == (0, 0)


def test_exactly_one_status_of_a_resource_is_1() -> None:
    samples = scrape(FakeManager())

    words = {labels: value for (name, labels), value in samples.items() if name == "hybridsync_resource_status"}
    assert len(words) == 4
    assert [labels for labels, value in words.items() if value] == [labelled(resource="services", status="completed")]


def test_the_counters_of_the_manager() -> None:
    fake = FakeManager()
    fake.counters["services"] = replace(
        Counters(), inserted=1, updated=2, deleted=3, unchanged=4, reconnects=5, expiries=6, gaps=7, failed_documents=8
    )

    samples = scrape(fake)

    for number, operation in enumerate(("inserted", "updated", "deleted", "unchanged"), start=1):
        assert samples["hybridsync_changes_total", labelled(resource="services", operation=operation)] == number
    names = ("informer_reconnects", "session_expiries", "gaps", "failed_documents")
    assert [samples[f"hybridsync_{name}_total", SERVICES] for name in names] == [5, 6, 7, 8]


def test_each_full_sync_is_counted_by_trigger_and_result() -> None:
    fake = FakeManager()
    metrics = Metrics(as_manager(fake))
    for result in (a_result(duration_seconds=0.2), a_result(duration_seconds=0.4), a_result(error="no")):
        fake.sync_listeners[0]("services", result)

    samples = read(metrics)

    good = labelled(resource="services", trigger="startup", result="success")
    bad = labelled(resource="services", trigger="startup", result="failure")
    assert samples["hybridsync_sync_duration_seconds_count", good] == 2
    assert samples["hybridsync_sync_duration_seconds_sum", good] == pytest.approx(0.6)
    assert samples["hybridsync_sync_duration_seconds_count", bad] == 1


def test_a_change_that_seems_to_arrive_before_it_was_made_took_no_time() -> None:
    fake = FakeManager()
    metrics = Metrics(as_manager(fake))
    for seconds in (-5.0, 0.003):
        fake.propagation_listeners[0]("services", seconds)

    samples = read(metrics)

    assert samples["hybridsync_propagation_seconds_count", SERVICES] == 2
    assert samples["hybridsync_propagation_seconds_sum", SERVICES] == pytest.approx(0.003)


async def test_a_blocked_event_loop_shows_in_the_lag() -> None:
    metrics = Metrics(as_manager(FakeManager()))
    sampler = asyncio.create_task(metrics.sample_lag())
    before = read(metrics)["hybridsync_event_loop_lag_seconds", ()]
    lag = 0.0
    async with asyncio.timeout(30):
        while lag < 0.3:
            await asyncio.sleep(0.01)
            time.sleep(0.7)  # noqa: ASYNC251 - the blocked loop is what this test is about
            lag = read(metrics)["hybridsync_event_loop_lag_seconds", ()]
    sampler.cancel()

    assert before == 0


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain; version="),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
    ],
)
async def test_the_content_type_is_what_the_scraper_asked_for(accept: str, kind: str) -> None:
    async with serving(FakeManager()) as client:
        response = await client.get("/metrics", headers={"Accept": accept})

        assert response.status == 200
        assert response.headers["Content-Type"].startswith(kind)
        assert "hybridsync_build_info" in await response.text()


def test_two_managers_do_not_share_a_registry() -> None:
    first, second = FakeManager("services"), FakeManager("flags")
    samples = read(Metrics(as_manager(first)))
    others = read(Metrics(as_manager(second)))

    assert ("hybridsync_in_sync", SERVICES) in samples
    assert ("hybridsync_in_sync", SERVICES) not in others


def test_every_kind_of_full_sync_is_counted_from_zero() -> None:
    fake = FakeManager()
    fake.counters["services"].syncs[Trigger.EXPIRED, True] = 2

    samples = scrape(fake)

    counted = {labels: value for (name, labels), value in samples.items() if name == "hybridsync_syncs_total"}
    assert len(counted) == 2 * len(Trigger)
    assert counted.pop(labelled(resource="services", trigger="expired", result="success")) == 2
    assert set(counted.values()) == {0}


def test_records_are_those_of_the_last_full_sync_and_what_changed_since() -> None:
    fake = FakeManager()
    metrics = Metrics(as_manager(fake))
    counters = fake.counters["services"]
    counters.inserted, counters.deleted = 10, 2
    before_any_sync_of_this_process = read(metrics)["hybridsync_records", SERVICES]
    fake.sync_listeners[0]("services", a_result(error="cut off"))
    after_a_failed_one = read(metrics)["hybridsync_records", SERVICES]
    fake.sync_listeners[0]("services", a_result())
    counters.inserted, counters.deleted = 12, 5

    assert before_any_sync_of_this_process == after_a_failed_one == 100_008
    assert read(metrics)["hybridsync_records", SERVICES] == 99_999


def test_a_running_full_sync_shows_how_far_it_is_and_none_shows_nothing() -> None:
    fake = FakeManager()
    fake.shown = [a_status(progress=Progress(read=70, inserted=30, elapsed_seconds=1.5))]
    running, idle = scrape(fake), scrape(FakeManager())

    assert running["hybridsync_sync_progress_records", labelled(resource="services", operation="read")] == 70
    assert running["hybridsync_sync_progress_records", labelled(resource="services", operation="inserted")] == 30
    assert running["hybridsync_sync_elapsed_seconds", SERVICES] == 1.5
    assert not [name for name, _ in idle if "progress" in name or "elapsed" in name]


def test_what_the_last_comparison_found() -> None:
    fake = FakeManager()
    fake.shown = [
        a_status(last_verify=VerifyOutcome(finished_at=at(9), compared=50, missing=1, extra=2, different=3, repaired=4))
    ]

    samples = scrape(fake)

    kinds = [
        samples["hybridsync_verify_drift_records", labelled(resource="services", kind=kind)]
        for kind in ("missing", "extra", "different")
    ]
    assert kinds == [1, 2, 3]
    assert samples["hybridsync_verify_timestamp_seconds", SERVICES] == at(9).timestamp()
    assert samples["hybridsync_verify_compared_records", SERVICES] == 50
    assert samples["hybridsync_verify_repaired_records", SERVICES] == 4
    assert samples["hybridsync_verify_failed", SERVICES] == 0


def test_a_comparison_that_was_not_finished_claims_no_agreement() -> None:
    fake = FakeManager()
    fake.shown = [a_status(last_verify=VerifyOutcome(finished_at=at(9), error="no answer"))]

    samples = scrape(fake)

    assert samples["hybridsync_verify_failed", SERVICES] == 1
    assert not [name for name, _ in samples if "drift" in name]
    assert not [name for name, _ in scrape(FakeManager()) if "verify" in name]


def test_records_that_break_rules_are_counted_and_not_named() -> None:
    fake = FakeManager()
    invalid = {"channel-1": "password: blank", "channel-2": "path: missing"}
    fake.shown = [a_status(exceptions=Exceptions(dict, lambda: {"channel-1": "too large"}, lambda: invalid))]

    samples = scrape(fake)

    assert samples["hybridsync_invalid_records", SERVICES] == 2
    of_kind = {
        dict(labels)["kind"]: value for (name, labels), value in samples.items() if name == "hybridsync_exceptions"
    }
    assert of_kind == {"unreadable": 0, "refused": 1, "invalid": 2}
    assert not [labels for _, labels in samples if "channel-1" in dict(labels).values()]


async def test_requests_are_measured_under_the_names_of_our_routes_only() -> None:
    fake = FakeManager()
    async with serving(fake) as client:
        for path in ("/health/live", "/api/v1/health/live", "/health/ready?x=1", "/health/../etc", "/nothing", "/"):
            await client.get(path)
        await client.post("/health/sync/trigger", json={"resources": ["nobody"]})
        text = await (await client.get("/metrics")).text()

    counts = {
        sample.labels["route"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "hybridsync_http_request_duration_seconds_count"
    }
    assert counts == {
        "/health": 0,
        "/health/live": 2,
        "/health/startup": 0,
        "/health/ready": 1,
        "/health/sync": 0,
        "/health/sync/exceptions": 0,
        "/health/sync/trigger": 1,
        "/metrics": 0,
    }


async def test_promtool_has_nothing_to_say_about_a_scrape_with_every_family_in_it() -> None:
    fake = FakeManager()
    fake.shown = [
        a_status(gap_since=at(3), progress=Progress(), last_verify=VerifyOutcome(finished_at=at(9), compared=1))
    ]
    async with serving(fake) as client:
        fake.sync_listeners[0]("services", a_result())
        fake.propagation_listeners[0]("services", 0.1)
        text = await (await client.get("/metrics")).text()

    assert promtool("check", "metrics", given=text) == ""
    empty = [family.name for family in text_string_to_metric_families(text) if not family.samples]
    assert empty == []
