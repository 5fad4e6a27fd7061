"""`hybridsync COMMAND`: the commands put together, and how the process ends.

Exit codes: 0 done, 1 failed or drift found, 2 usage or configuration. Results go to stdout,
everything else to stderr. A mistake of the user is one line each, never a traceback.
"""

from __future__ import annotations

import sys
import traceback
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from hybridsync.cli.config import config
from hybridsync.cli.demo import demo
from hybridsync.cli.plan import plan
from hybridsync.cli.rbac import rbac
from hybridsync.cli.run import run
from hybridsync.cli.status import status
from hybridsync.cli.sync import sync
from hybridsync.cli.verify import verify
from hybridsync.errors import ConfigurationError, HybridSyncError
from hybridsync.process import leave, share_the_time
from hybridsync.version import version as installed_version


class _Commands(TyperGroup):
    """Shows the errors that hybridsync raises on purpose as lines on stderr."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            _complain(error.problems)
            raise typer.Exit(2) from None
        except HybridSyncError as error:
            _complain([str(error)])
            raise typer.Exit(1) from None


def _complain(problems: list[str]) -> None:
    for problem in problems:
        typer.echo("hybridsync: " + " ".join(problem.split()), err=True)


app = typer.Typer(
    name="hybridsync",
    cls=_Commands,
    help="Mirrors a ZooKeeper tree into MongoDB and always knows how fresh the mirror is.",
    epilog="Exit codes: 0 done, 1 failed or drift found, 2 usage or configuration.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hybridsync {installed_version()}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command(short_help="Run the service until SIGTERM or Ctrl-C.")(run)
app.command(short_help="Print what start-up would decide, and why; writes nothing.")(plan)
app.command(short_help="One full sync of the mirrors, and exit.")(sync)
app.command(short_help="Compare source and mirror record by record.")(verify)
app.command(short_help="Show the resources of a running service.")(status)
app.command(short_help="Print the effective settings and their origins.")(config)
app.command(short_help="Print the rights that the Kubernetes sources need.")(rbac)
app.command(short_help="Run on private servers with a sample tree.")(demo)


def main() -> NoReturn:
    """The entry point of the console script."""
    share_the_time()
    try:
        app(prog_name="hybridsync")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        code = 1
    leave(code)
