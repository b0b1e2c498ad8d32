"""Helm itself against a cluster, where `make test` found a Python that can have it; elsewhere the test is skipped."""

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[3]
CHART: Final = ROOT / "chart"
_PYTHON: Final = Path(os.environ.get("PERIJOVE_TEST_HELM", ROOT / "build" / "helm")) / "bin" / "python"

# Runs in the other Python.
_PROGRAM: Final = Path(__file__).with_name("helm_process.py")


class HelmFailed(Exception):
    """In Helm's words."""


@dataclass
class Helm:
    kubeconfig: Path
    namespace: str

    @classmethod
    def or_skip(cls, kubeconfig: Path, namespace: str) -> "Helm":
        if not _PYTHON.exists():
            pytest.skip(
                f"Helm needs a Python 3.12 or newer, and there is none in {_PYTHON.parent}: make build/helm/.stamp"
            )
        return cls(kubeconfig, namespace)

    async def run(self, action: str, **arguments: Any) -> Any:
        """Raises `HelmFailed`."""
        asked = {
            "kubeconfig": str(self.kubeconfig),
            "namespace": self.namespace,
            "action": action,
            "arguments": arguments,
        }
        process = await asyncio.create_subprocess_exec(
            str(_PYTHON),
            str(_PROGRAM),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(json.dumps(asked).encode())
        if process.returncode:
            raise HelmFailed(err.decode() or out.decode())
        return json.loads(out.decode().rstrip().rpartition("\n")[2])

    async def install(self, release: str, values: Any, **options: Any) -> Any:
        return await self.run("install", release_name=release, chart_path=str(CHART), values=values, **options)

    async def upgrade(self, release: str, values: Any, **options: Any) -> Any:
        return await self.run("upgrade", release_name=release, chart_path=str(CHART), values=values, **options)
