"""A token for each scope of JupyterHub's, with each filter, and what it opens.

What the requests ask for is refused or exists already even for those who may: hubs are left as they were.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

from perijove.testing.sidebyside.script import Step, parse

# `ada` is in `crew` and has a server `gpu`; `bob` is outside of every filter.
FILTERS = ("", "!user=ada", "!group=crew", "!server=ada/gpu", "!service=probe", "!user")

# Families of scopes, and requests that tell who holds one.
_FAMILIES: Mapping[tuple[str, ...], Sequence[str]] = {
    ("read:users", "read:users:name", "read:users:groups", "read:users:activity", "read:roles:users", "read:roles"): (
        "GET ~/users/ada",
        "GET ~/users/bob",
        "GET ~/groups/crew",
    ),
    ("users", "list:users", "admin:users", "admin:auth_state"): (
        "GET ~/users?name_filter=b&sort=name",
        "GET ~/users/ada",
        "PATCH ~/users/bob []",
        "POST ~/users/ada {}",
    ),
    ("delete:users",): ("DELETE ~/users/nobody", "GET ~/users/ada"),
    ("users:activity",): ("POST ~/users/ada/activity {}", "POST ~/users/bob/activity {}"),
    ("servers", "read:servers", "start:servers", "delete:servers", "admin:servers", "admin:server_state"): (
        "GET ~/users/ada?include_stopped_servers=1",
        "GET ~/users/ada/servers/gpu",
        "PUT ~/users/ada/servers/gpu {}",
        "DELETE ~/users/bob/servers/nothing",
    ),
    ("tokens", "read:tokens"): (
        "GET ~/users/ada/tokens/a0",
        'POST ~/users/ada/tokens {"expires_in": 0}',
        "GET ~/users/bob/tokens/a0",
    ),
    (
        "groups",
        "list:groups",
        "read:groups",
        "read:groups:name",
        "admin:groups",
        "delete:groups",
        "read:roles:groups",
    ): (
        "GET ~/groups",
        'POST ~/groups/crew/users {"users": ["ada"]}',
        "GET ~/groups/crew",
        "GET ~/groups/empty",
        "DELETE ~/groups/nothing",
    ),
    ("admin:services", "list:services", "read:services", "read:services:name", "read:roles:services"): (
        "GET ~/services",
        "GET ~/services/probe",
        "POST ~/services/probe {}",
        "GET ~/services/plain",
    ),
    ("shares", "read:shares"): (
        "GET ~/shares/ada",
        "GET ~/shares/ada/gpu",
        "POST ~/shares/ada/gpu []",
        "GET ~/share-codes/bob",
    ),
    ("users:shares", "read:users:shares", "groups:shares", "read:groups:shares"): (
        "GET ~/users/ada/shared",
        "GET ~/groups/crew/shared",
        "DELETE ~/users/ada/shared/bob/nothing",
        "GET ~/users/bob/shared",
    ),
    ("read:hub",): ("GET ~/info",),
    ("read:metrics",): ("GET ~/metrics",),
    ("proxy",): ("GET ~/proxy?limit=0", "PATCH ~/proxy []"),
    ("shutdown",): ("POST ~/shutdown nonsense",),
    ("admin-ui",): ("GET /hub/admin",),
    ("access:servers",): ("GET ~/users/ada", "GET ~/users/ada/servers/gpu"),
    ("access:services",): ("GET ~/services/probe",),
    ("custom:grades:read", "custom:grades:write", "self", "inherit"): ("GET ~/user", "GET ~/users/ada"),
}


def steps() -> Iterator[Step]:
    yield from parse("\n".join(_lines()))


def _lines() -> Iterator[str]:
    yield "## Scopes and their filters"
    yield "ada PUT ~/users/ada/servers/gpu"
    for bases, probes in _FAMILIES.items():
        for scope in (f"{base}{kind}" for base in bases for kind in FILTERS):
            token = f"t_{''.join(letter if letter.isalnum() else '_' for letter in scope)}"
            yield f"chief POST ~/users/chief/tokens {json.dumps({'scopes': [scope]})}"
            yield f"    save: {token} = token"
            # The rest with one filter only, for the sake of time.
            asked = probes if "!" not in scope or scope.endswith("!user=ada") else probes[:2]
            yield from (f"{token} {probe}" for probe in asked)
    # Of the issuing server or service, of which there is none.
    yield from (f'chief POST ~/users/chief/tokens {{"scopes": ["{scope}"]}}' for scope in _BARE)


_BARE = ("access:servers!server", "read:servers!server", "access:services!service", "read:services!service")
