"""What pods are told to run is what `perijove` understands."""

from pathlib import Path

import pytest
import typer

from perijove.cli.main import app
from perijove.config import load
from perijove.deploy.release import GeneratedSecrets, Release
from perijove.deploy.render import render

CONFIGS = sorted((Path(__file__).parent / "golden").glob("*/config.yaml"))


def options(command: str) -> set[str]:
    group = typer.main.get_command(app)
    return {name for option in group.commands[command].params for name in option.opts}


@pytest.mark.parametrize("name", ["hub", "proxy"])
def test_every_option_in_a_manifest_is_one_of_the_command(name):
    known = options(name)
    for config in CONFIGS:
        manifests = render(load([config]), Release(namespace="jhub"), GeneratedSecrets.generate()).manifests
        given = arguments(manifests, name)
        assert {argument.partition("=")[0] for argument in given if argument.startswith("--")} <= known, config


def arguments(manifests, component: str) -> list[str]:
    """Those of our own command; a configuration may have put another in its place."""
    (container,) = (
        manifest["spec"]["template"]["spec"]["containers"][0]
        for manifest in manifests
        if manifest["kind"] == "Deployment" and manifest["metadata"]["labels"]["component"] == component
    )
    words = [*container.get("command", []), *container["args"]]
    return words[words.index("perijove") :] if "perijove" in words else []
