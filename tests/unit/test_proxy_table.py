"""The table finds the longest prefix, however many routes there are."""

import time
from itertools import product
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perijove.domain.names import server_prefix
from perijove.proxy.paths import resolve
from perijove.proxy.table import Route, RouteTable, starting_table


def find(table, path):
    route = table.find(resolve(path.encode()))
    return route.prefix if route else None


def a_table(*prefixes, base_url="/"):
    routes = [Route("/", "hub", {"hub": True})] + [Route(prefix, f"http://h{prefix}") for prefix in prefixes]
    return RouteTable(routes, base_url=base_url)


def test_the_longest_prefix_wins_and_segments_are_whole():
    """`/user/al` is not a prefix of `/user/alice`."""
    table = a_table("/user/al/", "/user/al/named/", "/services/x/")
    assert find(table, "/user/al/lab") == "/user/al/"
    assert find(table, "/user/al") == "/user/al/"
    assert find(table, "/user/al/named/api") == "/user/al/named/"
    assert find(table, "/user/alice/lab") == "/"
    assert find(table, "/user//al/lab") == "/"
    assert find(table, "/services/x") == "/services/x/"
    assert find(table, "/user") == "/"


def test_a_deleted_route_leaves_no_trace():
    """Its requests fall to the next shorter prefix, and the tree shrinks."""
    table = a_table("/user/al/", "/user/al/named/")
    assert table.delete("/user/al/")
    assert not table.delete("/user/al/")
    assert find(table, "/user/al/lab") == "/"
    assert find(table, "/user/al/named/") == "/user/al/named/"
    table.delete("/user/al/named/")
    assert b"user" not in table._root


def test_two_spellings_of_a_prefix_are_one_route():
    """The later one has it, and deleting the earlier one does not take it away."""
    table = a_table("/user/a@b/", "/user/a%40b/")
    table.delete("/user/a@b/")
    assert find(table, "/user/a@b/") == "/user/a%40b/"


@pytest.mark.parametrize(
    "path",
    [
        "/hub/internal/routes",
        "/hub/internal",
        "/hub/%69nternal/routes",
        "/hub/x/../internal/routes",
        "/hub/x/%2e%2e/internal/routes",
        "/hub%2Finternal/routes",
        "/hub/internal%2froutes",
        "//hub/internal/routes",
        "/hub%2f..%2fhub%2finternal/routes",
        "/x%2f..%2fhub/internal/routes",
    ],
)
def test_the_internal_routes_are_not_public(path):
    """In no spelling that some server decodes to them."""
    assert find(a_table(), path) is None


def test_the_internal_routes_are_under_the_base_url():
    """Elsewhere the words mean nothing."""
    table = a_table(base_url="/base/")
    assert find(table, "/base/hub/internal/routes") is None
    assert find(table, "/hub/internal/routes") == "/"
    with pytest.raises(ValueError, match="not for the public"):
        table.put(Route("/base/hub/internal/", "http://x"))


def test_before_the_first_list_only_the_hub_is_there():
    """A server's address is "not yet", not "not there"."""
    table = starting_table("/b/")
    assert find(table, "/b/hub/home") == "/b/hub/"
    assert find(table, "/b/user/al/") is None
    assert not table.loaded


def test_a_hundred_thousand_routes_are_as_fast_as_ten():
    """Looking up walks the segments of the path, not the routes."""
    small, large = a_table(*[f"/user/u{n}/" for n in range(10)]), a_table(*[f"/user/u{n}/" for n in range(100_000)])
    path = resolve(b"/user/u7/api/contents/x")

    def seconds(table):
        runs = []
        for _ in range(5):
            started = time.thread_time()
            for _ in range(5000):
                table.find(path)
            runs.append(time.thread_time() - started)
        return min(runs)

    assert seconds(large) < 3 * seconds(small)


@given(
    st.text(min_size=1, max_size=30).filter(lambda name: name not in (".", "..")),
    st.sets(st.sampled_from("@~!$&'()*+,;=:-._")),
)
def test_any_user_name_is_found_by_any_spelling(name, unescaped):
    """The hub escapes as it does, browsers and libraries as they do; it is one route."""
    prefix = server_prefix("/base/", name, "")
    table = a_table(prefix, base_url="/base/")
    path = f"/base/user/{quote(name, safe=''.join(unescaped))}/lab"
    assert find(table, path) == prefix


@given(st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from("ab"), max_size=3).map("/".join)), max_size=12))
def test_whatever_is_put_and_deleted_the_longest_prefix_is_found(changes):
    """As a list of prefixes, looked through one by one, would have it; and nothing is left behind at the end."""
    table, kept = RouteTable(), {}
    for put, path in changes:
        prefix = f"/{path}/" if path else "/"
        if put:
            kept[prefix] = Route(prefix, f"http://{path}")
            table.put(kept[prefix])
        else:
            assert table.delete(prefix) == (kept.pop(prefix, None) is not None)
        for asked in map("/".join, product("ab", repeat=3)):
            inside = [route for start, route in kept.items() if f"/{asked}/".startswith(start)]
            assert table.find(resolve(f"/{asked}".encode())) is max(inside, key=lambda r: len(r.prefix), default=None)
    for prefix in kept:
        table.delete(prefix)
    assert set(table._root) == {b"hub"}
