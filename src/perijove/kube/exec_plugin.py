"""Credentials that a program prints: how kubeconfigs of cloud providers log in (`exec:` of a user)."""

import asyncio
import base64
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perijove.kube.kubeconfig import Chosen, Unusable


@dataclass(frozen=True, slots=True)
class Credential:
    token: str = ""
    certificate: bytes = b""
    key: bytes = b""


async def run(chosen: Chosen) -> Credential:
    """Raises `Unusable`."""
    plugin: Mapping[str, Any] = chosen.user.values["exec"]
    version, command = str(plugin.get("apiVersion") or ""), str(plugin.get("command") or "")
    if not version or not command:
        raise Unusable("its `exec` needs `apiVersion` and `command`")
    # As kubectl: a path with a slash is relative to the file, a bare name is looked up.
    program = str(chosen.user.directory / command) if os.sep in command else command
    environment = {str(item["name"]): str(item["value"]) for item in plugin.get("env") or ()}
    interactive = plugin.get("interactiveMode") != "Never" and sys.stdin is not None and sys.stdin.isatty()
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.get("provideClusterInfo"):
        spec["cluster"] = _cluster(chosen)
    asked = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *(str(one) for one in plugin.get("args") or ()),
            env={**os.environ, **environment, "KUBERNETES_EXEC_INFO": json.dumps(asked)},
            stdin=None if interactive else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            # The program's questions and errors are for whoever sits there.
            stderr=None if interactive else asyncio.subprocess.PIPE,
        )
    except OSError as exc:
        hint = f" ({plugin['installHint']})" if plugin.get("installHint") else ""
        raise Unusable(f"{command} cannot be run: {exc.strerror or exc}{hint}") from exc
    out, err = await process.communicate()
    if process.returncode:
        words = (err or b"").decode(errors="replace").strip()
        raise Unusable(f"{command} ended with code {process.returncode}{f': {words}' if words else ''}")
    return _credential(out, version, command)


def _cluster(chosen: Chosen) -> dict[str, Any]:
    values = chosen.cluster.values
    told: dict[str, Any] = {"server": values["server"]}
    for key in ("tls-server-name", "insecure-skip-tls-verify", "proxy-url"):
        if key in values:
            told[key] = values[key]
    if authority := chosen.cluster.content("certificate-authority"):
        told["certificate-authority-data"] = base64.b64encode(authority).decode()
    for extension in values.get("extensions") or ():
        if extension.get("name") == "client.authentication.k8s.io/exec":
            told["config"] = extension.get("extension")
    return told


def _credential(out: bytes, version: str, command: str) -> Credential:
    try:
        answer = json.loads(out)
        status = answer["status"]
        found = str(answer["apiVersion"])
        certificate, key = status.get("clientCertificateData") or "", status.get("clientKeyData") or ""
        credential = Credential(str(status.get("token") or ""), certificate.encode(), key.encode())
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise Unusable(f"{command} printed no ExecCredential") from exc
    if found != version:
        raise Unusable(f"{command} speaks {found}, and the file asks for {version}")
    if not credential.token and not credential.certificate:
        raise Unusable(f"{command} gave neither token nor certificate")
    return credential
