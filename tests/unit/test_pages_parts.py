"""The parts of pages that need no hub: times, policy, form refilling, filters, assets, templates."""

import gzip
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from perijove.config.options import HubOptions
from perijove.web.pages.admin import Filter
from perijove.web.pages.assets import STATIC_DIR, Assets
from perijove.web.pages.policy import Policy
from perijove.web.pages.refill import refill
from perijove.web.pages.render import TEMPLATES_DIR, Templates
from perijove.web.pages.server_view import path_tail, status_of, with_next
from perijove.web.pages.sessions import browser_name
from perijove.web.pages.times import ago
from perijove.web.pages.tokens import expirations

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (44, "just now"),
        (50, "1 minute ago"),
        (3599, "60 minutes ago"),
        (3600, "1 hour ago"),
        (86_400 * 3, "3 days ago"),
        (-86_400 * 2, "in 2 days"),
        (86_400 * 400, "1 year ago"),
    ],
)
def test_times_are_told_in_their_largest_unit(seconds, text):
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text


# -- content security policy


def policy_of(*foreign, headers=None, custom_templates=False):
    policy = Policy(report_uri="/hub/security/csp-report", headers=headers or {}, custom_templates=custom_templates)
    return policy(inline=policy.needs_inline(foreign))


def test_our_own_pages_allow_nothing_inline_and_nothing_from_elsewhere():
    policy = policy_of()
    assert "script-src 'self';" in policy
    assert "unsafe-inline" not in policy
    assert "https:" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    "markup", ["<script>x()</script>", "<style>p{}</style>", '<p style="color:red">', "<b onclick=go()>", "< script >"]
)
def test_a_page_with_inline_markup_of_a_plug_in_allows_inline(markup):
    assert "script-src 'self' 'unsafe-inline';" in policy_of(markup)


def test_markup_without_scripts_or_styles_keeps_the_strict_policy():
    assert policy_of('<label for="a">Once</label><input id="a" name="one">') == policy_of()


def test_an_operators_frame_ancestors_replaces_ours_and_leaves_the_rest():
    policy = policy_of(headers={"content-security-policy": "frame-ancestors 'self' https://lms.example.org"})
    assert "frame-ancestors 'self' https://lms.example.org" in policy
    assert "frame-ancestors 'none'" not in policy
    assert "script-src 'self';" in policy


def test_an_operators_whole_policy_is_taken_as_it_is():
    policy = policy_of(headers={"Content-Security-Policy": "default-src https:; frame-ancestors *"})
    assert "script-src" not in policy
    assert "default-src https:" in policy
    assert "frame-ancestors *" in policy


def test_custom_templates_may_use_what_jupyterhub_let_them():
    assert "script-src 'self' 'unsafe-inline' https:;" in policy_of(custom_templates=True)


# -- refilling an options form


def test_a_refused_form_comes_back_with_what_was_typed():
    html = """
      <!-- keep me --><input name="name" value="old"><input type="checkbox" name="gpu" value="1" checked>
      <input type=radio name=size value=s checked><input type=radio name=size value=l>
      <select name="image"><option value="a" selected>A &amp; co</option><option value="b">B</option></select>
      <textarea name="notes">before</textarea><input type="password" name="secret"><input type="file" name="data">
    """
    values = {"name": ['<"new">'], "size": ["l"], "image": ["b"], "notes": ["<i>after"], "secret": ["s3cret"]}
    filled = refill(html, values)
    assert '<input name="name" value="&lt;&quot;new&quot;&gt;">' in filled
    assert '<input type="checkbox" name="gpu" value="1">' in filled
    assert '<input type="radio" name="size" value="l" checked>' in filled
    assert '<input type="radio" name="size" value="s">' in filled
    assert '<option value="a">A &amp; co</option><option value="b" selected>B</option>' in filled
    assert '<textarea name="notes">&lt;i&gt;after</textarea>' in filled
    assert "<!-- keep me -->" in filled
    assert "s3cret" not in filled


