"""The scope engine: what a scope means, contains, and covers. Pure; rows are handed in.

A scope is `base[!filter]`; a filter is `user=<name>`, `group=<name>`, `server=<user>/<server>` or
`service=<name>`, or *bare* (`!user`, `!server`, `!service`): the owner, or the server or service an
OAuth client belongs to, put in at expansion. Names may contain `!` and `=`: the text is split at the
first of each. The default server's name is empty, so `server=alice/` keeps its slash, and
`server=alice` names no server at all.

Who is in which group is never looked up here: whoever compares scopes hands in `groups_of`, read from
rows, for the users that `ScopeSet.users_named` lists.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from perijove.domain.errors import Invalid
from perijove.domain.scope_table import META, SCOPES, SELF, Definition

FILTER_KINDS = ("user", "group", "server", "service")
_CUSTOM_NAME = re.compile(r"custom:[a-z0-9][a-z0-9_\-*:]+[a-z0-9_*]")

NO_GROUPS: Mapping[str, Collection[str]] = {}


@dataclass(frozen=True, slots=True)
class Scope:
    """One parsed scope. `kind` "" = unfiltered; `value` None with a kind = bare."""

    base: str
    kind: str = ""
    value: str | None = None

    def __str__(self) -> str:
        if not self.kind:
            return self.base
        return f"{self.base}!{self.kind}" if self.value is None else f"{self.base}!{self.kind}={self.value}"


@lru_cache(maxsize=8192)
def parse(text: str) -> Scope:
    """Grammar only, see `Catalogue.check` for existence. Raises `Invalid`."""
    base, bang, rest = text.partition("!")
    if not bang:
        return Scope(base)
    kind, equals, value = rest.partition("=")
    if kind not in FILTER_KINDS:
        raise Invalid(f"Scope '{text}' does not exist: unknown filter '{kind}'", field="scopes")
    if not equals:
        if kind == "group":
            raise Invalid(f"Scope '{text}' does not exist: a group filter needs a name", field="scopes")
        return Scope(base, kind)
    if not value:
        raise Invalid(f"Scope '{text}' does not exist: its filter is empty", field="scopes")
    return Scope(base, kind, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whom bare filters and `self` stand for, and the OAuth client's server or service if there is one."""

    kind: Literal["user", "service"]
    name: str
    # `user/server`, None when the token was not issued to a server.
    client_server: str | None = None
    client_service: str | None = None

    def resolve(self, kind: str) -> str | None:
        """What a bare `!kind` means here; None: nothing, the scope is dropped."""
        if kind == "user":
            return self.name if self.kind == "user" else None
        if kind == "server":
            return self.client_server
        return self.client_service or (self.name if self.kind == "service" else None)


