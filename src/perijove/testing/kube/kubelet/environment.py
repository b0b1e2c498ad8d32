"""A container's environment and arguments, resolved.

All pods share this machine's network, where "all addresses" would be everybody's: 0.0.0.0 in a variable or an argument
(KubeSpawner's JUPYTERHUB_SERVICE_URL, a server's --ip) becomes the pod's own address, and so does an option for an
address that is left empty or any (`--ip=`, `--hub-ip=*`). What a program binds of itself to the wildcard address is
bound for all.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from perijove.testing.kube.api.objects import Objects
from perijove.testing.kube.objects.quantities import amount
from perijove.testing.kube.objects.resources import Object

WILDCARD = "0.0.0.0"  # noqa: S104 - looked for, not bound
_ANY_ADDRESS = re.compile(r"(?P<option>--([a-z]+-)?ip=)\*?")
_REFERENCE = re.compile(r"\$(\$|\((?P<name>[-._a-zA-Z][-._a-zA-Z0-9]*)\))")


class ConfigMissing(Exception):
    """CreateContainerConfigError: a configMap, secret or key that is not optional is not there."""


@dataclass
class Resolver:
    objects: Objects
    pod: Object
    pod_ip: str
    host_ip: str

    def environment(self, container: Object, base: Mapping[str, str]) -> dict[str, str]:
        """Raises `ConfigMissing`."""
        result = dict(base)
        if self.pod["spec"].get("enableServiceLinks", True):
            result |= self._service_links()
        for source in container.get("envFrom") or ():
            result |= self._all_of(source)
        for variable in container.get("env") or ():
            name = variable["name"]
            if (source := variable.get("valueFrom")) is not None:
                value = self._value(source, container)
                if value is not None:
                    result[name] = value
            else:
                result[name] = expanded(variable.get("value") or "", result)
        return {name: value.replace(WILDCARD, self.pod_ip) for name, value in result.items()}

    def arguments(self, words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        return [self._own(expanded(word, environment)) for word in words]

    def _own(self, word: str) -> str:
        if any_address := _ANY_ADDRESS.fullmatch(word):
            return any_address["option"] + self.pod_ip
        return word.replace(WILDCARD, self.pod_ip)

    def _value(self, source: Object, container: Object) -> str | None:
        if (reference := source.get("secretKeyRef")) is not None:
            return self._key("secrets", "secret", reference)
        if (reference := source.get("configMapKeyRef")) is not None:
            return self._key("configmaps", "configmap", reference)
        if (reference := source.get("fieldRef")) is not None:
            return self.field(reference["fieldPath"])
        if (reference := source.get("resourceFieldRef")) is not None:
            return self._amount(reference, container)
        return None

    def _key(self, plural: str, kind: str, reference: Object) -> str | None:
        namespace = self.pod["metadata"]["namespace"]
        found = self.objects.store.get(self.objects.resource(plural), namespace, reference["name"])
        if found is None:
            if reference.get("optional"):
                return None
            raise ConfigMissing(f'{kind} "{reference["name"]}" not found')
        values = texts(plural, found)
        if reference["key"] not in values and not reference.get("optional"):
            words = {"secrets": "Secret", "configmaps": "ConfigMap"}[plural]
            raise ConfigMissing(f"couldn't find key {reference['key']} in {words} {namespace}/{reference['name']}")
        return values.get(reference["key"])

    def _all_of(self, source: Object) -> dict[str, str]:
        for key, plural, kind in (("secretRef", "secrets", "secret"), ("configMapRef", "configmaps", "configmap")):
            if (reference := source.get(key)) is not None:
                namespace = self.pod["metadata"]["namespace"]
                found = self.objects.store.get(self.objects.resource(plural), namespace, reference["name"])
                if found is not None:
                    prefix = source.get("prefix", "")
                    return {f"{prefix}{name}": value for name, value in texts(plural, found).items()}
                if not reference.get("optional"):
                    raise ConfigMissing(f'{kind} "{reference["name"]}" not found')
        return {}

    def field(self, path: str) -> str:
        metadata, spec = self.pod["metadata"], self.pod["spec"]
        if match := re.match(r"^metadata\.(labels|annotations)\['(.+)'\]$", path):
            return str((metadata.get(match[1]) or {}).get(match[2], ""))
        known = {
            "metadata.name": metadata["name"],
            "metadata.namespace": metadata["namespace"],
            "metadata.uid": metadata["uid"],
            "spec.nodeName": spec.get("nodeName", ""),
            "spec.serviceAccountName": spec.get("serviceAccountName", ""),
            "status.podIP": self.pod_ip,
            "status.podIPs": self.pod_ip,
            "status.hostIP": self.host_ip,
        }
        if path in ("metadata.labels", "metadata.annotations"):
            entries = sorted((metadata.get(path.rpartition(".")[2]) or {}).items())
            return "\n".join(f'{key}="{value}"' for key, value in entries)
        return str(known[path])

    def _amount(self, reference: Object, container: Object) -> str:
        kind, _, name = reference["resource"].partition(".")
        value = ((container.get("resources") or {}).get(kind) or {}).get(name, 0)
        return str(-int(-amount(value) // amount(reference.get("divisor") or 1)))

    def _service_links(self) -> dict[str, str]:
        """Docker's old way of finding neighbours, which configurations of hubs still use."""
        result: dict[str, str] = {}
        for service in self.objects.store.items(self.objects.resource("services"), self.pod["metadata"]["namespace"]):
            result |= dict(_links(service))
        return result


def _links(service: Object) -> Iterator[tuple[str, str]]:
    spec = service["spec"]
    address, ports = spec.get("clusterIP"), spec.get("ports") or ()
    if not ports or address in (None, "", "None"):
        return
    name = service["metadata"]["name"].upper().replace("-", "_")
    yield f"{name}_SERVICE_HOST", address
    yield f"{name}_SERVICE_PORT", str(ports[0]["port"])
    for port in ports:
        if port.get("name"):
            yield f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}", str(port["port"])


def texts(plural: str, item: Object) -> dict[str, str]:
    return {key: value.decode(errors="replace") for key, value in contents(plural, item).items()}


def contents(plural: str, item: Object) -> dict[str, bytes]:
    """What a configMap or secret holds, decoded."""
    if plural == "secrets":
        return {key: base64.b64decode(value) for key, value in (item.get("data") or {}).items()}
    plain = {key: value.encode() for key, value in (item.get("data") or {}).items()}
    return plain | {key: base64.b64decode(value) for key, value in (item.get("binaryData") or {}).items()}


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """`$(NAME)`; `$$(NAME)` is left as `$(NAME)`, and so is a name that nobody set."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return environment.get(match["name"], match[0])

    return _REFERENCE.sub(one, text)
