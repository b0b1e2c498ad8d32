"""What the chart takes from the code is enough: its schema for all values, its rights for all that is rendered."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from perijove.config import ConfigError, load
from perijove.deploy.release import GeneratedSecrets, Release
from perijove.deploy.render import render
from perijove.testing.helm import CHART, ROOT

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*/config.yaml"))
REAL = sorted((ROOT.parent / "shared" / "configs").glob("*.yaml"))
MANAGE = {"get", "list", "watch", "create", "patch", "delete"}
# Plurals that are not the kind's name and an s.
PLURALS = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses", "HTTPProxy": "httpproxies"}


def refused(files):
    """What the schema says of values that the program takes."""
    schema = Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))
    for file in files:
        try:
            load([file])
            values = YAML(typ="safe").load(file) or {}
        except (ConfigError, YAMLError):
            continue
        for error in schema.iter_errors(values):
            yield f"{file}: {list(error.path)}: {error.message}"


def test_helm_refuses_no_values_that_the_program_takes():
    assert list(refused(GOLDEN)) == []


@pytest.mark.skipif(not REAL, reason="no directory ../shared/configs with configurations of others")
def test_nor_any_of_those_that_others_wrote():
    assert list(refused(REAL)) == []


def test_wrong_shapes_are_refused_by_helm_already():
    schema = Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))
    assert not schema.is_valid({"hub": {"replicas": [2]}})
    assert not schema.is_valid({"proxy": []})


@pytest.fixture(scope="module")
def rights():
    return YAML(typ="safe").load(CHART / "files" / "rbac.yaml")


def holds(rules, group, resource, verbs, names=()):
    """As Kubernetes judges: each verb by one rule, and a rule for names covers no more than these."""
    return all(
        any(
            group in rule["apiGroups"]
            and resource in rule["resources"]
            and verb in rule["verbs"]
            and (not rule.get("resourceNames") or (set(names) and set(names) <= set(rule["resourceNames"])))
            for rule in rules
        )
        for verb in verbs
    )


@pytest.mark.parametrize("config", GOLDEN, ids=lambda path: path.parent.name)
def test_the_controller_may_make_what_is_rendered_and_grants_only_what_it_holds(config, rights):
    loaded = load([config])
    rendered = render(loaded, Release(namespace="jhub", name="jhub"), GeneratedSecrets.generate())
    own = [*rights["namespace"], *rights["roles"]]
    extra = YAML(typ="safe").load(config) or {}
    asked = extra.get("rbac") or {}
    held = [*own, *rights["granted"], *asked.get("extraRules", [])]
    for manifest in rendered.manifests:
        kind, group = manifest["kind"], manifest["apiVersion"].rpartition("/")[0]
        if manifest["metadata"].get("namespace"):
            assert holds(own, group, PLURALS.get(kind, f"{kind.lower()}s"), MANAGE), kind
        if kind == "Role":
            for rule in manifest["rules"]:
                for resource in rule["resources"]:
                    names = rule.get("resourceNames") or ()
                    assert holds(held, rule["apiGroups"][0], resource, rule["verbs"], names), rule


def test_the_controller_may_not_do_more_than_deploy(rights):
    """No wildcard, no escalation, nothing of users' pods but looking and what the hub is granted."""
    rules = [rule for part in rights.values() for rule in part]
    for rule in rules:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
    assert not holds(rights["namespace"], "", "pods", {"delete"})
