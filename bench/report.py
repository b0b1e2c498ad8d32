"""Medians of all rounds, as a table for a person and as JSON for the README and for gates."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.measures import Row


@dataclass(frozen=True)
class Result:
    """One number beside another one's: that of the peer, or of our own where the peer has none."""

    name: str
    unit: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    target: float
    met: bool
    database: str
    part: str = "hub"
    # What else was seen in these rounds; not judged.
    beside: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """What clients saw that went on asking while something broke: of all rounds, the worst."""

    name: str
    database: str
    who: str
    rounds: int
    # Each kind of request with how many there were, how many failed, and the longest time without an answer.
    requests: dict[str, dict[str, Any]]
    target: str
    # None where nothing is promised.
    met: bool | None
    part: str = "interruption"


def result(
    row: Row,
    ours: list[float],
    peer: list[float],
    peer_name: str,
    database: str,
    *,
    part: str = "hub",
    beside: dict[str, float] | None = None,
) -> Result:
    mine, theirs = statistics.median(ours), statistics.median(peer)
    ratio = mine / theirs if row.more_is_better else theirs / mine
    return Result(
        name=row.name,
        unit=row.unit,
        ours=round(mine, 4),
        peer=round(theirs, 4),
        peer_name=peer_name,
        ratio=round(ratio, 2),
        target=round(row.target, 3),
        met=ratio >= row.target,
        database=database,
        part=part,
        beside=beside or {},
    )


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return row.get("part", "hub"), row["name"], row.get("database", "sqlite"), row.get("who", "")


def write(results: Sequence[Result | Seen], path: Path) -> None:
    """Rows of the same name and database are replaced where they stand; those not measured this time stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {_key(row): row for row in (json.loads(path.read_text()) if path.exists() else [])}
    rows |= {_key(row): row for row in map(asdict, results)}
    path.write_text(json.dumps(list(rows.values()), indent=2) + "\n")


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def show(results: list[Result]) -> None:
    table = Table(title="Perijove beside its peer (medians; a ratio above 1 is in our favour)")
    for column, justify in (("measure", "left"), ("unit", "left"), ("Perijove", "right"), ("peer", "right")):
        table.add_column(column, justify=justify)
    for column in ("ratio", "target"):
        table.add_column(column, justify="right")
    table.add_column("met")
    for line in results:
        table.add_row(
            line.name if line.database == "sqlite" else f"{line.name} ({line.database})",
            line.unit,
            _shown(line.ours),
            f"{_shown(line.peer)} ({line.peer_name})",
            f"{line.ratio:.2f}",
            f"{line.target:g}",
            "[green]yes[/]" if line.met else "[red]no[/]",
        )
    Console(width=150).print(table)


def show_seen(seen: list[Seen]) -> None:
    table = Table(title="What clients see (of all rounds, the worst)")
    for column in ("what happens", "whose", "requests", "failed", "longest without answer", "target", "met"):
        table.add_column(column)
    for line in seen:
        for kind, found in line.requests.items():
            table.add_row(
                *(line.name, line.who, kind, f"{found['failed']} of {found['asked']} {found['answers'] or ''}"),
                *(
                    f"{found['gap_s']:.3f} s",
                    line.target,
                    {None: "", True: "[green]yes[/]"}.get(line.met, "[red]no[/]"),
                ),
            )
    Console(width=170).print(table)
