"""`hybridsync run`: the service."""

from __future__ import annotations


def run() -> None:
    """Run the service until SIGTERM or Ctrl-C."""
    from hybridsync.process import StopSignal

    # before the heavier imports: from here on a signal ends the process in good order
    stop = StopSignal()
    from hybridsync.cli.session import settings_for_resources
    from hybridsync.service import run_service

    run_service(settings_for_resources(), stop)
