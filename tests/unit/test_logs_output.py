"""What reaches stderr: one event a line, and never a secret."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from hybridsync.logs import MaskSecrets, configure

SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_json_is_one_object_a_line_with_resource_and_reason(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    structlog.get_logger("hybridsync").bind(resource="services").info("decision", reason="fresh")

    (line,) = lines(capsys)
    event = json.loads(line)
    assert (event["message"], event["level"], event["resource"], event["reason"]) == (
        "decision",
        "info",
        "services",
        "fresh",
    )
    assert event["timestamp"].endswith("Z")


def test_an_exception_stays_on_one_line_of_json_and_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json", [SECRET])
    try:
        raise ValueError(f"bad password {SECRET}\nsecond line")
    except ValueError:
        structlog.get_logger("hybridsync").exception("a task died")

    (line,) = lines(capsys)
    assert "Traceback" in json.loads(line)["exception"]
    assert SECRET not in line


@pytest.mark.parametrize("output", ["console", "json"])
def test_no_secret_in_any_place_of_an_event(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure("debug", output, [SECRET])
    log = structlog.get_logger("hybridsync")
    log.info(f"event {SECRET}", value=SECRET, nested={"list": [SECRET]}, error=ValueError(SECRET))
    log.info("connecting", uri="mongodb://me:other-password@db/x", auth="digest:me:third-password")
    logging.getLogger("some.library").warning("token %s", SECRET)

    text = "\n".join(lines(capsys))
    assert "***" in text
    assert not [secret for secret in (SECRET, "other-password", "third-password") if secret in text]


def test_what_is_below_the_level_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    configure("warning")
    structlog.get_logger("hybridsync").info("not shown")
    structlog.get_logger("hybridsync").warning("shown")

    assert len(lines(capsys)) == 1


def test_libraries_are_heard_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    configure("debug")
    logging.getLogger("kazoo.client").info("connecting")
    logging.getLogger("kazoo.client").warning("connection lost")

    (line,) = lines(capsys)
    assert "connection lost" in line


def test_a_logger_made_before_the_set_up_follows_it(capsys: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger("hybridsync")
    configure("info", "json")
    log.info("after")

    assert json.loads(lines(capsys)[0])["message"] == "after"


def test_short_secrets_do_not_tear_words_apart() -> None:
    assert MaskSecrets(["a", ""]).clean_text("a banana") == "a banana"


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    assert MaskSecrets(["pass", "password"]).clean_text("password") == "***"


def test_logs_go_to_stderr_of_the_moment_of_set_up() -> None:
    configure()
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr
