"""How a command ends: one exit code a cause, and one error message that says what to do.

Scripts branch on the code, so it is a promise: docs/reference/cli.md lists it.
"""

from enum import IntEnum
from typing import Self


class Exit(IntEnum):
    """Exit codes of every `perijove` command, each with its meaning."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "Done."
    FAILURE = 1, "Something went wrong while running."
    USAGE = 2, "The command line or the configuration is wrong; nothing was started or changed."
    UNAVAILABLE = 3, "Something needed is taken or does not answer: a port, the data directory, the database."


class CommandFailed(Exception):
    """Ends the command with `code`; `remedy` says what the operator can do about it."""

    def __init__(self, message: str, *, remedy: str = "", code: Exit = Exit.FAILURE) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code
