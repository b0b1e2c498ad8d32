"""A server as a local spawner gets it, and what its process was given."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from perijove.domain.ids import ServerId, UserId
from perijove.domain.ports import ServerSpec, UserFacts


def server_spec(**changes: Any) -> ServerSpec:
    """A named server of somebody with a group and auth state; `changes` are fields of it."""
    plain = ServerSpec(
        id=ServerId(11),
        user=UserFacts(id=UserId(3), name="ann@example.org", groups=("team-a",), auth_state={"key": "v"}),
        name="gpu",
        generation=4,
        api_token="fresh",  # noqa: S106 - of a server that never was
    )
    return replace(plain, **changes)


def environment_of(pid: int) -> dict[str, str]:
    """What the process was started with."""
    text = Path(f"/proc/{pid}/environ").read_text()
    return dict(item.split("=", 1) for item in text.split("\0") if "=" in item)
