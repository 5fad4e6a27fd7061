"""Credentials and addresses that change, or are not there yet: taken up without a restart, by what the files hold."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from hybridsync.errors import SourceDisconnected
from hybridsync.kube_target import Target
from hybridsync.model import Listing
from hybridsync.sources.kube_shape import Shape
from hybridsync.sources.kubernetes import KubernetesSource, kubernetes_source
from tests.eventually import eventually
from tests.fakes.kube_answers import Refusal
from tests.fakes.kube_api import DEPLOYMENTS, KubeApi, kube_api
from tests.fakes.kube_config import kubeconfig
from tests.kube_scene import Scene, running, synced
from tests.kube_tls import Authority

TARGET = Target("apps/v1", "deployments")


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with kube_api(DEPLOYMENTS) as server:
        server.put("deployments", "prod", "web", spec={})
        yield server


def source_of(kubeconfig: str | None, context: str | None = None) -> KubernetesSource:
    return kubernetes_source(TARGET, Shape(TARGET), kubeconfig, context, asyncio.Semaphore(4))


async def listed(source: KubernetesSource) -> list[str]:
    return [record.key async for batch in source.list(Listing()) for record in batch.records]


def port_of(api: KubeApi) -> int:
    port = urlsplit(api.url).port
    assert port is not None
    return port


def with_user(kubeconfig: str, **user: Any) -> str:
    """The kubeconfig with another user in it."""
    file = Path(kubeconfig)
    content = yaml.safe_load(file.read_text())
    content["users"][0]["user"] = {name.replace("_", "-"): value for name, value in user.items()}
    file.write_text(yaml.safe_dump(content))
    return kubeconfig


# -- replaced in place ----------------------------------------------------------------------------


async def test_a_ca_that_is_replaced_in_its_file_is_taken_up(tmp_path: Path) -> None:
    before, after = Authority(), Authority()
    ca = tmp_path / "ca.pem"
    with kube_api(DEPLOYMENTS, tls=before.server()) as first:
        file = first.kubeconfig(tmp_path, certificate_authority=before.write(ca))
        source = source_of(file)
        await source.connect()
        place = source.place
        assert await listed(source) == []
        port = port_of(first)
    with kube_api(DEPLOYMENTS, tls=after.server(), port=port) as second:
        second.put("deployments", "prod", "web")
        with pytest.raises(SourceDisconnected, match=r"TLS failed .*certificate of the server is not trusted"):
            await listed(source)
        assert "TLS failed" in (source.trouble or "")
        after.write(ca)
        assert await listed(source) == ["prod/web"]
        assert source.trouble is None
        await source.connect()
        assert source.place != place
        await source.close()


@pytest.mark.parametrize("form", ["files", "data"])
async def test_a_client_certificate_that_is_replaced_is_taken_up(tmp_path: Path, form: str) -> None:
    server, before, after = Authority(), Authority(), Authority()
    certificate, key, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    server.write(ca)

    def written(authority: Authority, file: str) -> str:
        user = authority.write_client(certificate, key)
        if form == "data":
            user = {f"{name}-data": base64.b64encode(Path(one).read_bytes()).decode() for name, one in user.items()}
        return with_user(file, **user)

    with kube_api(DEPLOYMENTS, tls=server.server(before)) as first:
        file = written(before, first.kubeconfig(tmp_path, certificate_authority=str(ca)))
        source = source_of(file)
        assert await listed(source) == []
        port = port_of(first)
    with kube_api(DEPLOYMENTS, tls=server.server(after), port=port) as second:
        second.put("deployments", "prod", "web")
        with pytest.raises(SourceDisconnected):
            await listed(source)
        written(after, file)
        assert await listed(source) == ["prod/web"]
        await source.close()


async def test_a_server_that_moved_is_found_again(api: KubeApi, tmp_path: Path) -> None:
    async with synced(Scene(api, api.kubeconfig(tmp_path))) as it:
        with kube_api(DEPLOYMENTS) as moved:
            moved.do(lambda: moved.store.restore(api.store))
            moved.put("deployments", "prod", "new")
            api.stop()
            await it.until(lambda: "connection refused" in (it.source.trouble or ""), "it is told")
            moved.kubeconfig(tmp_path)
            it.api = moved
            await it.level()
            assert it.source.trouble is None


async def test_a_token_file_is_read_again_after_a_401(api: KubeApi, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    api.token = "first"
    source = source_of(with_user(api.kubeconfig(tmp_path), tokenFile=str(token)))
    assert await listed(source) == ["prod/web"]
    api.token = "second"
    token.write_text("second\n")
    assert await listed(source) == ["prod/web"]
    await source.close()


async def test_other_credentials_are_tried_after_a_403_and_the_same_are_not(api: KubeApi, tmp_path: Path) -> None:
    source = source_of(api.kubeconfig(tmp_path, "first"))
    assert await listed(source) == ["prod/web"]
    api.do(api.asked.clear)
    api.refused["list", "deployments"] = Refusal(403, "Forbidden", 1)
    with pytest.raises(Exception, match="403 Forbidden"):
        await listed(source)
    assert [one.token for one in api.asked] == ["first"]
    api.kubeconfig(tmp_path, "second")
    api.refused["list", "deployments"] = Refusal(403, "Forbidden", 1)
    assert await listed(source) == ["prod/web"]
    assert [one.token for one in api.asked] == ["first", "first", "second"]
    await source.close()


async def test_a_plugin_is_run_again_after_a_401_and_named_when_it_fails(api: KubeApi, tmp_path: Path) -> None:
    version = "client.authentication.k8s.io/v1"
    answer = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": "TOKEN"}}
    script = tmp_path / "get-token"
    script.write_text(f"#!/bin/sh\nsed s/TOKEN/$(cat {tmp_path}/current)/ <<END\n{json.dumps(answer)}\nEND\n")
    script.chmod(0o700)
    (tmp_path / "current").write_text("first")
    api.token = "first"
    file = with_user(api.kubeconfig(tmp_path), exec={"command": "./get-token", "apiVersion": version})
    source = source_of(file)
    assert await listed(source) == ["prod/web"]
    api.token = "second"
    (tmp_path / "current").write_text("second")
    assert await listed(source) == ["prod/web"]
    api.token = "third"
    script.write_text("#!/bin/sh\necho very-secret >&2\nexit 4\n")
    with pytest.raises(SourceDisconnected, match=r"get-token' failed with exit code 4") as caught:
        await listed(source)
    assert "secret" not in str(caught.value)
    await source.close()


async def test_the_account_of_the_pod_is_read_again(
    api: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = Authority(), Authority()
    token, ca = tmp_path / "token", tmp_path / "ca.crt"
    monkeypatch.setattr("kubernetes_asyncio.config.incluster_config.SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr("kubernetes_asyncio.config.incluster_config.SERVICE_CERT_FILENAME", str(ca))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    with kube_api(DEPLOYMENTS, tls=before.server()) as first:
        port = port_of(first)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
        source = source_of(None)
        with pytest.raises(SourceDisconnected, match=r"the service account of the pod: .*token"):
            await source.connect()
        token.write_text("one")
        before.write(ca)
        first.token = "one"
        assert await listed(source) == []
    with pytest.raises(SourceDisconnected, match="the address is from KUBERNETES_SERVICE_HOST in the pod"):
        await listed(source)
    with kube_api(DEPLOYMENTS, tls=after.server(), port=port) as second:
        second.token = "two"
        token.write_text("two")
        after.write(ca)
        assert await listed(source) == []
        await source.close()


# -- not there yet --------------------------------------------------------------------------------


async def test_a_kubeconfig_that_is_missing_is_named_and_taken_up_when_it_appears(api: KubeApi, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig.yaml"
    missing = Scene(api, str(file), informer_max_reconnects=10_000)
    other = tmp_path / "other"
    other.mkdir()
    async with running(missing), running(Scene(api, api.kubeconfig(other))) as it:
        await it.level()
        await missing.until(lambda: f"kubeconfig {file}: there is no such file" in (missing.resource.trouble or ""))
        assert f"kubeconfig {file}" in (missing.source.trouble or "")
        file.write_text("[not yet")
        await missing.until(lambda: "it is no kubeconfig" in (missing.resource.trouble or ""))
        api.kubeconfig(tmp_path)
        await missing.level()


# -- words and proxies ----------------------------------------------------------------------------


async def test_while_connections_are_refused_the_address_and_its_origin_are_told(api: KubeApi, tmp_path: Path) -> None:
    file = api.kubeconfig(tmp_path)
    async with synced(Scene(api, file)) as it:
        assert it.source.trouble is None
        api.stop()
        await it.until(lambda: it.source.trouble, "it is told")
        trouble = it.source.trouble or ""
        assert api.url in trouble
        assert "connection refused" in trouble or "connection reset" in trouble or "Disconnected" in trouble
        assert f"the address is from kubeconfig {file}, context fake" in trouble
        with kube_api(DEPLOYMENTS, port=port_of(api)) as again:
            again.do(lambda: again.store.restore(api.store))
            it.api = again
            await it.level()
            assert it.source.trouble is None


async def test_a_server_that_stays_busy_is_told(api: KubeApi, tmp_path: Path) -> None:
    source = source_of(api.kubeconfig(tmp_path))
    api.refused["list", "deployments"] = Refusal(429, "TooManyRequests", 3, {"Retry-After": "1"})
    listing = asyncio.create_task(listed(source))
    await eventually(lambda: source.trouble, what="it is told")
    assert "it is busy (429 TooManyRequests" in (source.trouble or "")
    assert await listing == ["prod/web"]
    assert source.trouble is None
    await source.close()


async def test_a_proxy_is_used_unless_no_proxy_excludes_the_server(
    api: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = kubeconfig(tmp_path, "http://api.example.invalid:8080")
    monkeypatch.setenv("HTTP_PROXY", api.url)
    source = source_of(file)
    assert await listed(source) == ["prod/web"]
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,.example.invalid:8080")
    with pytest.raises(SourceDisconnected, match=r"api\.example\.invalid:8080"):
        await listed(source)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    (tmp_path / "direct").mkdir()
    direct = source_of(api.kubeconfig(tmp_path / "direct"))
    assert await listed(direct) == ["prod/web"]  # what is local is never proxied
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(SourceDisconnected, match="the proxy: connection refused"):
        await listed(source)
    await source.close()
    await direct.close()