class Catalogue:
    """Every scope that exists on this hub: the built-in ones and `custom_scopes`."""

    def __init__(self, custom: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Raises `Invalid` for a custom scope that is misnamed, undescribed or has unknown subscopes."""
        self.definitions: dict[str, Definition] = dict(SCOPES)
        for name, entry in (custom or {}).items():
            self.definitions[name] = _custom(name, entry, custom or {})
        self._descendants: dict[str, frozenset[str]] = {}

    def check(self, text: str) -> Scope:
        """The parsed scope. Raises `Invalid` when it does not exist."""
        scope = parse(text)
        if scope.base not in self.definitions and scope.base not in META:
            raise Invalid(f"Scope '{text}' does not exist", field="scopes")
        if scope.kind and scope.base in META:
            raise Invalid(f"Scope '{text}' does not exist: '{scope.base}' takes no filter", field="scopes")
        return scope

    def descendants(self, base: str) -> frozenset[str]:
        """`base` and all it contains, transitively."""
        if (known := self._descendants.get(base)) is None:
            definition = self.definitions.get(base)
            children = definition.children if definition else ()
            known = frozenset({base}).union(*(self.descendants(child) for child in children))
            self._descendants[base] = known
        return known

    def expand(self, scopes: Iterable[str], owner: Owner | None = None) -> frozenset[str]:
        """All that `scopes` contain, bare filters put in; what cannot be resolved is dropped.

        `self` becomes a user's own scopes (nothing for a service); `inherit` is the caller's to
        resolve, it depends on what the owner holds now.
        """
        expanded: set[str] = set()
        for text in scopes:
            if text == "self":
                if owner is not None and owner.kind == "user":
                    for name in SELF:
                        expanded |= self._expand(Scope(name, "user", owner.name))
            elif text not in META:
                scope = self.check(text)
                if scope.kind and scope.value is None:
                    value = owner.resolve(scope.kind) if owner else None
                    if value is None:
                        continue
                    scope = Scope(scope.base, scope.kind, value)
                expanded |= self._expand(scope)
        return frozenset(expanded)

    def _expand(self, scope: Scope) -> AbstractSet[str]:
        names = self.descendants(scope.base)
        if not scope.kind:
            return names
        suffix = f"!{scope.kind}={scope.value}"
        if scope.kind == "server":
            # A server is no user: reading the user does not follow from reading one of their servers.
            return {name + suffix for name in names if not name.startswith("read:user")}
        return {name + suffix for name in names}

    def describe(self, text: str) -> str:
        """For people: what holding this scope allows."""
        scope = parse(text)
        if scope.base in META:
            return META[scope.base].description
        definition = self.definitions.get(scope.base)
        description = definition.description if definition else scope.base
        if not scope.kind:
            return description
        if scope.value is None:
            return f"{description} (own {scope.kind})" if scope.kind != "user" else f"{description} (yourself)"
        return f"{description} ({scope.kind}: {scope.value})"


def _custom(name: str, entry: Mapping[str, Any], all_custom: Mapping[str, Any]) -> Definition:
    if not _CUSTOM_NAME.fullmatch(name):
        raise Invalid(f"Invalid custom scope name '{name}': must match {_CUSTOM_NAME.pattern}", field="custom_scopes")
    if not isinstance(entry, Mapping) or not entry.get("description"):
        raise Invalid(f"Custom scope '{name}' needs a description", field="custom_scopes")
    if unknown := set(entry) - {"description", "subscopes"}:
        raise Invalid(f"Custom scope '{name}' has unknown keys: {', '.join(sorted(unknown))}", field="custom_scopes")
    children = tuple(entry.get("subscopes") or ())
    for child in children:
        if child not in all_custom:
            raise Invalid(
                f"Subscope '{child}' of custom scope '{name}' is not a defined custom scope",
                field="custom_scopes",
            )
    return Definition(str(entry["description"]), children)


class Grant:
    """For which resources one base scope is held: everything, or those the filters name."""

    __slots__ = ("everything", "group", "server", "service", "user")

    def __init__(self, *, everything: bool = False, filters: Mapping[str, Collection[str]] | None = None) -> None:
        filters = filters or {}
        self.everything = everything
        self.user: frozenset[str] = frozenset(filters.get("user", ()))
        self.group: frozenset[str] = frozenset(filters.get("group", ()))
        self.server: frozenset[str] = frozenset(filters.get("server", ()))
        self.service: frozenset[str] = frozenset(filters.get("service", ()))

    def for_user(self, name: str, groups: Collection[str] = ()) -> bool:
        return self.everything or name in self.user or not self.group.isdisjoint(groups)

    def for_server(self, full_name: str, groups: Collection[str] = ()) -> bool:
        """`full_name` is `user/server`; `groups` are that user's."""
        if self.everything or full_name in self.server:
            return True
        user, slash, _ = full_name.partition("/")
        return bool(slash) and self.for_user(user, groups)

    def for_group(self, name: str) -> bool:
        return self.everything or name in self.group

    def for_service(self, name: str) -> bool:
        return self.everything or name in self.service

    def covers(self, scope: Scope, groups_of: Mapping[str, Collection[str]] = NO_GROUPS) -> bool:
        """Whether a scope of this base (with its filter) is held."""
        if self.everything:
            return True
        value = scope.value or ""
        if scope.kind == "user":
            return self.for_user(value, groups_of.get(value, ()))
        if scope.kind == "server":
            return self.for_server(value, groups_of.get(value.partition("/")[0], ()))
        if scope.kind == "group":
            return value in self.group
        return scope.kind == "service" and value in self.service

    def texts(self, base: str) -> Iterable[str]:
        """Back to scopes: one for everything, else one for each filter."""
        if self.everything:
            yield base
            return
        for kind in FILTER_KINDS:
            for value in getattr(self, kind):
                yield f"{base}!{kind}={value}"


EVERYTHING = Grant(everything=True)


class ScopeSet:
    """Expanded scopes, indexed by base for checks. Immutable."""

    __slots__ = ("_grants",)

    def __init__(self, scopes: Iterable[str] = ()) -> None:
        """`scopes` come from `Catalogue.expand`: without bare filters and meta-scopes."""
        filters: dict[str, dict[str, set[str]] | None] = {}
        for text in scopes:
            scope = parse(text)
            if not scope.kind:
                filters[scope.base] = None
            elif (kinds := filters.setdefault(scope.base, {})) is not None and scope.value is not None:
                kinds.setdefault(scope.kind, set()).add(scope.value)
        self._grants: dict[str, Grant] = {
            base: EVERYTHING if kinds is None else Grant(filters=kinds) for base, kinds in filters.items()
        }

    def grant(self, base: str) -> Grant | None:
        """For which resources `base` is held; None: for none."""
        return self._grants.get(base)

    def covers(self, scope: str, groups_of: Mapping[str, Collection[str]] = NO_GROUPS) -> bool:
        """Whether `scope` is held. An unfiltered scope is not covered by a filtered one."""
        wanted = parse(scope)
        grant = self._grants.get(wanted.base)
        return grant is not None and grant.covers(wanted, groups_of)

    def __contains__(self, scope: str) -> bool:
        return self.covers(scope)

    def intersect(self, other: "ScopeSet", groups_of: Mapping[str, Collection[str]] = NO_GROUPS) -> "ScopeSet":
        """What both hold, filters compared through the hierarchy server < user < group."""
        texts: list[str] = []
        for base, mine in self._grants.items():
            theirs = other.grant(base)
            both = _both(mine, theirs, groups_of) if theirs is not None else None
            if both is not None:
                texts.extend(both.texts(base))
        return ScopeSet(texts)

    def union(self, other: "ScopeSet") -> "ScopeSet":
        return ScopeSet((*self.texts(), *other.texts()))

    def within(self, other: "ScopeSet", groups_of: Mapping[str, Collection[str]] = NO_GROUPS) -> list[str]:
        """Those of these scopes that `other` does not cover, sorted; empty: all are."""
        return [text for text in self.texts() if not other.covers(text, groups_of)]

    def users_named(self) -> frozenset[str]:
        """Users in user and server filters: whose groups may matter in a comparison."""
        names: set[str] = set()
        for grant in self._grants.values():
            names |= grant.user
            names |= {full.partition("/")[0] for full in grant.server}
        return frozenset(names)

    @property
    def has_group_filters(self) -> bool:
        return any(grant.group for grant in self._grants.values())

    def texts(self) -> tuple[str, ...]:
        """Sorted; an unfiltered scope hides filtered ones of its base."""
        return tuple(sorted(text for base, grant in self._grants.items() for text in grant.texts(base)))

    def __len__(self) -> int:
        return len(self._grants)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScopeSet) and self.texts() == other.texts()

    def __hash__(self) -> int:
        return hash(self.texts())

    def __repr__(self) -> str:
        return f"ScopeSet({list(self.texts())!r})"


