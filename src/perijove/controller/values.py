"""The values as the chart's Secret has them, mounted as files.

The kubelet replaces all files of a volume at once, by turning a link; they are read behind the link, so that what is
read belongs together.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

VALUES: Final = "values.yaml"
_CHECKSUM: Final = "checksum"
_IMAGE: Final = "image"
_LINK: Final = "..data"
_LOOK_SECONDS: Final = 1.0
_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Values:
    """`file` for `perijove.config.load`; the directory may be gone a minute later."""

    file: Path
    checksum: str
    image: str


def read(directory: Path) -> Values:
    """Raises `OSError` where there are none."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return _read(directory)
        except FileNotFoundError:
            # The link was turned, and the files behind it deleted, in between.
            continue
    return _read(directory)


def _read(directory: Path) -> Values:
    link = directory / _LINK
    real = link.resolve() if link.exists() else directory
    checksum, image = ((real / name).read_text(encoding="utf-8").strip() for name in (_CHECKSUM, _IMAGE))
    return Values(real / VALUES, checksum, image)


async def watch(directory: Path, changed: Callable[[], None]) -> None:
    """By looking: notifications do not tell of links in volumes that the kubelet turns."""
    seen = read(directory).checksum
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        now = read(directory).checksum
        if now != seen:
            seen = now
            changed()
