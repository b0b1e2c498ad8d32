"""The OpenAPI 3.1 document of the API, made from the same declarations that answer it.

Names of parameters and ids of operations are those of JupyterHub's published document where it has the operation:
clients are generated from them.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from perijove import JUPYTERHUB_VERSION, __version__
from perijove.domain.scope_table import META, SCOPES
from perijove.web.api.endpoint import Endpoint, Handler, Operation
from perijove.web.api.openapi.operations import DOCS, Doc
from perijove.web.api.openapi.schemas import SCHEMAS, TEXT, Schema, ref

# The published names, by the segment before the parameter.
_NAMES = {
    "users": "name",
    "groups": "name",
    "services": "name",
    "roles": "name",
    "servers": "server_name",
    "tokens": "token_id",
    "shares": "owner",
    "share-codes": "owner",
    "shared": "owner",
    "cookie": "cookie_name",
}
_OPERATION_IDS = {
    ("get", "/"): "get-api",
    ("get", "/user"): "get-current-user",
    ("get", "/users/{name}/servers/{server_name}"): "get-user-server-name",
    ("put", "/users/{name}/servers/{server_name}"): "put-user-server-name",
    ("post", "/users/{name}/servers/{server_name}"): "post-user-server-name",
    ("delete", "/users/{name}/servers/{server_name}"): "delete-user-server-name",
    ("patch", "/users/{name}/servers/{server_name}"): "patch-user-server-name",
    ("get", "/users/{name}/servers/{server_name}/progress"): "get-user-server-name-progress",
    ("post", "/share-codes/{owner}/{server_name}"): "post-share-code",
    ("delete", "/share-codes/{owner}/{server_name}"): "delete-share-code",
    ("post", "/authorizations/token"): "post-auth-token",
    ("get", "/authorizations/token/{token}"): "get-auth-token",
    ("get", "/authorizations/cookie/{cookie_name}/{cookie_value}"): "get-auth-cookie",
}
_SUCCESS = {200: "Success", 201: "Created", 202: "Accepted, not done yet", 204: "Done"}


def document(endpoints: Sequence[Endpoint], base_url: str) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for path, endpoint in _documented(endpoints):
        for method, operation in endpoint.operations.items():
            if method != "HEAD":
                paths.setdefault(path, {})[method.lower()] = _operation(path, method.lower(), operation)
    paths |= _oauth_paths()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Perijove REST API",
            "description": f"The REST API of JupyterHub {JUPYTERHUB_VERSION}, with additions.",
            "license": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"},
            "version": __version__,
        },
        "servers": [{"url": f"{base_url}hub/api"}],
        "security": [{"token": []}, {"oauth2": []}],
        "paths": paths,
        "components": {"schemas": {**SCHEMAS, **_bodies()}, "securitySchemes": _security(base_url)},
    }


def _documented(endpoints: Sequence[Endpoint]) -> Iterator[tuple[str, Endpoint]]:
    """Each path once: a default server's is the named one's with an empty name."""
    for endpoint in endpoints:
        path = endpoint.path
        if path == "/" or (path and not path.endswith("/") and "//" not in path):
            yield _public_path(path), endpoint


def _public_path(path: str) -> str:
    segments = path.split("/")
    for index, segment in enumerate(segments):
        if not segment.startswith("{"):
            continue
        before = segments[index - 1]
        named = segment[1:-1].partition(":")[0]
        if before.startswith("{") and named == "server":
            named = "server_name"
        elif named == "value":
            named = "cookie_value"
        elif path.startswith("/authorizations/token/"):
            named = "token"
        segments[index] = f"{{{_NAMES.get(before, named)}}}"
    return "/".join(segments)


def _operation(path: str, method: str, operation: Operation) -> dict[str, Any]:
    handler = operation.handler
    doc = DOCS[handler]
    found: dict[str, Any] = {
        "operationId": _OPERATION_IDS.get((method, path)) or _operation_id(path, method),
        "summary": _summary(handler),
        "tags": [path.split("/")[1] or "hub"],
        "responses": _responses(doc),
    }
    if handler.__doc__:
        found["description"] = " ".join(handler.__doc__.split())
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": TEXT} for name in re.findall(r"\{(\w+)\}", path)
    ]
    if parameters or doc.query:
        found["parameters"] = [*parameters, *doc.query]
    if doc.body is not None:
        content = {"application/json": {"schema": _body(doc.body)}}
        found["requestBody"] = {"content": content, "required": doc.body_required}
    if doc.deprecated:
        found["deprecated"] = True
    if operation.public:
        found["security"] = []
    else:
        bases = list(dict.fromkeys(scope.partition("!")[0] for scope in operation.scopes))
        found["security"] = [{"oauth2": [base]} for base in bases] or [{"oauth2": []}]
    if operation.scopes:
        found["x-scopes"] = list(operation.scopes)
    return found


def _operation_id(path: str, method: str) -> str:
    """`get-user-tokens` of `GET /users/{name}/tokens`: what is named is one of many."""
    words: list[str] = []
    segments = path.strip("/").split("/")
    for index, segment in enumerate(segments):
        if segment.startswith("{"):
            continue
        one = index + 1 < len(segments) and segments[index + 1].startswith("{")
        words.append(segment.removesuffix("s") if one and segment not in {"shares", "share-codes"} else segment)
    if path.startswith(("/shares/", "/share-codes/")):
        words.append("server" if path.endswith("{server_name}") else "owner")
    elif path.endswith("/shared/{owner}/{server_name}"):
        words.append("server")
    return "-".join([method, *words])


def _summary(handler: Handler) -> str:
    return str(getattr(handler, "__name__", "")).replace("_", " ").capitalize()


def _responses(doc: Doc) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, schema in doc.answers.items():
        responses[str(status)] = {"description": _SUCCESS[status]}
        if schema is not None:
            responses[str(status)]["content"] = {media: {"schema": schema} for media in doc.media}
    error = {"description": "Refused, and why", "content": {"application/json": {"schema": ref("Error")}}}
    for status in doc.errors:
        responses[str(status)] = error
    return {**responses, "default": error}


def _body(body: Any) -> Schema:
    return body if isinstance(body, dict) else ref(body.__name__ + "Body")


def _bodies() -> dict[str, Schema]:
    """Schemas of what handlers read, from the types that they read with."""
    types = [doc.body for doc in DOCS.values() if isinstance(doc.body, type)]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}Body")
    del schemas  # references to the components
    return {f"{name}Body": _open_nulls(schema) for name, schema in components.items()}


def _open_nulls(schema: Schema) -> Schema:
    """`default` says what an absent key means, which is no value to send."""
    for value in schema.get("properties", {}).values():
        if value.get("default", 0) is None:
            del value["default"]
    return schema


def _oauth_paths() -> dict[str, Any]:
    def parameter(name: str, *, required: bool = True) -> dict[str, Any]:
        return {"name": name, "in": "query", "required": required, "schema": TEXT}

    form = {
        "type": "object",
        "required": ["client_id", "client_secret", "code", "grant_type", "redirect_uri"],
        "properties": {
            "client_id": TEXT,
            "client_secret": TEXT,
            "grant_type": {"type": "string", "enum": ["authorization_code"]},
            "code": TEXT,
            "redirect_uri": TEXT,
            "code_verifier": TEXT,
        },
    }
    answer = {
        "type": "object",
        "properties": {"access_token": TEXT, "token_type": TEXT, "expires_in": {"type": "number"}},
    }
    return {
        "/oauth2/authorize": {
            "get": {
                "operationId": "get-oauth-authorize",
                "summary": "Where browsers begin to log in to a server or a service; not an API endpoint",
                "tags": ["oauth2"],
                "parameters": [
                    parameter("client_id"),
                    parameter("response_type"),
                    parameter("state", required=False),
                    parameter("redirect_uri"),
                    parameter("code_challenge", required=False),
                    parameter("code_challenge_method", required=False),
                ],
                "responses": {
                    "200": {"description": "A page that asks"},
                    "302": {"description": "Back to the client, or to the login"},
                    "400": {"description": "OAuth error"},
                    "default": {"description": "A page that says why not"},
                },
                "security": [],
            }
        },
        "/oauth2/token": {
            "post": {
                "operationId": "post-oauth-token",
                "summary": "Exchange an authorization code for a token",
                "tags": ["oauth2"],
                "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": form}}, "required": True},
                "responses": {
                    "200": {"description": "The token", "content": {"application/json": {"schema": answer}}},
                    "default": {"description": "OAuth error"},
                },
                "security": [],
            }
        },
    }


def _security(base_url: str) -> dict[str, Any]:
    scopes = {name: definition.description for name, definition in {**META, **SCOPES}.items()}
    flow = {
        "authorizationUrl": f"{base_url}hub/api/oauth2/authorize",
        "tokenUrl": f"{base_url}hub/api/oauth2/token",
        "scopes": scopes,
    }
    return {
        "token": {"type": "http", "scheme": "bearer"},
        "oauth2": {"type": "oauth2", "flows": {"authorizationCode": flow}},
    }
