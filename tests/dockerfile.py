"""The Dockerfile read as data, so that a test can do its steps without a container engine."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Step(NamedTuple):
    """One instruction, its continuation lines joined."""

    name: str
    value: str


@dataclass
class Stage:
    """One `FROM` and what follows it."""

    image: str
    name: str
    steps: list[Step] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """What the instructions of this name say, in order."""
        return [step.value for step in self.steps if step.name == name]

    def last(self, name: str) -> str:
        """The one that counts where several would replace each other."""
        return self.values(name)[-1]

    def pairs(self, name: str) -> dict[str, str]:
        """The NAME=VALUE pairs of `ENV`, `LABEL` or `ARG`."""
        words = [word for value in self.values(name) for word in shlex.split(value)]
        return dict((key, value) for key, _, value in (word.partition("=") for word in words))

    def command(self, name: str) -> list[str]:
        """An exec form, such as that of `ENTRYPOINT`."""
        return [str(word) for word in json.loads(self.last(name))]

    @property
    def healthcheck(self) -> list[str]:
        """The command of `HEALTHCHECK`, which is in exec form."""
        return [str(word) for word in json.loads(self.last("HEALTHCHECK").partition("CMD ")[2])]


def read(path: Path = ROOT / "Dockerfile") -> list[Stage]:
    """The stages of a Dockerfile that has no heredocs and no parser directives."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: list[Stage] = []
    for line in filter(str.strip, joined.splitlines()):
        name, _, value = line.partition(" ")
        if name == "FROM":
            image, _, alias = value.partition(" AS ")
            stages.append(Stage(image, alias))
        else:
            stages[-1].steps.append(Step(name, value.strip()))
    return stages
