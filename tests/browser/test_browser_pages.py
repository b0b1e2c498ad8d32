"""What pages do in a real browser beside the main story: failures, cancel, tabs, ended sessions, no scripts."""

import re

import pytest
from playwright.async_api import expect

from perijove.testing import run_hub, until

FAILING = ["sh", "-c", "echo 'cannot find the data disk' >&2; exit 3"]
SLEEPING = ["sleep", "600"]


async def test_a_failed_start_shows_its_reason_and_can_be_tried_again(page, configure, enter):
    """Within seconds the page has the exit code and what the server wrote."""
    async with run_hub(configure(cmd=FAILING)) as hub:
        await enter(page, hub.url)
        await page.get_by_role("button", name="Start").click()
        await expect(page.get_by_role("heading", name="Your server did not start")).to_be_visible(timeout=15_000)
        await expect(page.get_by_text("exit code 3").first).to_be_visible()
        await expect(page.locator("pre")).to_contain_text("cannot find the data disk")
        await page.get_by_role("link", name="Try again").click()
        await expect(page.get_by_role("heading", name="Your server did not start")).to_be_visible(timeout=15_000)
        await page.get_by_role("main").get_by_role("link", name="Home").click()
        await expect(page.get_by_role("alert")).to_contain_text("exit code 3")
        assert not hub.user_processes()


async def test_a_start_can_be_cancelled(page, configure, enter):
    """Cancel ends the process and leads home; nothing is left behind."""
    async with run_hub(configure(cmd=SLEEPING)) as hub:
        await enter(page, hub.url)
        await page.get_by_role("button", name="Start").click()
        await until(hub.user_processes)
        await page.get_by_role("button", name="Cancel").click()
        await page.wait_for_url("**/hub/home")
        await expect(page.get_by_role("heading", name="Default server")).to_contain_text("Stopped", timeout=30_000)
        await until(lambda: not hub.user_processes())
        await expect(page.get_by_role("button", name="Start")).to_be_visible()


async def test_two_tabs_can_log_in_one_after_the_other(context, small, enter):
    """The form of the second tab was made before the first one logged in; that is no error."""
    async with run_hub(small) as hub:
        first, second = await context.new_page(), await context.new_page()
        await first.goto(f"{hub.url}hub/login")
        await second.goto(f"{hub.url}hub/login?next=/hub/token")
        for tab, end in ((first, "/hub/home"), (second, "/hub/token")):
            await tab.get_by_label("Username").fill("ada")
            await tab.get_by_label("Password", exact=True).fill("anything")
            await tab.get_by_role("button", name="Log in").click()
            await expect(tab).to_have_url(re.compile(re.escape(end) + "$"))
        await first.reload()
        await expect(first.get_by_role("heading", name="Default server")).to_be_visible()


async def test_a_session_that_ended_leads_through_the_login_back_to_where_one_was(chromium, page, small, enter):
    """Logged out everywhere from another browser: the next click asks for the password, then goes on."""
    async with run_hub(small) as hub:
        await enter(page, hub.url)
        other = await (await chromium.new_context()).new_page()
        await enter(other, hub.url)
        await other.goto(f"{hub.url}hub/sessions")
        other.on("dialog", lambda dialog: dialog.accept())
        await other.get_by_role("button", name="Log out everywhere").click()
        await other.wait_for_url("**/hub/login")
        await page.get_by_role("link", name="Tokens").click()
        await page.wait_for_url("**/hub/login?next=**")
        await page.get_by_label("Username").fill("ada")
        await page.get_by_label("Password", exact=True).fill("anything")
        await page.get_by_role("button", name="Log in").click()
        await expect(page).to_have_url(re.compile("/hub/token$"))
        await other.context.close()


