"""The command line of a benchmark that is run alone."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from benchmarks.figures import Outcome
from benchmarks.rig import Rig


def parser(about: str | None, *, size: int, rounds: int, sized: str = "leaves of the tree") -> argparse.ArgumentParser:
    """`--size` (of what, says `sized`) and `--rounds`, with these defaults."""
    made = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    made.add_argument("--size", type=int, default=size, help=f"{sized} (default {size})")
    made.add_argument("--rounds", type=int, default=rounds, help=f"times everything is measured (default {rounds})")
    return made


def run_alone(benchmark: Callable[[Rig], Outcome | Sequence[Outcome]]) -> None:
    """Runs one benchmark on servers of its own and prints what it found."""
    with Rig() as rig:
        outcome = benchmark(rig)
        for each in [outcome] if isinstance(outcome, Outcome) else outcome:
            print(each.text, flush=True)
