"""What the API server may answer instead, as conditions; its own words are the message.

    KubeError
    ├── ClusterNotFound              no kubeconfig, no such context, a plug-in that fails
    ├── ClusterUnavailable           no answer, or 429 and 5xx until patience ended
    ├── NotAuthenticated             401
    ├── NotPermitted                 403 by roles ── QuotaExceeded, NamespaceEnding: 403 for another reason
    ├── ObjectNotFound               404
    ├── KindUnknown                  404 for the kind itself
    ├── ObjectExists                 409 at creation
    ├── ObjectChanged                409: stale resourceVersion, or another object by now
    ├── FieldConflict(conflicts)     409 at apply: who holds which field
    ├── ObjectInvalid(causes)        400, 422
    └── Expired                      410: list again

`remedy` says what the operator can do, where we know it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from perijove.domain.errors import HubError, Unavailable

_MANAGER: Final = re.compile(r'conflict with "((?:[^"\\]|\\.)*)"')
# `User "ada" cannot patch resource "deployments" in API group "apps" in the namespace "jhub"`
_DENIED: Final = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)" '
    r'(?:in the namespace "(?P<namespace>[^"]+)"|at the cluster scope)'
)


class KubeError(HubError):
    """Kubernetes refuses."""

    def __init__(self, message: str = "", *, remedy: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.status = status


class ClusterNotFound(KubeError):
    """There is no cluster to talk to."""


class ClusterUnavailable(KubeError, Unavailable):
    """The cluster does not answer."""

    def __init__(
        self, message: str = "", *, remedy: str = "", status: int = 0, retry_after_seconds: int | None = None
    ) -> None:
        Unavailable.__init__(self, message)
        self.remedy = remedy
        self.status = status
        # 0 where the server did not say.
        self.retry_after_seconds = retry_after_seconds or 0


class NotAuthenticated(KubeError):
    """The cluster does not know who asks."""


class NotPermitted(KubeError):
    """The cluster does not allow it."""


class QuotaExceeded(NotPermitted):
    """The namespace's quota does not allow it."""


class NamespaceEnding(NotPermitted):
    """The namespace is being deleted."""


class ObjectNotFound(KubeError):
    """There is no such object."""


class KindUnknown(KubeError):
    """The cluster does not know this kind of object."""


class ObjectExists(KubeError):
    """The object is there already."""


class ObjectChanged(KubeError):
    """The object changed meanwhile."""


class Expired(KubeError):
    """Too old to continue from; list again."""


_PLAIN: Final[Mapping[int, type[KubeError]]] = {HTTPStatus.NOT_FOUND: ObjectNotFound, HTTPStatus.GONE: Expired}
_BAD: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
# Below 500, and yet the server's trouble.
_TROUBLE: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True)
class Cause:
    """One field, and what is wrong with it."""

    field: str
    message: str
    reason: str = ""


class ObjectInvalid(KubeError):
    """The cluster does not accept the object."""

    def __init__(self, message: str = "", *, causes: Sequence[Cause] = (), status: int = 0) -> None:
        super().__init__(message, status=status)
        self.causes = tuple(causes)


@dataclass(frozen=True, slots=True, order=True)
class HeldField:
    """A field that another manager set to another value."""

    field: str
    manager: str


class FieldConflict(KubeError):
    """Others manage fields of this object."""

    def __init__(self, message: str, *, conflicts: Sequence[HeldField] = (), status: int = 0) -> None:
        super().__init__(message, status=status)
        self.conflicts = tuple(conflicts)


def from_status(
    status: int, body: Mapping[str, Any], *, doing: str = "", retry_after_seconds: int | None = None
) -> KubeError:
    """The condition that an answer means; `doing` says what was asked, for answers without words."""
    message = str(body.get("message") or "").strip() or f"{doing}: {_phrase(status)}".lstrip(": ")
    causes = _causes(body)
    if status in _TROUBLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        words = f"the API server answers {status}: {message}"
        return ClusterUnavailable(words, status=status, retry_after_seconds=retry_after_seconds)
    if status in _BAD:
        return ObjectInvalid(message, causes=causes, status=status)
    if status == HTTPStatus.CONFLICT:
        return _conflict(body, message, causes, status)
    if status == HTTPStatus.FORBIDDEN:
        return _forbidden(message, causes, status)
    if status == HTTPStatus.UNAUTHORIZED:
        message = f"the cluster does not accept these credentials: {message}"
        return NotAuthenticated(message, remedy="Log in to the cluster again.", status=status)
    return _PLAIN.get(status, KubeError)(message, status=status)


def _conflict(body: Mapping[str, Any], message: str, causes: Sequence[Cause], status: int) -> KubeError:
    if body.get("reason") == "AlreadyExists":
        return ObjectExists(message, status=status)
    if any(cause.reason == "FieldManagerConflict" for cause in causes):
        return FieldConflict(message, conflicts=_held(causes), status=status)
    return ObjectChanged(message, status=status)


def _forbidden(message: str, causes: Sequence[Cause], status: int) -> KubeError:
    if "exceeded quota" in message or "failed quota" in message:
        remedy = "Raise the quota of the namespace, or ask for less."
        return QuotaExceeded(message, remedy=remedy, status=status)
    if "because it is being terminated" in message or any(cause.reason == "NamespaceTerminating" for cause in causes):
        remedy = "Wait until the namespace is gone, then make it again."
        return NamespaceEnding(message, remedy=remedy, status=status)
    return NotPermitted(message, remedy=_permission(message), status=status)


def _permission(message: str) -> str:
    if "attempting to grant RBAC permissions" in message:
        return "Nobody may grant rights that they do not hold: deploy as somebody who holds them, or may `escalate`."
    if (denied := _DENIED.search(message)) is None:
        return ""
    namespace, group = denied["namespace"], denied["group"]
    resource = f"{denied['resource']}.{group}" if group else denied["resource"]
    kind, where = ("role", f"namespace {namespace}") if namespace else ("clusterrole", "whole cluster")
    flag = f" -n {namespace}" if namespace else ""
    return (
        f"{denied['user']} needs the verb `{denied['verb']}` on {resource} in the {where}, for example by "
        f"`kubectl create {kind} perijove-deploy{flag} --verb={denied['verb']} --resource={resource}` and a binding."
    )


def _causes(body: Mapping[str, Any]) -> list[Cause]:
    listed = (body.get("details") or {}).get("causes") or ()
    return [Cause(cause.get("field") or "", cause.get("message") or "", cause.get("reason") or "") for cause in listed]


def _held(causes: Sequence[Cause]) -> list[HeldField]:
    found = []
    for cause in causes:
        manager = _MANAGER.search(cause.message)
        found.append(HeldField(cause.field, manager[1] if manager else cause.message))
    return found


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