async def test_a_stopped_servers_tab_offers_to_start_it_and_comes_back(page, small, enter):
    async with run_hub(small) as hub:
        await enter(page, hub.url)
        await page.goto(f"{hub.url}user/ada/some/page?x=1")
        await expect(page.get_by_role("heading", name="Your server is not running")).to_be_visible()
        await page.get_by_role("button", name="Start server").click()
        await page.wait_for_url("**/user/ada/some/page?x=1")
        await expect(page.get_by_text("hello")).to_be_visible()


async def test_everything_works_without_scripts(chromium, small, enter):
    """Forms, redirects and a page that refreshes itself are enough."""
    async with run_hub(small) as hub:
        context = await chromium.new_context(java_script_enabled=False)
        page = await context.new_page()
        await enter(page, hub.url)
        await page.get_by_role("button", name="Start").click()
        await page.wait_for_url("**/user/ada/", timeout=20_000)
        await expect(page.get_by_text("hello")).to_be_visible()
        await page.goto(f"{hub.url}hub/home")
        await page.get_by_role("button", name="Stop").click()
        await until(lambda: not hub.user_processes())

        async def stopped():
            await page.goto(f"{hub.url}hub/home")
            return "Stopped" in await page.get_by_role("heading", name="Default server").inner_text()

        await until(stopped, seconds=20)
        await page.get_by_role("textbox", name="Name").fill("Thesis data")
        await page.get_by_role("button", name="Add server").click()
        await page.wait_for_url("**/user/ada/thesis-data/", timeout=20_000)
        await context.close()


async def test_the_admin_page_searches_while_one_types_and_acts_on_the_selection(page, small, enter):
    async with run_hub(small) as hub:
        for name in ("grace", "linus", "ada"):
            await hub.api("POST", f"/users/{name}")
        await enter(page, hub.url, "admin")
        await page.get_by_role("link", name="Admin").click()
        await expect(page.get_by_role("heading", name="4 users")).to_be_visible()
        await page.get_by_label("User name contains").press_sequentially("a")
        await expect(page.get_by_role("heading", name="3 users")).to_be_visible()
        await expect(page).to_have_url(re.compile(r"name_filter=a"))
        await page.get_by_role("link", name="User", exact=True).click()
        await expect(page.locator("#results tbody tr").first).to_contain_text("grace")
        await expect(page.get_by_role("button", name="Start selected")).to_be_disabled()
        await page.get_by_label("Select grace").check()
        await expect(page.get_by_text("1 selected")).to_be_visible()
        await page.get_by_role("button", name="Start selected").click()
        await expect(page.get_by_role("link", name="Access server")).to_be_visible(timeout=20_000)
        await page.go_back()
        await expect(page.get_by_role("heading", name="Users and servers")).to_be_visible()


async def test_a_new_token_can_be_copied_and_used(page, small, enter):
    async with run_hub(small) as hub:
        await enter(page, hub.url)
        await page.get_by_role("link", name="Tokens").click()
        await page.get_by_label("Note").fill("from a test")
        await page.get_by_label("Only what I choose").check()
        await page.get_by_label("Read users read:users!user", exact=True).check()
        await page.get_by_role("button", name="Request token").click()
        token = await page.locator("#new-token").input_value()
        status, user = await hub.api("GET", "/user", token=token)
        assert (status, user["name"]) == (200, "ada")
        page.on("dialog", lambda dialog: dialog.accept())
        await page.get_by_role("button", name="Revoke from a test").click()
        await expect(page.get_by_text("You have none yet.")).to_be_visible()
        assert (await hub.api("GET", "/user", token=token))[0] == 403


