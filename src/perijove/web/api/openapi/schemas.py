"""Shapes of what the API answers with, as JSON Schema (of OpenAPI 3.1).

They are wider than JupyterHub's published ones where those are wrong: many of its times and states may be null. The
contract tests hold every answer of a running hub against them.
"""

from typing import Any

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def obj(required: str = "", **properties: Schema) -> Schema:
    """`required`: names, separated by spaces."""
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required.split()
    return schema


def or_null(schema: Schema) -> Schema:
    """A schema with a plain `type`, or null."""
    return {**schema, "type": [schema["type"], "null"]}


def described(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TIME: Schema = {"type": "string", "format": "date-time"}
TEXTS = array(TEXT)
ANYTHING: Schema = {"type": "object", "additionalProperties": True}
_PENDING: Schema = {"type": ["string", "null"], "enum": ["spawn", "stop", "check", "rename", None]}
_PARTY = or_null(obj("name", name=TEXT))
_TOKEN = {
    "id": described(TEXT, "For modifying or revoking the token."),
    "kind": TEXT,
    "user": described(TEXT, "Its owner, unless that is a service."),
    "service": described(TEXT, "Its owner, unless that is a user."),
    "roles": described(TEXTS, "Always empty: tokens have scopes."),
    "scopes": described(TEXTS, "What it allows now."),
    "note": TEXT,
    "created": TIME,
    "expires_at": or_null(TIME),
    "last_activity": or_null(TIME),
    "session_id": or_null(TEXT),
    "oauth_client": TEXT,
}
_SHARE_CODE = {
    "server": ref("SharedServer"),
    "scopes": TEXTS,
    "id": TEXT,
    "created_at": TIME,
    "expires_at": or_null(TIME),
    "exchange_count": COUNT,
    "last_exchanged_at": or_null(TIME),
}
_WITH_CREDENTIALS = {
    "session_id": or_null(TEXT),
    "scopes": described(TEXTS, "Everything these credentials allow, expanded."),
    "token_id": or_null(TEXT),
}

SCHEMAS: dict[str, Schema] = {
    "Error": obj("status message", status={"type": "integer"}, message=TEXT),
    "Pagination": obj(
        "total limit offset next",
        total=NUMBER,
        limit=NUMBER,
        offset=NUMBER,
        next=or_null(obj("offset limit url", offset=NUMBER, limit=NUMBER, url=TEXT)),
    ),
    "PaginatedList": obj("items _pagination", items=array({}), _pagination=ref("Pagination")),
    "User": obj(
        "name kind",
        name=TEXT,
        kind=one_of("user"),
        user_info=or_null(ANYTHING),
        admin=FLAG,
        roles=TEXTS,
        groups=TEXTS,
        server=described(or_null(TEXT), "Path of the default server, if it is ready."),
        pending=_PENDING,
        created=or_null(TIME),
        last_activity=or_null(TIME),
        servers={"type": "object", "additionalProperties": ref("Server")},
        auth_state=or_null(ANYTHING),
    ),
    "Server": obj(
        "name full_name ready stopped pending url",
        name=TEXT,
        display_name=TEXT,
        full_name=TEXT,
        ready=FLAG,
        stopped=FLAG,
        pending=_PENDING,
        url=TEXT,
        progress_url=TEXT,
        full_url=or_null(TEXT),
        full_progress_url=or_null(TEXT),
        started=or_null(TIME),
        last_activity=or_null(TIME),
        state=described(or_null(ANYTHING), "Needs `admin:server_state`."),
        user_options=or_null(ANYTHING),
    ),
    "ServerRequest": described(
        {
            **obj(display_name=TEXT, user_options=or_null(ANYTHING)),
            "additionalProperties": True,
        },
        "With neither `display_name` nor `user_options`, the whole object is the options.",
    ),
    "RequestIdentity": {
        "allOf": [
            {
                "type": "object",
                "oneOf": [ref("User"), ref("Service")],
                "discriminator": {
                    "propertyName": "kind",
                    "mapping": {kind.lower(): f"#/components/schemas/{kind}" for kind in ("User", "Service")},
                },
            },
            obj("kind scopes", kind=one_of("user", "service"), **_WITH_CREDENTIALS),
        ]
    },
    "Group": obj(
        "name kind",
        name=TEXT,
        kind=one_of("group"),
        users=TEXTS,
        properties=ANYTHING,
        roles=TEXTS,
    ),
    "Service": obj(
        "name kind",
        name=TEXT,
        kind=one_of("service"),
        admin=FLAG,
        roles=TEXTS,
        url=TEXT,
        prefix=TEXT,
        pid=NUMBER,
        command=TEXTS,
        info=ANYTHING,
        display=FLAG,
        health=obj("up since checked problem", up=FLAG, since=TIME, checked=TIME, problem=TEXT),
    ),
    "SharedServer": obj(
        "name user url ready", name=TEXT, url=TEXT, full_url=or_null(TEXT), ready=FLAG, user=obj("name", name=TEXT)
    ),
    "Share": obj(
        server=ref("SharedServer"),
        scopes=TEXTS,
        user=_PARTY,
        group=_PARTY,
        kind=one_of("user", "group"),
        created_at=TIME,
    ),
    "ShareCode": obj("server scopes id", **_SHARE_CODE),
    "Token": obj("id scopes", **_TOKEN),
    "NewToken": obj("token id scopes", token=described(TEXT, "The token itself, shown once."), **_TOKEN),
    "Role": obj(
        "name kind scopes source editable",
        name=TEXT,
        kind=one_of("role"),
        description=TEXT,
        scopes=TEXTS,
        source=one_of("default", "config", "authenticator", "api"),
        editable=FLAG,
        user_count=COUNT,
        groups=TEXTS,
        services=TEXTS,
    ),
    "AuditLine": obj(
        "id at action actor subject",
        id=COUNT,
        at=TIME,
        action=TEXT,
        actor=TEXT,
        subject=TEXT,
        address=TEXT,
        result=TEXT,
        correlation_id=TEXT,
        data=ANYTHING,
    ),
    "Volume": obj("name uid", name=TEXT, uid=TEXT) | {"additionalProperties": True},
}


def listed(item: Schema) -> Schema:
    """A bare list, or a page of it for who sends the pagination type."""
    return {"oneOf": [array(item), page_of(item)]}


def page_of(item: Schema) -> Schema:
    return {"allOf": [ref("PaginatedList"), obj(items=array(item))]}


NEW_CODE: Schema = {"allOf": [ref("ShareCode"), obj("code", code=TEXT, accept_url=TEXT, full_accept_url=or_null(TEXT))]}
_PLUGIN: Schema = {"type": "object", "properties": {"class": TEXT, "version": TEXT}}
INFO = obj(
    version=TEXT,
    python=TEXT,
    sys_executable=TEXT,
    authenticator=_PLUGIN,
    spawner=_PLUGIN,
)
