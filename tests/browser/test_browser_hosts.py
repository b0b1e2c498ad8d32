"""Users with hosts of their own: JupyterLab works, and its scripts reach neither the hub nor other users.

With https, as it is meant to be, and cookies that only their own host may set.
"""

import asyncio
import json
import ssl
from contextlib import asynccontextmanager, suppress

from perijove.testing.chromium import PATIENCE_MS, open_chromium, run_cell
from perijove.testing.hub import OPEN, run_hub
from perijove.testing.tls import Authority

HERE = "--host-resolver-rules=MAP hub.test 127.0.0.1, MAP *.hub.test 127.0.0.1"
# What a script can learn of an address by asking for it with cookies.
ASK = """async ([url, options]) => {
  try {
    const response = await fetch(url, {credentials: "include", ...options});
    return [response.type, response.status];
  } catch (error) { return [error.name, 0]; }
}"""


@asynccontextmanager
async def tls_before(port, place):
    """Something that ends TLS and tells nobody, as balancers of connections do; its port."""

    async def pour(reader, writer):
        with suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader, writer):
        inner = await asyncio.open_connection("127.0.0.1", port())
        await asyncio.gather(pour(reader, inner[1]), pour(inner[0], writer))

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*Authority(place).issue("hub.test", "hub.test", "*.hub.test"))
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_a_users_page_reaches_its_own_server_and_nothing_else(tmp_path):
    """Log in at the hub's host, run a cell at the user's, and try what a hostile notebook would."""
    settings = tmp_path / "hosts.yaml"
    async with (
        run_hub(OPEN, files=[settings], start=False) as hub,
        tls_before(lambda: hub.port, tmp_path) as port,
        open_chromium(HERE) as chromium,
    ):
        at = f"hub.test:{port}"
        application = {"subdomain_host": f"https://{at}", "cookie_host_prefix_enabled": True}
        settings.write_text(json.dumps({"hub": {"config": {"JupyterHub": application}}}))
        await hub.start()
        page = await chromium.new_page(ignore_https_errors=True)
        await page.goto(f"https://{at}/hub/user-redirect/lab")
        await page.get_by_label("Username").fill("ada")
        await page.get_by_label("Password", exact=True).fill("anything")
        await page.get_by_role("button", name="Log in").click()
        await page.wait_for_url(f"https://ada.{at}/user/ada/lab**", timeout=PATIENCE_MS)
        await run_cell(page)

        cookies = {cookie["name"]: cookie["domain"] for cookie in await page.context.cookies()}
        assert cookies["__Host-jupyterhub-hub-login"] == "hub.test"
        assert cookies["jupyterhub-session-id"] == ".hub.test"
        assert cookies["__Host-jupyterhub-user-ada"] == "ada.hub.test"
        assert "jupyterhub" not in await page.evaluate("document.cookie")
        for url in (f"https://{at}/hub/home", f"https://{at}/hub/api/user", f"https://eve.{at}/user/eve/api/contents"):
            assert await page.evaluate(ASK, [url, {}]) == ["TypeError", 0], url
        # Sent without asking: the hub refuses it for want of proof, whatever the script cannot read of that.
        token = {"method": "POST", "mode": "no-cors", "body": json.dumps({"note": "stolen"})}
        await page.evaluate(ASK, [f"https://{at}/hub/api/users/ada/tokens", token])
        _, tokens = await hub.api("GET", "/users/ada/tokens")
        assert "stolen" not in {token["note"] for token in tokens["api_tokens"]}

        # JupyterLab's menu knows the way back.
        config = json.loads(await page.locator("#jupyter-config-data").text_content() or "")
        assert (config["hubHost"], config["hubPrefix"]) == (f"https://{at}", "/hub/")
        await page.goto(f"https://ada.{at}/user/ada/logout")
        await page.wait_for_url(f"https://{at}/hub/login")
