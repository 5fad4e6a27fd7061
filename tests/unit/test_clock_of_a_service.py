"""The clock that fault tests give a service: the wall clock is set, everything else goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.faults.chaos.clock import Clock, stepped

_TELL = """
import asyncio, datetime, json, sys, time
for line in sys.stdin:
    began = time.monotonic()
    time.sleep(0.05)
    asyncio.run(asyncio.sleep(0.05))
    told = {"wall": datetime.datetime.now(datetime.UTC).isoformat(), "time": time.time(),
            "monotonic": time.monotonic(), "boot": time.clock_gettime(time.CLOCK_BOOTTIME),
            "slept": time.monotonic() - began}
    print(json.dumps(told), flush=True)
"""


def test_the_wall_clock_alone_is_set_while_a_process_runs_and_it_still_sleeps(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", _TELL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **clock.environ},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        last = 0.0
        for offset in (timedelta(0), timedelta(hours=-30), timedelta(days=2)):
            clock.set(offset)
            before = datetime.now(UTC)
            process.stdin.write("now\n")
            process.stdin.flush()
            told = json.loads(process.stdout.readline())
            after = datetime.now(UTC)
            assert before <= datetime.fromisoformat(told["wall"]) - offset <= after
            assert before <= datetime.fromtimestamp(told["time"], UTC) - offset <= after + timedelta(milliseconds=1)
            assert last < told["monotonic"] < last + 60 or not last
            assert told["boot"] >= told["monotonic"]
            assert told["slept"] >= 0.1
            last = told["monotonic"]
        process.stdin.close()


def test_it_is_known_which_offsets_were_in_force_in_a_span_of_time(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    start = datetime.now(UTC)
    with stepped(clock, timedelta(hours=-1)):
        meanwhile = datetime.now(UTC)
        assert clock.real(meanwhile - timedelta(hours=1)) == meanwhile
        assert clock.offsets(meanwhile, meanwhile) == (timedelta(hours=-1), timedelta(hours=-1))
        assert clock.offsets(start, meanwhile) == (timedelta(hours=-1), timedelta(0))
    end = datetime.now(UTC)
    assert clock.offsets(end, end) == (timedelta(0), timedelta(0))
