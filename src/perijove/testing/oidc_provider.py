"""A real OpenID Connect provider for tests: npm's `oidc-provider`, certified by the OpenID Foundation.

It is installed once into a cache directory and run by node. Its development login page takes any password;
`log_in` does there what a person would do.
"""

import asyncio
import contextlib
import os
import re
import shutil
import socket
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from yarl import URL

VERSION = "9.13.3"
CLIENT_ID = "hub"
CLIENT_SECRET = "hub-secret-of-the-tests"  # noqa: S105 - of a provider that exists for one test
_SCRIPT = Path(__file__).with_name("oidc_provider.mjs")
_REDIRECTS = (302, 303)


class ProviderMissing(Exception):
    """node, npm or the npm registry is not at hand: skip the test."""


async def install() -> Path:
    """The directory with `node_modules`."""
    if not shutil.which("node") or not shutil.which("npm"):
        raise ProviderMissing("node and npm are not installed")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = base / "perijove-tests" / f"oidc-provider-{VERSION}"
    if (cache / "complete").exists():
        return cache
    cache.mkdir(parents=True, exist_ok=True)
    command = ("npm", "install", "--no-fund", "--no-audit", f"oidc-provider@{VERSION}")
    process = await asyncio.create_subprocess_exec(*command, cwd=cache, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 120)
    except TimeoutError as exc:
        process.kill()
        await process.wait()
        raise ProviderMissing("npm did not install oidc-provider within two minutes") from exc
    if process.returncode:
        raise ProviderMissing(f"npm cannot install oidc-provider: {output.decode(errors='replace').strip()[-300:]}")
    (cache / "complete").touch()
    return cache


@contextlib.asynccontextmanager
async def oidc_provider(redirect_uri: str) -> AsyncIterator[str]:
    """The issuer's URL, while it runs."""
    cache = await install()
    # node resolves packages from the directory of the script.
    script = cache / f"provider-{os.getpid()}.mjs"
    shutil.copyfile(_SCRIPT, script)
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        "node", str(script), str(port), redirect_uri, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT
    )
    assert process.stdout is not None
    said: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(30):
            async for line in process.stdout:
                if b"listening" in line:
                    break
        # Whatever it says later must not fill the pipe.
        said = asyncio.create_task(process.stdout.read())
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if said is not None:
            await said
        script.unlink()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


async def log_in(browser: aiohttp.ClientSession, url: str, account: str) -> aiohttp.ClientResponse:
    """What a person does from `url` on: follow redirects, log in as `account`, consent. Returns the first
    response that is neither a redirect nor a page of the provider."""
    response = await browser.get(url, allow_redirects=False)
    while True:
        if response.status in _REDIRECTS:
            target = response.url.join(URL(response.headers["Location"], encoded=True))
            response = await browser.get(target, allow_redirects=False)
            continue
        page = await response.text()
        form = re.search(r'<form[^>]*action="([^"]+/interaction/[^"]+)"', page)
        if form is None:
            return response
        prompt = re.search(r'name="prompt" value="(\w+)"', page)
        assert prompt is not None, page
        fields = {"prompt": prompt.group(1)}
        if prompt.group(1) == "login":
            fields |= {"login": account, "password": "any"}
        response = await browser.post(form.group(1), data=fields, allow_redirects=False)
