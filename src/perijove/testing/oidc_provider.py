"""A real OpenID Connect provider for tests: npm's `oidc-provider`, certified by the OpenID Foundation.

It is installed once into a cache directory and run by node. Its development login page takes any password;
`log_in` does there what a person would do.
"""

import asyncio
import contextlib
import os
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from yarl import URL

from perijove.cli.listening import free_port
from perijove.testing.npm import installed

VERSION = "9.13.3"
CLIENT_ID = "hub"
CLIENT_SECRET = "hub-secret-of-the-tests"  # noqa: S105 - of a provider that exists for one test
_SCRIPT = Path(__file__).with_name("oidc_provider.mjs")
_REDIRECTS = (302, 303)


@contextlib.asynccontextmanager
async def oidc_provider(redirect_uri: str) -> AsyncIterator[str]:
    """The issuer's URL, while it runs. Raises `NPMMissing`."""
    cache = await installed("oidc-provider", VERSION)
    # node resolves packages from the directory of the script.
    script = cache / f"provider-{os.getpid()}.mjs"
    shutil.copyfile(_SCRIPT, script)
    port = free_port()
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
