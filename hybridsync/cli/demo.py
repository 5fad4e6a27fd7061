"""`hybridsync demo`: private servers, a sample tree, the service on them, and what to try."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    once: Annotated[bool, typer.Option("--once", help="Run until ready and in sync, print the status, end.")] = False,
    change: Annotated[
        tuple[str, str] | None,
        typer.Option("--set", metavar="PATH VALUE", help="Change a znode of the running demo and watch the mirror."),
    ] = None,
) -> None:
    """Start a private ZooKeeper and MongoDB under .hybridsync/, load a sample tree, run the service on it.

    Ctrl-C stops everything.
    """
    if change is not None:
        from hybridsync.cli.demo_change import change_znode

        change_znode(*change)
        return
    from hybridsync.process import StopSignal

    # two servers take longer to stop than the service alone, which has 9 s
    stop = StopSignal(watchdog_seconds=60.0)
    from hybridsync.cli.demo_run import run_demo
    from hybridsync.cli.session import run_async

    raise typer.Exit(run_async(run_demo(stop, once=once)))
