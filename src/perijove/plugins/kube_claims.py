"""Whose volume a claim is. Pure: objects in, names out.

KubeSpawner writes the name of the user on what it makes, and that is believed before anything else: claims were
named by different schemes over the years, and what one scheme calls `a.b`'s another calls `a-2eb`'s. Only a claim
on which nobody wrote (made by hand, restored from a backup) is known by its label and its name.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from perijove.domain import slugs

USERNAME: Final = "hub.jupyter.org/username"
SERVERNAME: Final = "hub.jupyter.org/servername"
COMPONENT: Final = "component"
STORAGE: Final = "singleuser-storage"

# KubeSpawner's own template, z2jh's, and what both had before.
TEMPLATES: Final = (
    "claim-{user_server}",
    "claim-{username}",
    "claim-{username}--{servername}",
    "claim-{username}-{servername}",
    "claim-{username}{servername}",
)
_PREFIX: Final = "claim-"
_ESCAPED: Final = re.compile(r"((?:-[0-9a-f]{2})+)")
_SLUG_LENGTH: Final = 48


def owner_of(item: Mapping[str, Any]) -> tuple[str, str] | None:
    """User and server, as whoever made a claim or a pod wrote on it: labels of these names are escaped."""
    annotations = item["metadata"].get("annotations") or {}
    if USERNAME not in annotations:
        return None
    return str(annotations[USERNAME]), str(annotations.get(SERVERNAME, ""))


def claims_of(pod: Mapping[str, Any]) -> Iterator[str]:
    """What it mounts, by name."""
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if name := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
            yield str(name)


def is_marked(claim: Mapping[str, Any]) -> bool:
    """Made by KubeSpawner, as it says itself."""
    labels = claim["metadata"].get("labels") or {}
    return owner_of(claim) is not None or labels.get(COMPONENT) == STORAGE or USERNAME in labels


def looks_like_a_users(claim: Mapping[str, Any]) -> bool:
    return is_marked(claim) or str(claim["metadata"]["name"]).startswith(_PREFIX)


def may_be_of(claim: Mapping[str, Any], user: str, servers: Iterable[str] = (), templates: Iterable[str] = ()) -> bool:
    """Written on it, or, where nothing is, by its label or its name."""
    owner = owner_of(claim)
    if owner is not None:
        return owner[0] == user
    metadata = claim["metadata"]
    if (metadata.get("labels") or {}).get(USERNAME) in label_values(user):
        return True
    return metadata["name"] in set(names_of(user, servers, templates))


def label_values(user: str) -> tuple[str, ...]:
    """Of the label of KubeSpawner 7 and of those before."""
    values = (slugs.safe_label(user), slugs.escaped(user))
    return tuple(dict.fromkeys(value for value in values if value and slugs.is_label(value)))


def names_of(user: str, servers: Iterable[str] = (), templates: Iterable[str] = ()) -> Iterator[str]:
    """What the claims of a user's servers are called, under any scheme."""
    return expanded(user, ["", *servers], [*templates, *TEMPLATES])


def expanded(user: str, servers: Iterable[str], templates: Iterable[str]) -> Iterator[str]:
    """KubeSpawner's templates of names, under the scheme it has and the one it had."""
    for server in dict.fromkeys(servers):
        for template in dict.fromkeys(templates):
            for fields in (_safe(user, server), _escape(user, server)):
                try:
                    name = template.format(**fields)
                except (LookupError, ValueError):
                    # It needs what only the hub knows, as `{userid}` does.
                    continue
                yield name if template.endswith("-") else name.rstrip("-")


def decoded(name: str) -> str:
    """The user in a name of the old scheme; "" where it can be no such name: hashes cannot be read back."""
    if not name.startswith(_PREFIX) or "--" in name:
        return ""
    try:
        user = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].replace("-", "")).decode(), name[len(_PREFIX) :])
    except UnicodeDecodeError:
        return ""
    return user if user.isprintable() and _PREFIX + slugs.escaped(user) == name else ""


def _escape(user: str, server: str) -> dict[str, str]:
    username, servername = slugs.escaped(user), slugs.escaped(server)
    both = f"{username}--{servername}" if server else username
    return _fields(user, server, username, servername, both)


def _safe(user: str, server: str) -> dict[str, str]:
    username = slugs.safe(user, _SLUG_LENGTH)
    if not server:
        return _fields(user, server, username, "", username)
    servername = slugs.safe(server, _SLUG_LENGTH)
    both = f"{username}--{servername}"
    if len(both) > _SLUG_LENGTH:
        both = slugs.joined(user, server)
    return _fields(user, server, username, servername, both)


def _fields(user: str, server: str, username: str, servername: str, both: str) -> dict[str, str]:
    escaped, escaped_server = slugs.escaped(user), slugs.escaped(server)
    return {
        "username": username,
        "servername": servername,
        "user_server": both,
        "safe_username": slugs.safe(user, _SLUG_LENGTH),
        "safe_servername": slugs.safe(server, _SLUG_LENGTH) if server else "",
        "safe_user_server": both,
        "escaped_username": escaped,
        "escaped_servername": escaped_server,
        "escaped_user_server": f"{escaped}--{escaped_server}",
        "unescaped_username": user,
        "unescaped_servername": server,
    }