async def test_the_keyboard_is_enough_to_log_in_and_start(page, small):
    async with run_hub(small) as hub:
        await page.goto(hub.url)
        await expect(page.get_by_label("Username")).to_be_focused()
        await page.keyboard.type("ada")
        await page.keyboard.press("Tab")
        await page.keyboard.type("anything")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/hub/home")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Start")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/user/ada/", timeout=20_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_fit_a_phone_in_both_colour_schemes_without_asking_anybody_else(chromium, small, enter, scheme):
    """360 px wide, nothing scrolls sideways, every request goes to the hub."""
    async with run_hub(small) as hub:
        context = await chromium.new_context(viewport={"width": 360, "height": 720}, color_scheme=scheme)
        page = await context.new_page()
        foreign = []
        page.on("request", lambda request: foreign.append(request.url) if not request.url.startswith(hub.url) else None)
        await hub.api("POST", "/users/a-person-with-quite-a-long-name.and-more@students.example.org")
        await enter(page, hub.url, "admin")
        for path in ("home", "token", "sessions", "admin", "spawn-pending/admin", "error/503", "login"):
            await page.goto(f"{hub.url}hub/{path}")
            wider = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wider <= 0, path
            dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", dark)[:3])) < 200) is (scheme == "dark"), path
        assert foreign == []
        await context.close()


SCRIPTED_FORM = """
<style>#more { display: none }</style>
<label for="size">Size</label>
<select id="size" name="size" class="form-control"><option>small</option><option>big</option></select>
<div id="more"><label for="why">Why so big?</label><input id="why" name="why" class="form-control"></div>
<script>
  $("#size").on("change", function () { $("#more").toggle($(this).val() === "big"); });
  require(["jquery"], function (jq) { jq("#why").attr("placeholder", jhdata.user); });
</script>
"""


async def test_an_options_form_written_for_jupyterhub_runs_its_scripts(chromium, configure, enter):
    """jQuery, `require` and `jhdata` are there for it, on its own page alone; what is chosen reaches the server."""
    chosen = {**configure(cmd=["sh", "-c", "exit 7"])}
    chosen["hub"]["config"]["Spawner"]["options_form"] = SCRIPTED_FORM
    async with run_hub(chosen) as hub:
        page = await chromium.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await enter(page, hub.url)
        assert await page.evaluate("typeof window.jQuery") == "undefined"
        await page.get_by_role("button", name="Start").click()
        await expect(page.get_by_label("Why so big?")).to_be_hidden()
        await page.get_by_label("Size").select_option("big")
        await expect(page.get_by_label("Why so big?")).to_be_visible()
        await expect(page.get_by_placeholder("ada")).to_be_visible()
        await page.get_by_label("Why so big?").fill("trees")
        await page.get_by_role("button", name="Start").click()
        await expect(page.get_by_role("heading", name="Your server did not start")).to_be_visible(timeout=15_000)
        _, user = await hub.api("GET", "/users/ada?include_stopped_servers=1")
        assert user["servers"][""]["user_options"] == {"size": ["big"], "why": ["trees"]}
        assert errors == []
        await page.close()


async def test_pages_sit_out_a_restart_of_the_hub(context, configure, enter):
    """A pending page goes on, and a list does not fill with error pages, while the hub is away."""
    async with run_hub(configure(cmd=SLEEPING)) as hub:
        pending, home = await context.new_page(), await context.new_page()
        await enter(pending, hub.url)
        await pending.get_by_role("button", name="Start").click()
        await expect(pending.get_by_role("progressbar")).to_be_visible()
        await home.goto(f"{hub.url}hub/home")
        await expect(home.get_by_role("heading", name="Default server")).to_contain_text("Starting")
        # What a proxy answers while its hub is away, however short that is here.
        away = "<html><body><main>The hub is away</main></body></html>"
        await home.route("**/home/servers", lambda route: route.fulfill(status=503, body=away))
        async with home.expect_response("**/home/servers"):
            hub.hub_process().kill()
        await expect(home.get_by_text("The hub is away")).to_have_count(0)
        await hub.until_healthy()
        await home.unroute("**/home/servers")
        await expect(pending.get_by_role("progressbar")).to_be_visible()
        await expect(home.get_by_role("heading", name="Default server")).to_contain_text("Starting")
        await pending.get_by_role("button", name="Cancel").click()
        await pending.wait_for_url("**/hub/home")
        await expect(home.get_by_role("heading", name="Default server")).to_contain_text("Stopped", timeout=30_000)
