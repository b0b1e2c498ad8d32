"""The scope engine: grammar, containment, filters, intersection; each known trip-up is a test."""

import pytest

from perijove.domain.errors import Invalid
from perijove.domain.roles import DEFAULT_ROLES, check_role_name, server_token_scopes
from perijove.domain.scope_table import META, SCOPES, SELF
from perijove.domain.scopes import (
    Catalogue,
    Owner,
    Scope,
    ScopeSet,
    access_scopes,
    identify_scopes,
    known_only,
    parse,
    token_scopes,
)

ALL = Catalogue()
ALICE = Owner(kind="user", name="alice")


def expand(*scopes: str, owner: Owner = ALICE) -> ScopeSet:
    return ScopeSet(ALL.expand(scopes, owner))


# -- grammar


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("read:users", Scope("read:users")),
        ("read:users!user=alice", Scope("read:users", "user", "alice")),
        ("read:users!user", Scope("read:users", "user")),
        ("access:servers!server=alice/", Scope("access:servers", "server", "alice/")),
        ("access:servers!server=alice/gpu", Scope("access:servers", "server", "alice/gpu")),
        ("access:services!service", Scope("access:services", "service")),
        ("read:groups!group=a b", Scope("read:groups", "group", "a b")),
        # Only the first "!" and the first "=" divide: names may contain both.
        ("read:users!user=a!b=c", Scope("read:users", "user", "a!b=c")),
        ("read:users!user==", Scope("read:users", "user", "=")),
    ],
)
def test_parsing_splits_at_the_first_mark(text: str, scope: Scope):
    assert parse(text) == scope
    assert str(scope) == text


@pytest.mark.parametrize(
    "text", ["read:users!", "read:users!user=", "read:users!colour=red", "read:users!group", "read:users!User=a"]
)
def test_malformed_scopes_are_refused(text: str):
    with pytest.raises(Invalid, match="does not exist"):
        parse(text)


@pytest.mark.parametrize("text", ["", "nope", "read:nothing", "read:users ", "self!user", "inherit!user=a", "custom:x"])
def test_unknown_scopes_do_not_exist(text: str):
    with pytest.raises(Invalid, match="does not exist"):
        ALL.check(text)


def test_every_child_in_the_table_is_a_scope():
    for name, definition in SCOPES.items():
        assert definition.description, name
        assert set(definition.children) <= SCOPES.keys(), name
    assert set(SELF) <= SCOPES.keys()
    assert not META.keys() & SCOPES.keys()


def test_default_roles_have_only_scopes_that_exist():
    for role in DEFAULT_ROLES.values():
        assert known_only(ALL, role.scopes) == list(role.scopes)


# -- containment


def test_self_is_exactly_what_jupyterhub_gives_a_user():
    names = [
        *("access:servers", "delete:servers", "read:servers", "read:shares", "read:tokens", "read:users"),
        *("read:users:activity", "read:users:groups", "read:users:name", "read:users:shares", "servers"),
        *("start:servers", "tokens", "users:activity", "users:shares"),
    ]
    assert expand("self").texts() == tuple(f"{name}!user=alice" for name in names)


def test_self_means_nothing_for_a_service():
    assert not len(expand("self", owner=Owner(kind="service", name="cull")))


def test_shares_imply_access_with_the_same_filter():
    assert "access:servers!server=alice/" in expand("shares!server=alice/")
    assert "access:servers!server=bob/" not in expand("shares!server=alice/")


def test_servers_do_not_imply_access():
    assert "access:servers!user=alice" not in expand("servers!user=alice")


def test_admin_users_imply_neither_servers_nor_tokens_nor_groups():
    held = expand("admin:users")
    assert "read:users" in held
    assert "admin:auth_state" in held
    for other in ("read:servers", "servers", "tokens", "groups", "shares"):
        assert other not in held


