"""Names of users and servers, for all of Unicode: what is allowed, and that no two ever meet in a URL."""

from urllib.parse import unquote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from perijove.domain import names
from perijove.domain.errors import Invalid
from perijove.proxy.paths import prefix_segments, resolve
from perijove.proxy.table import Route, RouteTable
from perijove.spawners.local import directory_name

# What means something in a URL, a cookie, a shell or a path, and what looks like something else.
ODD = "@%~+;?#&=:,!$'\"()*<>[]{}|\\^` ._-\u0301\u202e\u200d\u05d0\u0627\u00df\u0130\u4e16\U0001f600aA0"
characters = st.one_of(
    st.sampled_from(ODD), st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="/")
)
pieces = st.one_of(characters, st.sampled_from(["%2F", "%2f", "%25", "..", "%2e"]))
texts = st.lists(pieces, min_size=1, max_size=40).map("".join)
server_names = st.from_regex(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", fullmatch=True).filter(
    lambda name: len(name) <= names.MAX_SERVER_NAME
)


def is_allowed(name):
    try:
        names.check_user_name(name)
    except Invalid:
        return False
    return True


users = texts.filter(is_allowed)


def spellings(escaped):
    """Ways to write the same path segment."""
    raw = unquote(escaped).encode()
    return {
        escaped,
        "".join(f"%{byte:02X}" for byte in raw),
        "".join(f"%{byte:02x}" for byte in raw),
        escaped.replace("@", "%40").replace("~", "%7e"),
    }


@given(users)
@example("..a")
@example("a%2Fb")
@example("%252e%252e")
@example("ada@example.org")
def test_an_escaped_name_is_one_ascii_segment_that_reads_back(name):
    escaped = names.escape(name)
    assert unquote(escaped, errors="strict") == name
    assert escaped.isascii()
    assert not set(escaped) & set("/?#;\\ \"'<>&=+")
    assert escaped.strip(".")


@given(users, users, server_names | st.just(""), server_names | st.just(""))
@example("a%2Fb", "a%2fb", "", "")
@example("a%25", "a%", "", "")
@example("e\u0301", "\u00e9", "", "")
@example("\u017f", "s", "", "")
@example("a+b", "a b", "", "")
@example("a~", "a%7e", "", "")
@example("a", "a.", "", "")
def test_different_servers_never_share_a_prefix_a_route_or_a_home(user, other, server, another):
    """Neither as written nor as the proxy compares them."""
    assume((user, server) != (other, another))
    first, second = names.server_prefix("/", user, server), names.server_prefix("/", other, another)
    assert first != second
    assert prefix_segments(first) != prefix_segments(second)
    assert (user == other) == (directory_name(user) == directory_name(other))
    assert (user == other) == (names.client_id(user) == names.client_id(other))


@given(users, server_names | st.just(""), st.sampled_from(["/", "/hub/", "/a/b%20c/"]))
@example("%2e%2e%2f", "", "/")
@example("a\\..\\b", "", "/")
def test_every_spelling_of_a_prefix_leads_to_its_server_and_no_other_does(user, server, base_url):
    prefix = names.server_prefix(base_url, user, server)
    table = RouteTable(
        [
            Route(base_url, "http://default:1"),
            Route(names.server_prefix(base_url, f"{user}x", server), "http://longer:1"),
            Route(prefix, "http://wanted:1"),
        ],
        base_url=base_url,
    )
    tail = f"{names.escape(server)}/" if server else ""
    for spelling in spellings(names.escape(user)):
        found = table.find(resolve(f"{base_url}user/{spelling}/{tail}api?x=1".encode()))
        assert found.target == "http://wanted:1"
    once_more = names.escape(names.escape(user))
    if once_more != names.escape(user):
        assert table.find(resolve(f"{base_url}user/{once_more}/{tail}api".encode())).target != "http://wanted:1"


@given(users)
def test_a_name_makes_a_directory_name_that_every_file_system_takes(name):
    directory = directory_name(name)
    assert len(directory.encode()) <= 255
    assert directory.strip(".")
    assert "/" not in directory


@given(users)
@example("\u00df")
@example("a" * 255)
@example("\U0001f600" * 63)
def test_what_is_built_from_a_name_fits_cookies_and_header_lines(name):
    """A cookie's path has up to 1024 characters; its name must be a token of HTTP."""
    assert len(names.server_prefix("/", name, "s" * 30)) <= 1024
    token = set("!#$%&'*+-.^_`|~")
    assert all(
        character.isascii() and (character.isalnum() or character in token) for character in names.client_id(name)
    )


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "must not be empty"),
        ("a" * 256, "at most 255 characters"),
        ("\U0001f600" * 64, "at most 765 characters in a URL"),
        ("a/b", "must not contain a slash"),
        ("/", "must not contain a slash"),
        (" a", "must not begin or end with a space"),
        ("a\u00a0", "must not begin or end with a space"),
        ("a\n", "must not begin or end with a space"),
        (".", "must not consist of dots alone"),
        ("..", "must not consist of dots alone"),
        ("...", "must not consist of dots alone"),
        ("%2e%2E", "must not consist of dots alone"),
        ("a\0b", "control characters"),
        ("a\nb", "control characters or line breaks"),
        ("a\x7fb", "control characters"),
        ("a\u0085b", "control characters"),
        ("a\u2028b", "line breaks"),
        ("a\ud800b", "control characters"),
    ],
)
def test_a_refused_user_name_is_told_the_rule(name, rule):
    with pytest.raises(Invalid, match=rule) as refused:
        names.check_user_name(name)
    assert refused.value.field == "name"
    str(refused.value).encode()


@given(st.text(max_size=300))
def test_any_text_is_allowed_or_refused_with_a_rule_that_can_be_shown(name):
    if is_allowed(name):
        assert unquote(names.escape(name)) == name
        return
    with pytest.raises(Invalid, match=r"^A user name ") as refused:
        names.check_user_name(name)
    str(refused.value).encode()


@given(st.text(st.sampled_from("ab0-9AZ_.é \n"), max_size=33))
@example("a\n")
@example("a--b")
@example("a" * 31)
def test_a_server_name_is_a_dns_label_or_refused(name):
    label = (
        0 < len(name) <= 30
        and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        and name[0].isalpha()
        and not name.endswith("-")
        and "--" not in name
    )
    if label:
        names.check_server_name(name)
    else:
        with pytest.raises(Invalid, match="lowercase letters, digits and single dashes"):
            names.check_server_name(name)
