"""Medians of all rounds, as a table for a person and as JSON beside the hub's rows."""

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.proxy.measures import Row, Sample
from perijove.testing.npm import CHP_VERSION


@dataclass(frozen=True)
class Line:
    """The fields of the hub's rows, and what only proxies have; 0 where nothing was measured."""

    name: str
    unit: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    target: float
    met: bool
    nginx: float
    haproxy: float
    of_nginx: float
    of_nginx_target: float
    # Of the proxy's processor, for a request.
    ours_cpu_us: float
    peer_cpu_us: float
    nginx_cpu_us: float
    haproxy_cpu_us: float
    # The ratios of those: what the rates come to where nothing else is on the processors.
    cpu_ratio: float
    cpu_of_nginx: float
    part: str = "proxy"


def line(row: Row, taken: dict[str, list[Sample]], peer: str = f"configurable-http-proxy {CHP_VERSION}") -> Line:
    value = {name: statistics.median(sample.value for sample in found) for name, found in taken.items()}
    cpu = {name: statistics.median(sample.cpu_us for sample in found) for name, found in taken.items()}

    def to(other: str) -> float:
        if not value.get(other):
            return 0.0
        return value["perijove"] / value[other] if row.more_is_better else value[other] / value["perijove"]

    return Line(
        name=row.name,
        unit=row.unit,
        ours=round(value["perijove"], 4),
        peer=round(value["chp"], 4),
        peer_name=peer,
        ratio=round(to("chp"), 2),
        target=row.target,
        met=to("chp") >= row.target and to("nginx") >= row.of_nginx,
        nginx=round(value.get("nginx", 0.0), 4),
        haproxy=round(value.get("haproxy", 0.0), 4),
        of_nginx=round(to("nginx"), 2),
        of_nginx_target=row.of_nginx,
        ours_cpu_us=round(cpu["perijove"], 1),
        peer_cpu_us=round(cpu["chp"], 1),
        nginx_cpu_us=round(cpu.get("nginx", 0.0), 1),
        haproxy_cpu_us=round(cpu.get("haproxy", 0.0), 1),
        cpu_ratio=round(cpu["chp"] / cpu["perijove"], 2) if cpu["perijove"] else 0.0,
        cpu_of_nginx=round(cpu.get("nginx", 0.0) / cpu["perijove"], 2) if cpu["perijove"] else 0.0,
    )


def write(lines: list[Line], path: Path) -> None:
    """Rows of the same name are replaced; those that were not measured this time stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else []
    names = {found.name for found in lines}
    kept = [row for row in before if row.get("part") != "proxy" or row["name"] not in names]
    path.write_text(json.dumps([*kept, *(asdict(found) for found in lines)], indent=2) + "\n")


def show(lines: list[Line]) -> None:
    table = Table(title="Our proxy beside its peers (medians; a ratio above 1 is in our favour)")
    table.add_column("measure")
    table.add_column("unit")
    for column in ("Perijove", "CHP", "nginx", "haproxy", "ratio", "target", "of nginx", "target"):
        table.add_column(column, justify="right")
    table.add_column("met")
    for column in ("CPU us of each", "ratio", "of nginx"):
        table.add_column(column, justify="right")
    for found in lines:
        values = (found.ours, found.peer, found.nginx, found.haproxy)
        each = (found.ours_cpu_us, found.peer_cpu_us, found.nginx_cpu_us, found.haproxy_cpu_us)
        cpu = " / ".join(f"{value:g}" for value in each if value)
        table.add_row(
            *(found.name, found.unit, *(f"{value:,.4g}" if value else "" for value in values)),
            *(f"{found.ratio:.2f}", f"{found.target:g}"),
            *(f"{found.of_nginx:.2f}" if found.nginx else "", f"{found.of_nginx_target:g}"),
            "[green]yes[/]" if found.met else "[red]no[/]",
            *(cpu, f"{found.cpu_ratio:.2f}" if cpu else "", f"{found.cpu_of_nginx:.2f}" if found.nginx and cpu else ""),
        )
    Console(width=190).print(table)
