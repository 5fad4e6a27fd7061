"""Credentials from an exec plugin of a kubeconfig.

Nothing of its output is ever told: it may hold secrets. The command is named, and how it failed.
Source: Kubernetes, "Authenticating", "client-go credential plugins".
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from hybridsync.errors import SourceDisconnected

RUN_SECONDS = 25.0
_CLUSTER = (
    "server",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "certificate-authority-data",
    "proxy-url",
    "disable-compression",
)


async def credential(plugin: Mapping[str, Any], cluster: Mapping[str, Any]) -> dict[str, str]:
    """Runs it; returns what it gave, as a kubeconfig would say it of a user. Raises `SourceDisconnected`."""
    command, version = str(plugin.get("command") or ""), str(plugin.get("apiVersion") or "")
    told = f"the exec plugin {command!r}"
    if not command or not version:
        raise SourceDisconnected(f"{told} of the kubeconfig has no command or no apiVersion")
    info: dict[str, Any] = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    if plugin.get("provideClusterInfo"):
        info["spec"]["cluster"] = {name: cluster[name] for name in _CLUSTER if name in cluster}
    extra = {str(one["name"]): str(one["value"]) for one in plugin.get("env") or ()}
    environment = os.environ | extra | {"KUBERNETES_EXEC_INFO": json.dumps(info)}
    output = await _output(told, [command, *map(str, plugin.get("args") or ())], environment)
    try:
        answer = json.loads(output)
        status, answered = answer["status"], answer["apiVersion"]
        token, cert, key = (status.get(name) for name in ("token", "clientCertificateData", "clientKeyData"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SourceDisconnected(f"{told} printed no ExecCredential") from None
    if answered != version:
        raise SourceDisconnected(f"{told} speaks another apiVersion than {version}")
    given: dict[str, str] = {"token": token} if token else {}
    if cert and key:
        given["client-certificate-data"] = base64.b64encode(str(cert).encode()).decode()
        given["client-key-data"] = base64.b64encode(str(key).encode()).decode()
    if not given:
        raise SourceDisconnected(f"{told} gave neither a token nor a certificate with its key")
    return given


async def _output(told: str, command: list[str], environment: Mapping[str, str]) -> bytes:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        why = "is not installed" if isinstance(error, FileNotFoundError) else f"cannot run ({type(error).__name__})"
        raise SourceDisconnected(f"{told} {why}") from None
    try:
        async with asyncio.timeout(RUN_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        raise SourceDisconnected(f"{told} did not end within {RUN_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with its children
            await process.wait()
    if process.returncode:
        how = f"exit code {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        raise SourceDisconnected(f"{told} failed with {how}; run it by hand to see what it says")
    return output
