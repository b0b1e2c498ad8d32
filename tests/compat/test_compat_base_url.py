"""A hub below a path of a host that has other things too: stock servers stay below it with all they do."""

from perijove.testing import run_hub
from perijove.testing.kernels import execute, start_kernel


async def test_a_stock_server_works_below_a_path(stock_config, stock_server, singleuser5, tmp_path):
    config = stock_config(tmp_path / "homes", singleuser5)
    async with run_hub(config, base_url="/jupyter/") as hub:
        server = stock_server(hub, "6.1", "ada@b", "gpu")
        await server.start()
        environment = server.environment
        assert environment["JUPYTERHUB_BASE_URL"] == "/jupyter/"
        assert environment["JUPYTERHUB_API_URL"] == f"{hub.hub_url}hub/api"
        assert environment["JUPYTERHUB_SERVICE_PREFIX"] == "/jupyter/user/ada@b/gpu/"
        assert environment["JUPYTERHUB_OAUTH_CALLBACK_URL"] == "/jupyter/user/ada@b/gpu/oauth_callback"
        async with hub.browser() as browser:
            status, url = await browser.log_in("ada@b", path="hub/login?next=%2Fjupyter%2Fuser%2Fada%40b%2Fgpu%2Flab")
            assert (status, url) == (200, f"{server.url}lab")
            assert {c["path"].partition("/user/")[0].rstrip("/") for c in browser.session.cookie_jar} == {
                "/jupyter",
                "/jupyter/hub",
            }
            xsrf = next(c.value for c in browser.session.cookie_jar if c.key == "_xsrf" and "gpu" in c["path"])
            kernel = await start_kernel(browser.session, server.url, headers={"X-XSRFToken": xsrf})
            assert await execute(browser.session, server.url, kernel, "1+1") == "2"
            response, _ = await browser.get(f"{server.prefix}logout")
            assert response.url.path == "/jupyter/hub/login"
            response, _ = await browser.get("/jupyter/user/ada@b/gpu/api")
            assert response.status == 200