def test_a_server_filter_reaches_no_users():
    held = expand("servers!server=alice/gpu")
    assert held.texts() == tuple(
        f"{name}!server=alice/gpu" for name in ("delete:servers", "read:servers", "servers", "start:servers")
    )


@pytest.mark.parametrize("parent", SCOPES)
def test_a_filter_goes_down_to_every_descendant(parent: str):
    held = expand(f"{parent}!group=g")
    assert {parse(text).base for text in held.texts()} == ALL.descendants(parent)
    assert all(parse(text).value == "g" for text in held.texts())


# -- bare filters


def test_bare_filters_stand_for_the_owner_and_the_client():
    owner = Owner(kind="user", name="alice", client_server="bob/gpu")
    assert expand("users:activity!user", "access:servers!server", owner=owner).texts() == (
        "access:servers!server=bob/gpu",
        "read:users:activity!user=alice",
        "users:activity!user=alice",
    )


@pytest.mark.parametrize("scope", ["access:servers!server", "access:services!service"])
def test_bare_filters_without_a_client_are_dropped(scope: str):
    assert not len(expand(scope))


def test_bare_service_is_the_service_itself_or_the_clients():
    assert expand("access:services!service", owner=Owner(kind="service", name="cull")).texts() == (
        "access:services!service=cull",
    )
    assert expand("access:services!service", owner=Owner(kind="user", name="a", client_service="grafana")).texts() == (
        "access:services!service=grafana",
    )


def test_bare_user_of_a_service_is_dropped():
    assert not len(expand("read:users!user", owner=Owner(kind="service", name="cull")))


# -- coverage


@pytest.mark.parametrize(
    ("have", "want", "covered"),
    [
        ("read:users", "read:users", True),
        ("read:users", "read:users!user=bob", True),
        ("read:users!user=bob", "read:users!user=bob", True),
        ("read:users!user=bob", "read:users", False),
        ("read:users!user=bob", "read:users!user=carol", False),
        # The slash is part of a server's name.
        ("access:servers!server=alice/", "access:servers!server=alice/", True),
        ("access:servers!server=alice/", "access:servers!server=alice", False),
        ("access:servers!server=alice", "access:servers!server=alice/", False),
        ("access:servers!user=alice", "access:servers!server=alice", False),
        ("access:servers!user=alice", "access:servers!server=alice/", True),
        ("access:servers!user=alice", "access:servers!server=alice/gpu", True),
        ("access:servers!user=alice", "access:servers!server=alicex/", False),
        ("access:servers!server=alice/gpu", "access:servers!server=alice/", False),
        ("access:servers!server=alice/", "access:servers!user=alice", False),
        # Groups cover their members and the members' servers, by the rows of now.
        ("read:users!group=staff", "read:users!user=carol", True),
        ("read:users!group=staff", "read:users!user=bob", False),
        ("access:servers!group=staff", "access:servers!server=carol/gpu", True),
        ("access:servers!group=staff", "access:servers!server=bob/", False),
        # Groups against groups go by name alone.
        ("read:groups!group=staff", "read:groups!group=staff", True),
        ("read:groups!group=staff", "read:groups!group=other", False),
        ("read:groups!user=carol", "read:groups!group=staff", False),
        ("access:services!service=x", "access:services!service=x", True),
        ("access:services!service=x", "access:services!service=y", False),
        ("read:users", "read:servers", False),
    ],
)
def test_coverage(have: str, want: str, covered: bool):
    groups = {"carol": ["staff"], "bob": []}
    assert ScopeSet([have]).covers(want, groups) is covered


def test_without_membership_groups_cover_nobody():
    assert "read:users!user=carol" not in ScopeSet(["read:users!group=staff"])


def test_names_with_marks_are_compared_whole():
    held = ScopeSet(["read:users!user=a!user=b"])
    assert "read:users!user=a!user=b" in held
    assert "read:users!user=b" not in held
    assert "read:users!user=a" not in held


