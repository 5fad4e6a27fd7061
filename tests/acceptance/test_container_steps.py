"""The steps of the Dockerfile, done without a container engine, and the service as the image would run it.

Its instructions are read from the file itself: what `COPY` names is copied, what `RUN` says is run, with `/src` and
`/opt/hybridsync` moved below a temporary folder. Only `apt-get` does nothing: the compiler and the headers are those of
this machine, which `make test` has installed. The service then runs in a tree that nobody may write, as the user
of `USER` where the tests are root, and with `ulimit -f 0`: not one byte could be written to any file.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hybridsync.embedded.ports import free_port
from tests.acceptance.place import Place
from tests.dockerfile import ROOT, read
from tests.mirror_truth import wait_until_equal
from tests.service import Service, wait_until

pytestmark = pytest.mark.timeout(900)  # installs every dependency from the package registry

BUILD, RESULT = read()
UNPRIVILEGED = RESULT.last("USER").replace(":", " ").split()
WRITING_FORBIDDEN = ("sh", "-c", 'ulimit -f 0; exec "$0" "$@"')


@dataclass(frozen=True)
class Image:
    """The folder that stands for `/`."""

    folder: Path

    def moved(self, text: str) -> str:
        """A command or a value with the paths of the image moved below the folder."""
        return re.sub(r"(?<![\w/.-])/(src|opt|var/lib/apt)\b", rf"{self.folder}/\1", text)

    def environment(self, **more: str) -> dict[str, str]:
        """What `ENV` sets in the result, on top of a bare environment."""
        variables = {name: self.moved(value) for name, value in RESULT.pairs("ENV").items()}
        variables["PATH"] = variables["PATH"].replace("$PATH", os.defpath)
        return variables | {"PYTHONPATH": "", "HOME": "/nonexistent", "TMPDIR": "/nonexistent"} | more

    def command(self, *words: str) -> tuple[str, ...]:
        """A command as the user of the image, who may write no file."""
        program = shutil.which(words[0], path=self.environment()["PATH"])
        assert program is not None, f"{words[0]} is not in the image"
        as_user: tuple[str, ...] = ()
        if os.geteuid() == 0:
            uid, gid = UNPRIVILEGED
            as_user = ("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs")
        return (*as_user, *WRITING_FORBIDDEN, program, *words[1:])

    def files(self) -> dict[str, tuple[int, int]]:
        """Every path below the folder with its time of change and its size."""
        found = ((str(path), path.lstat()) for path in self.folder.rglob("*"))
        return {path: (status.st_mtime_ns, status.st_size) for path, status in found}


def python_for_everybody() -> str:
    """An interpreter that the user of the image may run: this one may be in the home of root."""
    candidates = [os.path.realpath(sys.executable), shutil.which("python3", path=f"/usr/local/bin:{os.defpath}") or ""]
    for candidate in filter(None, candidates):
        place = Path(os.path.realpath(candidate))
        if not all(folder.stat().st_mode & stat.S_IXOTH for folder in (place, *place.parents)):
            continue
        if is_python(candidate, "sys.version_info >= (3, 11)"):
            return candidate
    raise AssertionError(f"no Python 3.11 or newer that every user may run among {candidates}")


def is_python(program: str, which: str) -> bool:
    """Whether that interpreter can make virtual environments, and what is asked is true there."""
    asked = [program, "-c", f"import sys, venv; sys.exit(not ({which}))"]
    return subprocess.run(asked, timeout=60, check=False).returncode == 0


def programs(folder: Path) -> Path:
    """`python` and `pip` of one version, as in the build stage's image, and an `apt-get` that installs nothing."""
    python = python_for_everybody()
    pip = f"{sys.executable} -m pip"
    if not is_python(python, f"sys.version_info[:2] == {sys.version_info[:2]}"):
        pip += f" --python {python}"
    folder.mkdir()
    for name, command in {"python": python, "pip": pip, "apt-get": "true"}.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def copy(sources: list[str], target: Path) -> None:
    """`COPY`: a folder's content goes into the target, files go below it; what `.dockerignore` keeps away does not."""
    target.mkdir(exist_ok=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / source, target)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    # not pytest's own folder: only its owner may look into that
    made = Image(Path(tempfile.mkdtemp(prefix="hybridsync-image-")))
    try:
        made.folder.chmod(0o755)
        source = made.folder / BUILD.last("WORKDIR").strip("/")
        tools = programs(made.folder / "programs")
        for value in BUILD.values("COPY"):
            *names, target = value.split()
            copy(names, source / target)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        variables = clean | {name: made.moved(value) for name, value in BUILD.pairs("ENV").items()}
        for value in BUILD.values("RUN"):
            done = subprocess.run(
                ["sh", "-ec", made.moved(value)],
                cwd=source,
                env=variables | {"PATH": f"{tools}:{os.environ['PATH']}"},
                capture_output=True,
                text=True,
                timeout=800,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        shutil.rmtree(source)  # the result has only what it copies from the build
        subprocess.run(["chmod", "-R", "a-w", str(made.folder)], timeout=60, check=True)
        yield made
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(made.folder)], timeout=60, check=True)
        shutil.rmtree(made.folder)


