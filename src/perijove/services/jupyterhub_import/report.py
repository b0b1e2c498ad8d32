"""What an import did: how many of each kind were taken, and what was left, each with its reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

# In the order in which they are told.
KINDS = (
    "users",
    "groups",
    "memberships",
    "roles",
    "role assignments",
    "services",
    "servers",
    "running servers",
    "OAuth clients",
    "tokens",
    "auth states",
    "shares",
    "share codes",
)


@dataclass(slots=True)
class Report:
    """`left` has names by (kind, reason)."""

    source: str = ""
    release: str = ""
    taken: Counter[str] = field(default_factory=Counter)
    left: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    # When this database had taken an import before: nothing was done.
    already: str = ""

    def take(self, kind: str, count: int = 1) -> None:
        self.taken[kind] += count

    def leave(self, kind: str, name: str, reason: str) -> None:
        self.left.setdefault((kind, reason), []).append(name)

    def lines(self) -> Sequence[str]:
        """For a person, without markup."""
        told = [f"{self.taken[kind]:>8}  {kind}" for kind in KINDS if self.taken[kind]]
        if not told:
            told = ["nothing"]
        if self.left:
            told += ["", "Not taken:"]
            told += [f"{len(names):>8}  {kind}: {reason}{_some(names)}" for (kind, reason), names in self.left.items()]
        if self.notes:
            told += ["", "To know:"]
            told += [f"  - {note}" for note in self.notes]
        return told


def _some(names: Sequence[str], most: int = 5) -> str:
    shown = [name for name in names if name][:most]
    if not shown:
        return ""
    more = ", …" if len(names) > most else ""
    return f" ({', '.join(shown)}{more})"
