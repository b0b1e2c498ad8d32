"""Medians of all rounds, as a table for a person and as JSON for the README and for gates."""

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.measures import Row


@dataclass(frozen=True)
class Result:
    name: str
    unit: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    target: float
    met: bool
    database: str


def result(row: Row, ours: list[float], peer: list[float], peer_name: str, database: str) -> Result:
    mine, theirs = statistics.median(ours), statistics.median(peer)
    ratio = mine / theirs if row.more_is_better else theirs / mine
    return Result(
        name=row.name,
        unit=row.unit,
        ours=round(mine, 4),
        peer=round(theirs, 4),
        peer_name=peer_name,
        ratio=round(ratio, 2),
        target=row.target,
        met=ratio >= row.target,
        database=database,
    )


def write(results: list[Result], path: Path) -> None:
    """Rows of the same name and database are replaced; those that were not measured this time stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else []
    measured = {(found.name, found.database) for found in results}
    kept = [row for row in before if (row["name"], row.get("database")) not in measured]
    path.write_text(json.dumps([*(asdict(found) for found in results), *kept], indent=2) + "\n")


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
    Console(width=130).print(table)
