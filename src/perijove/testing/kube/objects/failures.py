"""The API server's errors, word for word as clients and people read them."""

from http import HTTPStatus
from typing import Any

from perijove.testing.kube.objects.resources import Object, Resource


class ApiFailure(Exception):
    """A `Status` answer."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Object | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = headers or {}

    def body(self) -> Object:
        body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        body |= {"message": self.message, "reason": self.reason}
        if self.details:
            body["details"] = self.details
        body["code"] = self.code
        return body


def _details(resource: Resource, name: str, **more: Any) -> Object:
    details: Object = {"name": name, "kind": resource.plural} if name else {"kind": resource.plural}
    if resource.group:
        details["group"] = resource.group
    return details | more


def not_found(resource: Resource, name: str) -> ApiFailure:
    message = f'{resource.qualified} "{name}" not found'
    return ApiFailure(HTTPStatus.NOT_FOUND, "NotFound", message, details=_details(resource, name))


def no_such_path() -> ApiFailure:
    return ApiFailure(HTTPStatus.NOT_FOUND, "NotFound", "the server could not find the requested resource")


def already_exists(resource: Resource, name: str) -> ApiFailure:
    message = f'{resource.qualified} "{name}" already exists'
    return ApiFailure(HTTPStatus.CONFLICT, "AlreadyExists", message, details=_details(resource, name))


def conflict(resource: Resource, name: str, why: str) -> ApiFailure:
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiFailure(HTTPStatus.CONFLICT, "Conflict", message, details=_details(resource, name))


def stale(resource: Resource, name: str) -> ApiFailure:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, name, why)


def apply_conflict(conflicts: list[tuple[str, str]]) -> ApiFailure:
    """Fields as (manager in words, path), in order."""
    count = "conflict" if len(conflicts) == 1 else "conflicts"
    managers: dict[str, list[str]] = {}
    for manager, path in conflicts:
        managers.setdefault(manager, []).append(path)
    if len(conflicts) == 1:
        said = f"conflict with {conflicts[0][0]}: {conflicts[0][1]}"
    else:
        parts = [f"conflicts with {name}:\n" + "\n".join(f"- {path}" for path in managers[name]) for name in managers]
        said = "\n".join(parts)
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": path}
        for manager, path in conflicts
    ]
    message = f"Apply failed with {len(conflicts)} {count}: {said}"
    return ApiFailure(HTTPStatus.CONFLICT, "Conflict", message, details={"causes": causes})


def forbidden(resource: Resource, name: str, why: str) -> ApiFailure:
    named = f' "{name}"' if name else ""
    message = f"{resource.qualified}{named} is forbidden: {why}"
    return ApiFailure(HTTPStatus.FORBIDDEN, "Forbidden", message, details=_details(resource, name))


def unauthorized() -> ApiFailure:
    return ApiFailure(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Unauthorized")


def bad_request(message: str) -> ApiFailure:
    return ApiFailure(HTTPStatus.BAD_REQUEST, "BadRequest", message)


def invalid(resource: Resource, name: str, problems: list[tuple[str, str]]) -> ApiFailure:
    """Problems as (field, what is wrong in the server's words)."""
    said = [f"{path}: {what}" for path, what in problems]
    listed = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    causes = [
        {"reason": f"FieldValue{what.partition(':')[0].replace(' ', '')}", "message": what, "field": path}
        for path, what in problems
    ]
    details: Object = {"name": name, "kind": resource.kind, "causes": causes}
    if resource.group:
        details["group"] = resource.group
    message = f'{kind} "{name}" is invalid: {listed}'
    return ApiFailure(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", message, details=details)


def expired(message: str) -> ApiFailure:
    return ApiFailure(HTTPStatus.GONE, "Expired", message)


def too_old(asked: int, oldest: int) -> ApiFailure:
    return expired(f"too old resource version: {asked} ({oldest})")


def too_many_requests(retry_after_seconds: int, message: str = "") -> ApiFailure:
    return ApiFailure(
        HTTPStatus.TOO_MANY_REQUESTS,
        "TooManyRequests",
        message or "too many requests, please try again later",
        details={"retryAfterSeconds": retry_after_seconds},
        headers={"Retry-After": str(retry_after_seconds)},
    )


def internal_error(message: str) -> ApiFailure:
    return ApiFailure(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", f"Internal error occurred: {message}")


def method_not_supported(verb: str) -> ApiFailure:
    message = f"{verb} is not supported on resources of kind"
    return ApiFailure(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
