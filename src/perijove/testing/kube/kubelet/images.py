"""What images would hold. Nothing is pulled: containers see this machine's files, and an image says only what runs."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

# Prints nothing, ends at the first SIGTERM, as `pause` does.
PAUSE = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done")


@dataclass(frozen=True)
class Image:
    """What `docker inspect` would say of it."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = PAUSE
    environment: Mapping[str, str] = field(default_factory=dict)
    user: int = 0
    group: int = 0
    home: str = "/root"
    working_directory: str = "/"
    # Runs nothing, and is running: for thousands of pods.
    hollow: bool = False


@dataclass
class Images:
    """Patterns as of shells. Images of registries under `.invalid` never come, as on a real node."""

    known: dict[str, Image] = field(default_factory=dict)
    missing: set[str] = field(default_factory=lambda: {"*.invalid/*"})
    # How long a pull takes, by pattern; nodes keep what they pulled.
    pull_seconds: dict[str, float] = field(default_factory=dict)
    # By pattern: pulls that neither come nor fail until this is set.
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    _pulled: set[str] = field(default_factory=set)

    def find(self, name: str) -> Image:
        for pattern, image in reversed(self.known.items()):
            if fnmatchcase(name, pattern):
                return image
        return Image()

    def is_missing(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.missing)

    async def released(self, name: str) -> None:
        for pattern, event in list(self.held.items()):
            if fnmatchcase(name, pattern):
                await event.wait()

    def is_present(self, name: str) -> bool:
        return name in self._pulled

    def seconds(self, name: str) -> float:
        return next((value for pattern, value in self.pull_seconds.items() if fnmatchcase(name, pattern)), 0.0)

    def pulled(self, name: str) -> None:
        self._pulled.add(name)


def base_environment(image: Image) -> dict[str, str]:
    """What every container has from its image: the tools beside this interpreter come first."""
    path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": image.home, "LANG": "C.UTF-8", **image.environment}
