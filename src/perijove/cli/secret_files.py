"""Tokens for commands: from a file or from the environment, never from the command line, which everybody can see."""

import os
from pathlib import Path

from perijove.cli.exits import CommandFailed, Exit


def token_of(file: Path | None, variable: str) -> str:
    """The file's where one is named; "" where nobody gave any."""
    if file is None:
        return os.environ.get(variable, "")
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CommandFailed(f"Cannot read {file}: {error.strerror}.", code=Exit.USAGE) from error
    except UnicodeDecodeError as error:
        raise CommandFailed(f"Cannot read {file}: it is not text.", code=Exit.USAGE) from error