def test_refilling_leaves_scripts_and_other_markup_alone():
    html = '<script>if (a < b && "x") { go("&amp;"); }</script><p class=x>A&nbsp;B &#62; C</p><br/>'
    assert refill(html, {"a": ["1"]}) == html


def test_fields_of_one_name_are_filled_in_order():
    assert (
        refill('<input name="p"><input name="p">', {"p": ["1", "2"]})
        == '<input name="p" value="1"><input name="p" value="2">'
    )


# -- small decisions


@pytest.mark.parametrize(
    ("desired", "observed", "failure", "status"),
    [
        ("stopped", "stopped", None, "stopped"),
        ("stopped", "stopped", {"message": "no"}, "failed"),
        ("running", "stopped", None, "starting"),
        ("running", "starting", {"message": "earlier"}, "starting"),
        ("running", "running", None, "running"),
        ("running", "stopping", None, "starting"),
        ("stopped", "running", None, "stopping"),
        ("stopped", "starting", None, "stopping"),
        ("deleted", "stopped", None, "stopping"),
    ],
)
def test_a_server_has_one_word_for_its_state(desired, observed, failure, status):
    assert status_of(desired, observed, failure) == status


def test_names_are_escaped_in_addresses():
    assert path_tail("a b@x/y", "") == "a%20b@x%2Fy"
    assert path_tail("ada", "gpu") == "ada/gpu"
    assert with_next("/hub/spawn/ada", "/user/ada/lab?a=1&b=2") == "/hub/spawn/ada?next=/user/ada/lab%3Fa%3D1%26b%3D2"


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("curl/8.1", "curl"),
        ("", "Unknown browser"),
    ],
)
def test_sessions_are_named_by_browser_and_system(agent, name):
    assert browser_name(agent) == name


def test_nonsense_in_the_admin_pages_address_counts_as_nothing():
    chosen = Filter.of({"offset": "-3", "sort": "password", "state": "x", "name_filter": " ada "})
    assert chosen == Filter(name_filter="ada")
    assert chosen.url("/hub/admin", offset=50) == "/hub/admin?name_filter=ada&offset=50"
    assert Filter().url("/hub/admin") == "/hub/admin"


def test_a_maximum_lifetime_removes_longer_choices_and_never():
    labels = [choice["label"] for choice in expirations(timedelta(days=7))]
    assert labels == ["An hour", "A day", "A week"]
    assert expirations(None)[-1]["label"] == "Never"
    assert expirations(timedelta(minutes=5))[0]["seconds"] == 300


# -- static files


@pytest.fixture
def assets():
    return Assets("/hub/static/")


async def get(assets, path, query="", **headers):
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/hub/static/{path}",
        "query_string": query.encode(),
        "path_params": {"path": path},
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    return await assets.file(Request(scope))


async def test_a_file_asked_for_by_its_hash_is_kept_for_ever(assets):
    response = await get(assets, "hub.css", assets.url("hub.css").partition("?")[2])
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["content-type"].startswith("text/css")
    assert response.body == (STATIC_DIR / "hub.css").read_bytes()


async def test_a_file_without_its_hash_is_revalidated(assets):
    first = await get(assets, "hub.css")
    assert first.headers["cache-control"] == "no-cache"
    assert (await get(assets, "hub.css", "v=0")).headers["cache-control"] == "no-cache"
    again = await get(assets, "hub.css", if_none_match=first.headers["etag"])
    assert (again.status_code, again.body) == (304, b"")


async def test_text_is_compressed_for_those_who_take_it(assets):
    packed = await get(assets, "vendor/bootstrap.min.css", accept_encoding="br, gzip")
    plain = await get(assets, "vendor/bootstrap.min.css")
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert len(packed.body) < len(plain.body) / 5
    assert gzip.decompress(packed.body) == plain.body


