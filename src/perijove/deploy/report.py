"""What a deploy tells while it runs; a terminal shows it, a controller writes Events."""

from typing import Protocol


class Report(Protocol):
    def done(self, text: str) -> None:
        """Something was changed, or has come up."""
        ...

    def note(self, text: str) -> None:
        """Worth knowing."""
        ...

    def waiting(self, text: str) -> None:
        """What is being waited for; replaces what was said before."""
        ...

    def trouble(self, text: str) -> None:
        """What does not come up, and why; it may still."""
        ...


class Silence:
    """Tells nobody."""

    def done(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...

    def waiting(self, text: str) -> None: ...

    def trouble(self, text: str) -> None: ...
