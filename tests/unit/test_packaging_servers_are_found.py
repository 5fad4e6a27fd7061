"""Which programs the private servers are started from, and what is said when there is none."""

from __future__ import annotations

import importlib.metadata
import stat
from pathlib import Path

import pytest

from hybridsync.embedded import find_mongod, find_zookeeper, sample_tree, zookeeper
from hybridsync.embedded.zookeeper import ZooKeeperServer
from hybridsync.errors import ConfigurationError


class FakeDistribution:
    """An installed package whose files are below `home`."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def locate_file(self, path: str) -> Path:
        return self._home / path


@pytest.fixture
def nothing_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.delenv("JAVA_HOME", raising=False)


def packaged(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    binary = home / "fiftyone" / "db" / "bin" / "mongod"
    binary.parent.mkdir(parents=True)
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o644)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: FakeDistribution(home))
    return binary


def test_a_mongod_on_path_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packaged(tmp_path / "package", monkeypatch)
    on_path = tmp_path / "mongod"
    on_path.write_text("#!/bin/sh\n")
    on_path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_mongod() == on_path


@pytest.mark.usefixtures("nothing_on_path")
def test_the_packaged_mongod_gets_its_run_bit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    binary = packaged(tmp_path, monkeypatch)
    assert find_mongod() == binary
    assert binary.stat().st_mode & stat.S_IXUSR


@pytest.mark.usefixtures("nothing_on_path")
def test_a_packaged_mongod_that_may_not_be_changed_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    binary = packaged(tmp_path, monkeypatch)

    def refuse(self: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(ConfigurationError, match="its run bit cannot be set: Operation not permitted") as error:
        find_mongod()
    assert str(binary) in error.value.problems[0]
    assert len(error.value.problems) == 1


@pytest.mark.usefixtures("nothing_on_path")
def test_no_mongod_anywhere_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(ConfigurationError, match=r"^no MongoDB server here: .*hybridsync\[embedded\].*$"):
        find_mongod()


def test_no_zookeeper_is_one_line_that_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(zookeeper, "_DEBIAN_JARS", tmp_path)
    monkeypatch.delenv("ZOOKEEPER_HOME", raising=False)
    with pytest.raises(ConfigurationError, match=r"^no ZooKeeper server here: install the Debian package zookeeper"):
        find_zookeeper()


def test_zookeeper_home_goes_before_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZOOKEEPER_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"ZOOKEEPER_HOME=.*no lib/zookeeper-\*\.jar"):
        find_zookeeper()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "zookeeper-3.9.3.jar").touch()
    assert find_zookeeper() == f"{tmp_path}/lib/*"


@pytest.mark.usefixtures("nothing_on_path")
def test_no_java_is_one_line_and_starts_nothing(tmp_path: Path) -> None:
    server = ZooKeeperServer(tmp_path / "zookeeper")
    with pytest.raises(ConfigurationError, match="no java on PATH"):
        server.start()
    assert not server.running


def test_the_sample_tree_is_whole_and_of_every_kind() -> None:
    tree = sample_tree()
    seen = {"/"}
    for path, data in tree:
        assert (path.rpartition("/")[0] or "/") in seen, f"{path} comes before its parent"
        assert len(data) < 1_000_000
        seen.add(path)
    assert len(seen) == len(tree) + 1
    assert 800 <= len(tree) <= 1_200
    values = [data for _, data in tree]
    assert b"" in values
    assert any(data.startswith(b"{") for data in values)
    assert any(not is_text(data) for data in values)
    assert tree == sample_tree()


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