@pytest.mark.parametrize("path", ["nothing.css", "../templates/page.html", "vendor", "/etc/passwd", "", "hub.css/"])
async def test_nothing_outside_the_static_directory_is_served(assets, path):
    with pytest.raises(HTTPException) as caught:
        await get(assets, path)
    assert caught.value.status_code == 404


async def test_the_logo_can_be_the_operators(tmp_path):
    own = tmp_path / "own.png"
    own.write_bytes(b"\x89PNG picture")
    assets = Assets("/hub/static/", logo_file=str(own))
    response = await assets.logo(Request({"type": "http", "headers": []}))
    assert (response.body, response.headers["content-type"]) == (b"\x89PNG picture", "image/png")


def test_vendored_files_are_what_the_vendoring_script_wrote():
    lines = (STATIC_DIR / "vendor" / "VERSIONS").read_text().splitlines()
    assert lines
    for line in lines:
        _, _, digest, name = line.split()
        assert hashlib.sha256((STATIC_DIR / "vendor" / name).read_bytes()).hexdigest() == digest, name


# -- templates


def make_templates(tmp_path: Path, **options) -> Templates:
    return Templates(HubOptions(data_dir=tmp_path, **options), Assets("/hub/static/"), now=lambda: NOW)


def test_a_custom_template_extends_ours_and_replaces_a_block(tmp_path):
    custom = tmp_path / "custom"
    custom.mkdir()
    (custom / "page.html").write_text(
        '{% extends "templates/page.html" %}{% block footer %}<footer>University of Io</footer>{% endblock %}'
        "{% block title %}Io Hub{% endblock %}"
    )
    (custom / "login.html").write_text(
        '{% extends "templates/login.html" %}{% block login_terms %}<p>Be kind.</p>{% endblock %}'
    )
    html = make_templates(tmp_path, template_paths=(str(custom),)).render("login.html", {})
    assert "<footer>University of Io</footer>" in html
    assert "<p>Be kind.</p>" in html
    assert 'name="password"' in html


@pytest.mark.parametrize(
    "block",
    [
        "title",
        "stylesheet",
        "favicon",
        "scripts",
        "meta",
        "nav_bar",
        "logo",
        "announcement",
        "main",
        "footer",
        "script",
        "login_widget",
        "nav_bar_left_items",
        "nav_bar_right_items",
        "header",
        "theme_toggle",
    ],
)
def test_blocks_that_custom_templates_override_exist(tmp_path, block):
    (tmp_path / "mine.html").write_text(
        '{% extends "templates/page.html" %}{% block ' + block + " %}replaced here{% endblock %}"
    )
    html = make_templates(tmp_path, template_paths=(str(tmp_path),)).render("mine.html", {})
    assert "replaced here" in html


def test_announcements_come_from_template_vars_with_one_for_a_page_first(tmp_path):
    variables = {"announcement": "For <b>all</b>", "announcement_login": "For the door"}
    templates = make_templates(tmp_path, template_vars=variables)
    login = templates.render("login.html", {})
    assert "For the door" in login
    assert "For <b>all</b>" not in login
    assert "For <b>all</b>" in templates.render("logout.html", {})


def test_what_people_typed_is_escaped(tmp_path):
    html = make_templates(tmp_path).render(
        "login.html", {"username": '"><script>alert(1)</script>', "login_error": "<b>no</b>"}
    )
    assert "<script>alert" not in html
    assert "&lt;b&gt;no&lt;/b&gt;" in html


def test_no_template_of_ours_has_inline_script_style_or_foreign_address():
    for path in TEMPLATES_DIR.glob("*.html"):
        text = path.read_text()
        assert "<style" not in text, path
        assert " style=" not in text, path
        assert " onclick" not in text, path
        assert "//cdn" not in text, path
        assert "https://" not in text, path
        for part in text.split("<script")[1:]:
            assert part.startswith(" src="), path
