"""Long runs: `nice -n 19 python -m perijove.testing.model --steps 100000 --database postgres`."""

import argparse
import logging
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from perijove.testing.model.driver import ModelFailed, run_model

# Steps of one run: then the next seed, on a fresh database.
RUN = 1000


@contextmanager
def _databases(kind: str) -> Iterator[Callable[[int], str]]:
    if kind == "postgres":
        from perijove.testing.databases import PostgreSQL  # noqa: PLC0415 - starts a server

        with PostgreSQL() as server:
            yield lambda _: server.create_database()
        return
    with tempfile.TemporaryDirectory(prefix="perijove-model-") as directory:
        yield lambda number: f"sqlite:///{Path(directory) / f'{number}.sqlite'}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m perijove.testing.model", description=__doc__)
    parser.add_argument("--steps", type=int, default=RUN)
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(1_000_000), help="of the first run; then seed + 1, …"
    )
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    failed = done = 0
    with _databases(given.database) as new:
        seed = given.seed
        while done < given.steps:
            steps, began = min(RUN, given.steps - done), time.monotonic()
            try:
                outcome = run_model(new(seed), seed_number=seed, steps=steps)
            except ModelFailed as failure:
                failed += 1
                print(f"FAILED {failure}\n", flush=True)  # noqa: T201 - a command
            else:
                took, hours = time.monotonic() - began, outcome.model_seconds / 3600
                done_well = (
                    f"{outcome.changes} changes of rows, {outcome.starts} servers, {hours:.1f} hours of the model"
                )
                print(f"seed {seed}: {steps} steps in {took:.1f} s, {done_well}", flush=True)  # noqa: T201
            done += steps
            seed += 1
    print(f"{done} steps on {given.database}, {failed} runs failed")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
