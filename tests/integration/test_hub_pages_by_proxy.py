"""Pages that the proxy answers with and the hub has drawn."""

from perijove.testing.hub import run_hub
from perijove.testing.proxy import wire


async def test_the_hubs_error_pages_are_the_operators(tmp_path):
    """Custom templates and their variables are in what the proxy says, too, and with it the policy they need."""
    footer = "<footer>{{ campus }}<script>go()</script></footer>"
    page = '{% extends "templates/page.html" %}{% block footer %}' + footer + "{% endblock %}"
    (tmp_path / "page.html").write_text(page)
    hub_options = {"template_paths": [str(tmp_path)], "template_vars": {"campus": "University of Io"}}
    config = {"hub": {"config": {"JupyterHub": {"authenticator_class": "dummy", **hub_options}}}}
    async with run_hub(config) as hub, wire(("127.0.0.1", hub.port)) as client:
        # Nothing that a hub would be asked for: the proxy alone refuses it, with the hub's page.
        answer = await client.ask(b"GET /hub/internal/routes HTTP/1.1\r\nHost: h\r\nAccept: text/html\r\n\r\n")
        assert answer.status == 404
        assert b"<footer>University of Io<script>go()" in answer.body
        assert "'unsafe-inline'" in answer.field("content-security-policy")
