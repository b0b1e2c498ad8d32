"""A minute of the coverage-guided fuzzer in every run of the suite; `make fuzz` runs it for longer."""

import os
import re
import subprocess
from base64 import b64decode
from pathlib import Path

import pytest

from perijove.testing.parsing import check_any

ROOT = Path(__file__).parents[2]
FUZZ = ROOT / os.environ.get("FUZZ", "build/fuzz")
SECONDS = 60


@pytest.mark.slow
def test_a_minute_of_fuzzing_finds_no_second_reading(tmp_path):
    """Of heads, chunks, paths and calls of the REST API; guided by coverage, or a minute would find nothing at all."""
    if not (FUZZ / ".stamp").exists():
        pytest.skip(f"no atheris in {FUZZ}: `make {FUZZ}/.stamp` installs it where it has a wheel for this Python")
    command = ["nice", "-n", "19", str(FUZZ / "bin" / "python"), str(ROOT / "scripts" / "fuzz-proxy")]
    options = [str(tmp_path / "corpus"), f"-artifact_prefix={tmp_path}/", f"-max_total_time={SECONDS}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*command, *options], check=False, capture_output=True, text=True, timeout=SECONDS * 5, env=environment
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    assert int(re.search(r"number_of_executed_units: (\d+)", done.stderr)[1]) > 5_000
    # Edges of the instrumented code, of which the seeds alone reach some 530.
    assert max(int(edges) for edges in re.findall(r"cov: (\d+)", done.stderr)) > 530


def test_what_earlier_runs_reached_still_has_one_reading():
    """The kept corpus: each input reaches something that no other does."""
    kept = (ROOT / "tests" / "fuzz-corpus.txt").read_text(encoding="ascii").split()
    assert len(kept) > 100
    for line in kept:
        check_any(b64decode(line))