def test_listings_accept_any_filter_but_say_which():
    grant = ScopeSet(["list:users!user=a", "list:users!group=g"]).grant("list:users")
    assert grant is not None
    assert not grant.everything
    assert (grant.user, grant.group) == ({"a"}, {"g"})
    assert ScopeSet(["list:users!user=a"]).grant("list:groups") is None


# -- sets


def test_an_unfiltered_scope_hides_filtered_ones():
    assert ScopeSet(["read:users!user=a", "read:users", "read:users!group=g"]).texts() == ("read:users",)


GROUPS = {"carol": ["staff"], "dave": ["staff", "night"], "bob": []}


@pytest.mark.parametrize(
    ("a", "b", "both"),
    [
        (["read:users"], ["read:users"], ["read:users"]),
        (["read:users"], ["read:users!user=bob"], ["read:users!user=bob"]),
        (["read:users"], ["read:servers"], []),
        (["read:users!user=bob"], ["read:users!user=carol"], []),
        (["servers!server=bob/x"], ["servers!user=bob"], ["servers!server=bob/x"]),
        (["servers!server=bob/x"], ["servers!server=bob/y"], []),
        (["servers!server=carol/x"], ["servers!group=staff"], ["servers!server=carol/x"]),
        (["servers!server=bob/x"], ["servers!group=staff"], []),
        (["read:users!user=dave"], ["read:users!group=night"], ["read:users!user=dave"]),
        (["read:users!user=carol"], ["read:users!group=night"], []),
        (["read:users!group=staff"], ["read:users!group=staff"], ["read:users!group=staff"]),
        (["read:users!group=staff"], ["read:users!group=night"], []),
        (
            ["read:users!user=bob", "read:users!group=staff"],
            ["read:users!user=carol", "read:users!user=bob"],
            ["read:users!user=bob", "read:users!user=carol"],
        ),
        (["access:services!service=x"], ["access:services!service=x"], ["access:services!service=x"]),
    ],
)
def test_intersection_goes_through_the_hierarchy(a: list[str], b: list[str], both: list[str]):
    assert ScopeSet(a).intersect(ScopeSet(b), GROUPS).texts() == tuple(sorted(both))
    assert ScopeSet(b).intersect(ScopeSet(a), GROUPS).texts() == tuple(sorted(both))


def test_within_names_what_is_not_held():
    assert ScopeSet(["read:users!user=a", "tokens"]).within(ScopeSet(["read:users"])) == ["tokens"]


def test_users_named_are_those_whose_groups_matter():
    named = ScopeSet(["read:users!user=a", "servers!server=b/x", "read:groups!group=g"]).users_named()
    assert named == {"a", "b"}


# -- tokens


def held(*scopes: str) -> ScopeSet:
    return ScopeSet(ALL.expand(scopes, ALICE))


def test_inherit_is_what_the_owner_holds_now():
    assert token_scopes(ALL, ["inherit"], ALICE, held("self")) == held("self")
    assert token_scopes(ALL, ["inherit"], ALICE, held("read:users!user")) == held("read:users!user")


def test_a_token_shrinks_with_its_owner():
    stored = ["servers!user=alice", "read:hub"]
    assert "read:hub" in token_scopes(ALL, stored, ALICE, held("self", "read:hub"))
    assert "read:hub" not in token_scopes(ALL, stored, ALICE, held("self"))


WHOSE_IT_IS = ("read:users:groups!user=alice", "read:users:name!user=alice")


def test_a_token_never_grows_beyond_what_it_lists():
    got = token_scopes(ALL, ["read:users:activity!user"], ALICE, held("self", "admin:users"))
    assert got.texts() == ("read:users:activity!user=alice", *WHOSE_IT_IS)


def test_a_token_without_scopes_says_whose_it_is_and_no_more():
    assert token_scopes(ALL, [], ALICE, held("self")).texts() == WHOSE_IT_IS


def test_a_token_lists_nothing_that_its_owner_does_not_hold():
    assert token_scopes(ALL, ["read:users:name!user", "read:users:groups!user"], ALICE, held()).texts() == ()


