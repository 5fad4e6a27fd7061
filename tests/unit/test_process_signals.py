"""The end of a process by signals, also when its main thread does not turn any more."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 60

BEFORE = "import time; from hybridsync.process import StopSignal; stop = StopSignal(watchdog_seconds={watchdog}); "
SAY = "print('begun', flush=True); "
FROZEN = BEFORE + "import asyncio; loop = asyncio.new_event_loop(); stop.follow(loop); " + SAY + "time.sleep(600)"
ORDERLY = BEFORE + (
    "import asyncio, sys\n"
    "async def life():\n"
    "    stop.follow(asyncio.get_running_loop())\n"
    "    print('begun', flush=True)\n"
    "    await stop.wait()\n"
    "    print('asked', stop.asked, flush=True)\n"
    "asyncio.run(life())\n"
    "sys.exit(3)\n"
)


@contextmanager
def script(text: str, watchdog: float = 600) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", text.format(watchdog=watchdog)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


def test_a_signal_before_anything_runs_ends_it_with_0() -> None:
    with script(BEFORE + SAY + "time.sleep(600)") as process:
        process.terminate()

        assert process.wait(PATIENCE_SECONDS) == 0


def test_the_first_signal_wakes_the_loop_and_leaves_the_end_to_it() -> None:
    with script(ORDERLY) as process:
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE_SECONDS)

    assert (process.returncode, output, errors) == (3, "asked True\n", "")


def test_the_watchdog_ends_a_process_whose_main_thread_is_stuck() -> None:
    with script(FROZEN, watchdog=0.3) as process:
        process.terminate()

        assert process.wait(PATIENCE_SECONDS) == 0


def test_a_second_signal_ends_a_process_whose_main_thread_is_stuck_at_once() -> None:
    with script(FROZEN) as process:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)

        assert process.wait(PATIENCE_SECONDS) == 128 + signal.SIGINT
