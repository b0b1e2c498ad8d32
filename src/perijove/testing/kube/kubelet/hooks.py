"""Lifecycle hooks: a command in the container, or a request to it."""

import asyncio
from dataclasses import dataclass

import aiohttp

from perijove.testing.kube.kubelet.sandbox import Running
from perijove.testing.kube.objects.resources import Object


class HookFailed(Exception):
    """The command's exit code or the answer was not good."""


@dataclass(frozen=True)
class Target:
    """Where a container is asked: its pod's address and its ports by name."""

    address: str
    ports: dict[str, int]

    def port(self, given: int | str) -> int:
        return int(given) if str(given).isdigit() else self.ports[str(given)]

    def url(self, get: Object) -> str:
        scheme = get.get("scheme", "HTTP").lower()
        path = get.get("path") or "/"
        host = get.get("host") or self.address
        return f"{scheme}://{host}:{self.port(get['port'])}{path if path.startswith('/') else '/' + path}"


async def run_hook(hook: Object, sandbox: Running, target: Target) -> None:
    """Raises `HookFailed`."""
    if (command := (hook.get("exec") or {}).get("command")) is not None:
        await run_command(sandbox, command)
    elif (get := hook.get("httpGet")) is not None:
        await get_url(target.url(get), get)
    elif (pause := hook.get("sleep")) is not None:
        await asyncio.sleep(pause["seconds"])


async def run_command(sandbox: Running, command: list[str]) -> None:
    """Raises `HookFailed`."""
    process = await sandbox.run(command)
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        if process.returncode is None:
            process.kill()
        raise
    if process.returncode != 0:
        said = output.decode(errors="replace").strip()
        raise HookFailed(f"command '{' '.join(command)}' exited with {process.returncode}: {said}")


async def get_url(url: str, get: Object) -> None:
    """Raises `HookFailed`."""
    headers = {entry["name"]: entry["value"] for entry in get.get("httpHeaders") or ()}
    headers.setdefault("User-Agent", "kube-probe/1.34")
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            if not 200 <= response.status < 400:  # noqa: PLR2004 - what probes take for good
                raise HookFailed(f"HTTP probe failed with statuscode: {response.status}")
    except (aiohttp.ClientError, OSError) as error:
        raise HookFailed(f'Get "{url}": {error}') from error