def test_an_oauth_token_accesses_its_server_if_the_visitor_may():
    """A share through a group reaches the token: it is part of what the visitor holds."""
    visitor = Owner(kind="user", name="alice", client_server="bob/")
    shared = ScopeSet([*held("self").texts(), "access:servers!server=bob/"])
    stored = ["read:users:name!user", "read:users:groups!user"]
    assert "access:servers!server=bob/" in token_scopes(ALL, stored, visitor, shared)
    assert "access:servers!server=bob/" not in token_scopes(ALL, stored, visitor, held("self"))


def test_group_authorised_access_is_listed_by_server_because_clients_know_no_groups():
    visitor = Owner(kind="user", name="alice", client_server="carol/gpu")
    allowed = ScopeSet(["access:servers!group=staff"])
    got = token_scopes(ALL, [], visitor, allowed, {"carol": ["staff"]})
    assert got.texts() == ("access:servers!server=carol/gpu",)


def test_scopes_that_no_longer_exist_do_not_break_a_token():
    assert token_scopes(ALL, ["custom:gone:read", "read:hub"], ALICE, held("read:hub")).texts() == ("read:hub",)


def test_implicit_scopes_of_tokens():
    assert identify_scopes(ALICE) == {"read:users:name!user=alice", "read:users:groups!user=alice"}
    assert identify_scopes(Owner(kind="service", name="x")) == {"read:services:name!service=x"}
    assert access_scopes(ALICE) == set()
    assert access_scopes(Owner(kind="user", name="a", client_service="s")) == {"access:services!service=s"}


# -- custom scopes

CUSTOM = {
    "custom:jupyter_server:read:*": {"description": "Read", "subscopes": []},
    "custom:jupyter_server:write:*": {"description": "Write", "subscopes": ["custom:jupyter_server:read:*"]},
}


def test_custom_scopes_expand_and_carry_filters():
    catalogue = Catalogue(CUSTOM)
    assert catalogue.expand(["custom:jupyter_server:write:*!user"], ALICE) == {
        "custom:jupyter_server:write:*!user=alice",
        "custom:jupyter_server:read:*!user=alice",
    }


@pytest.mark.parametrize(
    "custom",
    [
        {"jupyter:read": {"description": "no custom: before it"}},
        {"custom:Upper:case": {"description": "x"}},
        {"custom:x-": {"description": "x"}},
        {"custom:fine:name": {"description": ""}},
        {"custom:fine:name": {}},
        {"custom:fine:name": {"description": "x", "colour": "red"}},
        {"custom:fine:name": {"description": "x", "subscopes": ["custom:other:name"]}},
        {"custom:fine:name": {"description": "x", "subscopes": ["read:users"]}},
    ],
)
def test_bad_custom_scopes_are_refused(custom: dict[str, dict[str, object]]):
    with pytest.raises(Invalid):
        Catalogue(custom)


def test_descriptions_are_for_people():
    assert ALL.describe("read:hub") == SCOPES["read:hub"].description
    assert "alice" in ALL.describe("read:users!user=alice")
    assert ALL.describe("inherit") == META["inherit"].description


# -- roles


@pytest.mark.parametrize("name", ["abc", "a-b_c~d.e9", "a" * 255])
def test_role_names_that_may_be(name: str):
    check_role_name(name)


@pytest.mark.parametrize("name", ["", "ab", "Abc", "1bc", "abc-", "a" * 256, "a b c", "abc\n"])
def test_role_names_that_may_not_be(name: str):
    with pytest.raises(Invalid):
        check_role_name(name)


def test_a_server_token_can_always_report_activity():
    assert server_token_scopes([]) == DEFAULT_ROLES["server"].scopes
    assert server_token_scopes(["access:servers!server"]) == ("access:servers!server", "users:activity!user")
    assert server_token_scopes(["inherit"]) == ("inherit",)
    assert server_token_scopes(["users:activity"]) == ("users:activity",)
