"""What a deploy tells, on a terminal: a line for what happened, one changing line for what is being waited for."""

from types import TracebackType
from typing import Self

from rich.markup import escape
from rich.status import Status

from perijove.cli.console import err


class Terminal:
    """`perijove.deploy.report.Report`. Without a terminal every line is printed, each once."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._waiting = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.pause()

    def pause(self) -> None:
        """Nothing moves until there is something to wait for again."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def done(self, text: str) -> None:
        err.print(f"[green]✓[/] {escape(text)}")

    def note(self, text: str) -> None:
        err.print(f"[bold blue]note:[/]  {escape(text)}")

    def trouble(self, text: str) -> None:
        err.print(f"[yellow]![/] {escape(text)}")

    def waiting(self, text: str) -> None:
        if text == self._waiting:
            return
        self._waiting = text
        if not err.is_terminal:
            err.print(escape(text))
        elif self._status is None:
            self._status = err.status(escape(text))
            self._status.start()
        else:
            self._status.update(escape(text))
