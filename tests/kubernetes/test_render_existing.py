"""`perijove render`: what a namespace holds and a rendering drops is listed; notes are about a cluster."""

import json

import pytest
from typer.testing import CliRunner

from perijove.cli.exits import CommandFailed, Exit
from perijove.cli.main import app

CONFIG = "hub: {}\n"


@pytest.fixture
def run(tmp_path):
    def invoke(text: str, *options: str, existing: object = None):
        config = tmp_path / "config.yaml"
        config.write_text(text)
        words = ["render", "-n", "jhub", "-f", str(config), *options]
        if existing is not None:
            file = tmp_path / "there.json"
            file.write_text(existing if isinstance(existing, str) else json.dumps(existing))
            words += ["--existing", str(file)]
        return CliRunner().invoke(app, words)

    return invoke


def thing(kind: str, name: str, release: str = "jhub"):
    return {"kind": kind, "metadata": {"name": name, "namespace": "jhub", "labels": {"release": release}}}


def test_what_a_rendering_drops_is_listed_with_the_reason_and_left_alone(run):
    things = [thing("Service", "proxy-api"), thing("Service", "hub"), thing("Ingress", "mine"), thing("Job", "x", "y")]
    result = run(CONFIG, existing={"kind": "List", "items": things})
    assert result.exit_code == 0
    listed = [line.strip() for line in result.stderr.splitlines() if line.startswith("  ")]
    assert listed == ["Ingress mine", "Service proxy-api: nobody tells the proxies their routes; they ask the hub"]


def test_one_object_alone_is_a_list_of_one(run):
    assert "Ingress mine" in run(CONFIG, existing=thing("Ingress", "mine")).stderr


def test_nothing_is_listed_where_everything_is_rendered(run):
    assert run(CONFIG, existing={"items": [thing("Service", "hub")]}).stderr == ""


@pytest.mark.parametrize("text", ["not JSON", "[1]", '{"items": [1]}', '{"items": 5}'])
def test_a_file_without_objects_is_refused(run, text):
    failure = run(CONFIG, existing=text).exception
    assert isinstance(failure, CommandFailed)
    assert (failure.code, "no objects of Kubernetes" in failure.message) == (Exit.USAGE, True)


def test_a_missing_file_is_refused(run, tmp_path):
    failure = run(CONFIG, "--existing", str(tmp_path / "none.json")).exception
    assert isinstance(failure, CommandFailed)
    assert (failure.code, "No such file" in failure.message) == (Exit.USAGE, True)


def test_notes_are_about_a_cluster_and_name_places_literally(run):
    """Not `:100:`, which a terminal library takes for a picture."""
    text = (
        "hub:\n  db: {pvc: {storage: 2Gi}}\n" + "#\n" * 97 + "userPods: {nodeAffinity: {matchNodePurpose: require}}\n"
    )
    result = run(text)
    assert "one machine" not in result.stderr
    assert "config.yaml:100:1: `userPods`" in result.stderr