def installed(image: Image) -> set[str]:
    packages = image.folder.glob("opt/hybridsync/lib/python*/site-packages/*.dist-info")
    return {path.name.removesuffix(".dist-info").replace("_", "-").lower() for path in packages}


def test_the_result_holds_the_package_its_pinned_dependencies_and_no_installer(image: Image) -> None:
    pinned = {line.replace("==", "-").replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()}
    found = installed(image)

    assert {name.rpartition("-")[0] for name in found} >= {"hybridsync", "aiohttp", "kazoo", "motor", "pydantic"}
    assert {name for name in found if not name.startswith("hybridsync-")} <= pinned
    assert not {name.rpartition("-")[0] for name in found} & {"pip", "setuptools", "hatchling", "pytest"}


def test_the_result_has_the_native_code_and_the_user_of_the_image_can_load_it(image: Image) -> None:
    loaded = subprocess.run(
        image.command("python", "-c", "import hybridsync.native as native; print(native.QUICK.__file__)"),
        env=image.environment(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    assert Path(loaded.stdout.strip()).is_relative_to(image.folder / "opt" / "hybridsync")


def test_it_mirrors_is_healthy_and_stops_as_an_ordinary_user_who_can_write_nothing(image: Image, place: Place) -> None:
    before = image.files()
    place.create("", b"root")
    place.create("/a", b"1")
    settings = place.settings(HTTP_PORT=str(free_port()), ENV="production")
    variables = image.environment(**{"HYBRIDSYNC_HTTP_PORT": settings["HTTP_PORT"]})
    command = image.command(*RESULT.command("ENTRYPOINT"), *RESULT.command("CMD"))

    with Service(settings, environ=variables, cwd=Path(RESULT.last("WORKDIR")), command=command) as service:
        service.wait_ready()
        assert_unprivileged(service.pid)
        place.set("/a", b"2")
        wait_until_equal(place.zk, place.root, place.mirror)
        assert healthcheck(image, variables) == 0
        assert service.terminate() == 0
    wait_until(lambda: healthcheck(image, variables) != 0, "the health check fails without the service")
    assert image.files() == before


def healthcheck(image: Image, variables: dict[str, str]) -> int:
    """The exit code of the command of `HEALTHCHECK`, run as the engine would."""
    command = image.command(*RESULT.healthcheck)
    return subprocess.run(command, env=variables, cwd="/", capture_output=True, timeout=60, check=False).returncode


def assert_unprivileged(pid: int) -> None:
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert set(status["Uid"].split()) != {"0"}
    assert int(status["CapEff"], 16) == 0
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"Max file size\s+0\s+0\s", limits), limits


def test_a_mistake_in_the_configuration_is_one_line_and_exit_code_2(image: Image) -> None:
    refused = subprocess.run(
        image.command(*RESULT.command("ENTRYPOINT"), *RESULT.command("CMD")),
        env=image.environment(HYBRIDSYNC_RESOURCES_FILE="/nonexistent/resources.toml"),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "HYBRIDSYNC_RESOURCES_FILE" in refused.stderr
