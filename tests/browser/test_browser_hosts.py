"""Users with hosts of their own: JupyterLab works, and its scripts reach neither the hub nor other users."""

import json

from perijove.testing.chromium import PATIENCE_MS, open_chromium, run_cell
from perijove.testing.hub import OPEN, run_hub

HERE = "--host-resolver-rules=MAP hub.test 127.0.0.1, MAP *.hub.test 127.0.0.1"
# What a script can learn of an address by asking for it with cookies.
ASK = """async ([url, options]) => {
  try {
    const response = await fetch(url, {credentials: "include", ...options});
    return [response.type, response.status];
  } catch (error) { return [error.name, 0]; }
}"""


async def test_a_users_page_reaches_its_own_server_and_nothing_else(tmp_path):
    """Log in at the hub's host, run a cell at the user's, and try what a hostile notebook would."""
    settings = tmp_path / "hosts.yaml"
    async with run_hub(OPEN, files=[settings], start=False) as hub, open_chromium(HERE) as chromium:
        at = f"hub.test:{hub.port}"
        settings.write_text(json.dumps({"hub": {"config": {"JupyterHub": {"subdomain_host": f"http://{at}"}}}}))
        await hub.start()
        page = await chromium.new_page()
        await page.goto(f"http://{at}/hub/user-redirect/lab")
        await page.get_by_label("Username").fill("ada")
        await page.get_by_label("Password", exact=True).fill("anything")
        await page.get_by_role("button", name="Log in").click()
        await page.wait_for_url(f"http://ada.{at}/user/ada/lab**", timeout=PATIENCE_MS)
        await run_cell(page)

        cookies = {cookie["name"]: cookie["domain"] for cookie in await page.context.cookies()}
        assert cookies["jupyterhub-hub-login"] == "hub.test"
        assert cookies["jupyterhub-session-id"] == ".hub.test"
        assert cookies["jupyterhub-user-ada"] == "ada.hub.test"
        assert "jupyterhub" not in await page.evaluate("document.cookie")
        for url in (f"http://{at}/hub/home", f"http://{at}/hub/api/user", f"http://eve.{at}/user/eve/api/contents"):
            assert await page.evaluate(ASK, [url, {}]) == ["TypeError", 0], url
        # Sent without asking: the hub refuses it for want of proof, whatever the script cannot read of that.
        token = {"method": "POST", "mode": "no-cors", "body": json.dumps({"note": "stolen"})}
        await page.evaluate(ASK, [f"http://{at}/hub/api/users/ada/tokens", token])
        _, tokens = await hub.api("GET", "/users/ada/tokens")
        assert "stolen" not in {token["note"] for token in tokens["api_tokens"]}

        # JupyterLab's menu knows the way back.
        config = json.loads(await page.locator("#jupyter-config-data").text_content() or "")
        assert (config["hubHost"], config["hubPrefix"]) == (f"http://{at}", "/hub/")
        await page.goto(f"http://ada.{at}/user/ada/logout")
        await page.wait_for_url(f"http://{at}/hub/login")
