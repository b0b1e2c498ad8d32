"""Label and field selectors, as query strings have them and as objects carry them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from perijove.testing.kube.objects.failures import bad_request
from perijove.testing.kube.objects.resources import Object

Predicate = Callable[[Object], bool]
_LabelTest = Callable[[Mapping[str, str]], bool]

_SET = re.compile(r"^(?P<key>\S+)\s+(?P<operator>in|notin)\s*\((?P<values>[^)]*)\)$")
_EQUALITY = re.compile(r"^(?P<key>[^=!\s]+)\s*(?P<operator>==|=|!=)\s*(?P<value>[^=!\s]*)$")
_KEY = re.compile(r"^(?P<absent>!?)\s*(?P<key>[A-Za-z0-9][A-Za-z0-9._/-]*)$")

# Which fields each kind can be selected by; metadata.name and metadata.namespace always can.
_FIELDS: Mapping[str, frozenset[str]] = {
    "pods": frozenset(
        {
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        }
    ),
    "events": frozenset(
        {
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        }
    ),
    "secrets": frozenset({"type"}),
    "namespaces": frozenset({"status.phase"}),
    "nodes": frozenset({"spec.unschedulable"}),
    "jobs": frozenset({"status.successful"}),
    "replicasets": frozenset({"status.replicas"}),
    "services": frozenset({"spec.clusterIP", "spec.type"}),
}


def label_predicate(selector: str) -> Predicate:
    """Raises a 400 for what cannot be parsed."""
    tests = [_requirement(part.strip()) for part in _split(selector) if part.strip()]
    return lambda item: _all(tests, item.get("metadata", {}).get("labels") or {})


def object_selector(selector: Mapping[str, Any] | None) -> _LabelTest:
    """`matchLabels` and `matchExpressions`. None selects nothing, {} everything."""
    if selector is None:
        return lambda _labels: False
    tests: list[_LabelTest] = [_equals(key, str(value)) for key, value in (selector.get("matchLabels") or {}).items()]
    tests += [_expression(entry) for entry in selector.get("matchExpressions") or ()]
    return lambda labels: _all(tests, labels)


def _all(tests: list[_LabelTest], labels: Mapping[str, str]) -> bool:
    return all(test(labels) for test in tests)


def _split(selector: str) -> list[str]:
    """At commas outside parentheses."""
    return re.split(r",(?![^()]*\))", selector)


def _requirement(text: str) -> _LabelTest:
    if match := _SET.match(text):
        values = [value.strip() for value in match["values"].split(",")]
        operator = {"in": "In", "notin": "NotIn"}[match["operator"]]
        return _expression({"key": match["key"], "operator": operator, "values": values})
    if match := _EQUALITY.match(text):
        if match["operator"] == "!=":
            return _expression({"key": match["key"], "operator": "NotIn", "values": [match["value"]]})
        return _equals(match["key"], match["value"])
    if match := _KEY.match(text):
        return _expression({"key": match["key"], "operator": "DoesNotExist" if match["absent"] else "Exists"})
    raise bad_request(f"unable to parse requirement: found '{text}', expected: a label requirement")


def _equals(key: str, value: str) -> _LabelTest:
    return lambda labels: labels.get(key) == value


def _expression(entry: Mapping[str, Any]) -> _LabelTest:
    key, operator, values = str(entry["key"]), entry["operator"], list(entry.get("values") or ())
    match operator:
        case "In":
            return lambda labels: key in labels and labels[key] in values
        case "NotIn":
            return lambda labels: labels.get(key) not in values
        case "Exists":
            return lambda labels: key in labels
        case "DoesNotExist":
            return lambda labels: key not in labels
        case "Gt":
            return lambda labels: labels.get(key, "").isdigit() and int(labels[key]) > int(values[0])
        case "Lt":
            return lambda labels: labels.get(key, "").isdigit() and int(labels[key]) < int(values[0])
        case _:
            raise bad_request(f'"{operator}" is not a valid label selector operator')


def field_predicate(plural: str, selector: str) -> Predicate:
    tests: list[tuple[str, str, bool]] = []
    for part in selector.split(","):
        if not part.strip():
            continue
        match = re.match(r"^(?P<path>[^=!]+?)(?P<operator>==|=|!=)(?P<value>.*)$", part.strip())
        if match is None:
            raise bad_request(f"invalid selector: '{selector}'; can't understand '{part}'")
        path = match["path"].strip()
        if path not in ("metadata.name", "metadata.namespace") and path not in _FIELDS.get(plural, ()):
            raise bad_request(f'field label not supported: "{path}"')
        tests.append((path, match["value"].strip(), match["operator"] != "!="))
    return lambda item: all((_at(item, path) == value) is wanted for path, value, wanted in tests)


def _at(item: Object, path: str) -> str:
    value: Any = item
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