def _both(a: Grant, b: Grant, groups_of: Mapping[str, Collection[str]]) -> Grant | None:
    if a.everything:
        return b
    if b.everything:
        return a
    filters: dict[str, set[str]] = {"group": set(a.group & b.group), "service": set(a.service & b.service)}
    filters["user"] = {u for u in a.user | b.user if all(g.for_user(u, groups_of.get(u, ())) for g in (a, b))}
    filters["server"] = {
        s for s in a.server | b.server if all(g.for_server(s, groups_of.get(s.partition("/")[0], ())) for g in (a, b))
    }
    return Grant(filters=filters) if any(filters.values()) else None


def identify_scopes(owner: Owner) -> frozenset[str]:
    """Implicitly part of every token: it may always say whose it is."""
    if owner.kind == "service":
        return frozenset({f"read:services:name!service={owner.name}"})
    return frozenset({f"read:users:name!user={owner.name}", f"read:users:groups!user={owner.name}"})


def access_scopes(owner: Owner) -> frozenset[str]:
    """Implicitly part of a token issued to a server or a service: access to that one."""
    if owner.client_server is not None:
        return frozenset({f"access:servers!server={owner.client_server}"})
    if owner.client_service is not None:
        return frozenset({f"access:services!service={owner.client_service}"})
    return frozenset()


def token_scopes(
    catalogue: Catalogue,
    stored: Collection[str],
    owner: Owner,
    held: ScopeSet,
    groups_of: Mapping[str, Collection[str]] = NO_GROUPS,
) -> ScopeSet:
    """What a token means now: its scopes, and those to say whose it is, cut to what its owner holds now.

    For checks the latter (`identify_scopes`) are added even where the owner does not hold them.
    """
    if "inherit" in stored:
        return held
    own = known_only(catalogue, stored)
    wanted = ScopeSet(catalogue.expand(own, owner) | access_scopes(owner) | identify_scopes(owner))
    return wanted.intersect(held, groups_of)


def known_only(catalogue: Catalogue, scopes: Iterable[str]) -> list[str]:
    """Without scopes that no longer exist: a custom scope removed from the configuration must not
    make the tokens and roles that still list it unusable."""
    known = []
    for text in scopes:
        try:
            catalogue.check(text)
        except Invalid:
            continue
        known.append(text)
    return known
