"""Kubeconfig files: which are used, how they are merged, and how each mistake is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from hybridsync.errors import SourceDisconnected
from hybridsync.kubernetes import credentials
from hybridsync.kubernetes.kubeconfig import chosen, merged, where
from tests.eventually import eventually


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Outside of any cluster, with a home of its own."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def config(file: Path, server: str = "", **content: Any) -> Path:
    """A kubeconfig with a cluster `it`, a user `me` and a context `main`, as far as not given otherwise."""
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = {
        "clusters": [{"name": "it", "cluster": {"server": server}}] if server else [],
        "users": [{"name": "me", "user": {"token": f"token of {file.name}"}}],
        "contexts": [{"name": "main", "context": {"cluster": "it", "user": "me"}}],
        **content,
    }
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")
    return file


def several(monkeypatch: pytest.MonkeyPatch, *files: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, files)))


async def server_of(context: str | None = None) -> str:
    return (await credentials.load(None, context)).server


async def test_of_several_files_the_first_that_says_something_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = config(tmp_path / "a", "http://a.example.org", contexts=[])
    second = config(tmp_path / "b", "http://b.example.org", **{"current-context": "main"})
    third = config(tmp_path / "c", "http://c.example.org", **{"current-context": "other"})
    several(monkeypatch, first, tmp_path / "missing", second, first, third)
    access = await credentials.load(None, None)
    assert access.server == "http://a.example.org"
    assert access.configuration.api_key["BearerToken"] == "Bearer token of a"
    assert "context main" in access.origin


async def test_a_context_of_one_file_may_name_what_another_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    several(
        monkeypatch,
        config(tmp_path / "a", contexts=[], users=[]),
        config(tmp_path / "b", "http://b.example.org", contexts=[]),
        config(tmp_path / "c", users=[]),
    )
    assert await server_of("main") == "http://b.example.org"


def test_relative_paths_are_relative_to_their_own_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cluster = {"server": "https://a.example.org", "certificate-authority": "ca.pem"}
    first = config(tmp_path / "one" / "a", clusters=[{"name": "it", "cluster": cluster}], users=[])
    user = {"tokenFile": "../token", "exec": {"command": "./bin/plugin"}, "client-key": "/absolute/key"}
    second = config(tmp_path / "two" / "b", users=[{"name": "me", "user": user}])
    several(monkeypatch, first, second)
    place = where(None)
    assert place is not None
    found = chosen(place, merged(place), "main")
    assert found.cluster["certificate-authority"] == f"{tmp_path}/one/ca.pem"
    assert Path(found.user["tokenFile"]) == tmp_path / "two" / ".." / "token"
    assert Path(found.user["exec"]["command"]) == tmp_path / "two" / "bin" / "plugin"
    assert found.user["client-key"] == "/absolute/key"


async def test_a_context_without_a_user_needs_none(tmp_path: Path) -> None:
    contexts = [{"name": "main", "context": {"cluster": "it"}}]
    file = config(tmp_path / "a", "https://a.example.org", contexts=contexts)
    assert (await credentials.load(str(file), "main")).server == "https://a.example.org"


async def test_the_default_file_is_found_without_any_setting(tmp_path: Path) -> None:
    config(tmp_path / ".kube" / "config", "http://home.example.org")
    assert await server_of("main") == "http://home.example.org"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[not a kubeconfig", "it is no kubeconfig: no YAML"),
        ("clusters: 7", "it is no kubeconfig"),
        ("- a", "it is no kubeconfig"),
        ("", "it has no current-context, and no context is configured; it has: none"),
        ("current-context: x", "it has no context 'x'; it has: none"),
        (
            "contexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x",
            "the cluster of context 'x' has no server",
        ),
        ("clusters: [{cluster: {server: s}}]", "an entry of clusters has no name"),
        ("contexts: [{name: x, context: 7}]", "context 'x' is no table"),
    ],
)
async def test_each_mistake_is_one_line_that_names_the_file(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "config"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SourceDisconnected) as caught:
        await credentials.load(str(file), None)
    assert f"kubeconfig {file}" in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_file_that_is_not_there_is_named_and_so_is_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SourceDisconnected, match=r"kubeconfig nowhere.yaml: there is no such file"):
        await credentials.load("nowhere.yaml", None)
    several(monkeypatch, tmp_path / "a", tmp_path / "b")
    with pytest.raises(SourceDisconnected, match=r"a:.*b \(from KUBECONFIG\): there is no such file"):
        await credentials.load(None, None)


def plugin(directory: Path, script: str, name: str = "plugin", **more: Any) -> str:
    """A kubeconfig whose user has an exec plugin that is this shell script."""
    file = directory / name
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o700)
    said = {"command": f"./{name}", "apiVersion": "client.authentication.k8s.io/v1", **more}
    return str(config(directory / "config", "https://a.example.org", users=[{"name": "me", "user": {"exec": said}}]))


CREDENTIAL = '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "abc"}}'


async def test_a_plugin_gives_a_token(tmp_path: Path) -> None:
    script = f"""[ "$1 $TEAM" = "login red" ] || exit 9; echo '{CREDENTIAL}'"""
    file = plugin(tmp_path, script, args=["login"], env=[{"name": "TEAM", "value": "red"}])
    access = await credentials.load(file, "main")
    assert access.configuration.api_key["BearerToken"] == "Bearer abc"
    assert access.plugin


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo secret-1; echo secret-2 >&2; exit 3", "failed with exit code 3"),
        ("kill -9 $$", "failed with signal 9"),
        ("echo secret-1", "printed no ExecCredential"),
        ('echo \'{"status": {}, "apiVersion": "client.authentication.k8s.io/v1"}\'', "neither a token nor"),
        (f"echo '{CREDENTIAL}' | sed s/v1/v9/", "speaks another apiVersion"),
    ],
)
async def test_how_a_plugin_fails_is_told_without_its_output(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(SourceDisconnected) as caught:
        await credentials.load(plugin(tmp_path, script), "main")
    assert words in str(caught.value)
    assert "the exec plugin" in str(caught.value)
    assert "plugin'" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_plugin_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceDisconnected, match="exec plugin 'no-such-plugin' is not installed"):
        await credentials.load(plugin(tmp_path, "", command="no-such-plugin"), "main")


async def test_a_plugin_that_does_not_end_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybridsync.kubernetes.exec_plugin.RUN_SECONDS", 0.5)
    file = plugin(tmp_path, f"sleep 1000 & echo $! >{tmp_path}/child; wait")
    with pytest.raises(SourceDisconnected, match="did not end within"):
        await credentials.load(file, "main")
    child = int((tmp_path / "child").read_text())
    await eventually(lambda: not lives(child), what="its child is ended")


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
