"""What the document says of each operation beyond its path and scopes: what it takes and what it answers.

Keyed by handler, so that an operation that moves keeps its words; a handler without an entry fails the tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perijove.web.api import (
    activity,
    audit,
    authorizations,
    general,
    groups,
    proxy,
    roles,
    servers,
    services,
    shares,
    storage,
    tokens,
    users,
)
from perijove.web.api.endpoint import Handler
from perijove.web.api.openapi.schemas import (
    ANYTHING,
    FLAG,
    INFO,
    NEW_CODE,
    NUMBER,
    TEXT,
    Schema,
    array,
    listed,
    obj,
    one_of,
    or_null,
    page_of,
    ref,
)

Parameter = dict[str, Any]


def query(name: str, schema: Schema, description: str = "", **more: Any) -> Parameter:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description, **more}


@dataclass(frozen=True, slots=True)
class Doc:
    """`body`: a type that msgspec reads, or a schema. `answers`: status -> schema, None for no body."""

    answers: Mapping[int, Schema | None]
    body: Any = None
    body_required: bool = True
    query: tuple[Parameter, ...] = ()
    media: tuple[str, ...] = ("application/json",)
    deprecated: bool = False
    # Statuses beside the successes that the published document names.
    errors: tuple[int, ...] = field(default=())


PAGE = (
    query("offset", NUMBER, "Begin after so many."),
    query("limit", NUMBER, "At most so many; `api_page_default_limit` with the pagination type, else the maximum."),
)
_STOPPED = query(
    "include_stopped_servers", FLAG, "Servers that are stopped too; any value but 0 and false.", allowEmptyValue=True
)
_USERS = (
    query("state", one_of("inactive", "active", "ready"), "Only users with servers in that state, or without any."),
    *PAGE,
    _STOPPED,
    query("sort", TEXT, "`id`, `name` or `last_activity`, with `-` before it from the end."),
    query("name_filter", TEXT, "Part of the name."),
)
_AUDIT = tuple(
    query(name, TEXT, text)
    for name, text in (
        ("actor", "Who did it; `service:<name>` for services."),
        ("action", "What was done, as `user.create`; `user.*` for a beginning."),
        ("subject", "Whom or what it was done to; may end in `*`."),
        ("address", "Where the request came from."),
        ("result", "`ok`, `denied`, `throttled` or `failed`."),
        ("since", "Not before this time (ISO 8601)."),
        ("until", "Before this time."),
    )
)
_USER, _GROUP, _SERVER, _SHARE, _ROLE = ref("User"), ref("Group"), ref("Server"), ref("Share"), ref("Role")
_NOTHING: Schema | None = None
_STOP = obj(remove={**FLAG, "description": "Delete a named server, with its storage."})

DOCS: dict[Handler, Doc] = {
    general.version: Doc({200: obj("version", version=TEXT)}),
    general.details: Doc({200: INFO}),
    general.caller: Doc({200: ref("RequestIdentity")}),
    general.health: Doc({200: _NOTHING}),
    general.shutdown: Doc({202: obj(message=TEXT)}, general.ShutdownRequest, body_required=False, errors=(400,)),
    users.list_users: Doc({200: listed(_USER)}, query=_USERS),
    users.create_users: Doc({201: array(_USER)}, users.NewUsers),
    users.read_user: Doc({200: _USER}, query=(_STOPPED,)),
    users.create_user: Doc({201: _USER}, users.NewUser, body_required=False),
    users.change_user: Doc({200: _USER}, users.UserChange),
    users.delete_user: Doc({204: _NOTHING}),
    activity.report_activity: Doc({200: _NOTHING}, activity.Activity, body_required=False, errors=(401, 404)),
    servers.read_server: Doc({200: _SERVER}, errors=(404,)),
    servers.list_servers: Doc({200: {"type": "object", "additionalProperties": _SERVER}}),
    servers.create_server: Doc({201: _SERVER}, ref("ServerRequest"), body_required=False, errors=(409,)),
    servers.start_server: Doc({201: _NOTHING, 202: _NOTHING}, ref("ServerRequest"), body_required=False),
    servers.change_server: Doc({200: _SERVER}, servers.ServerChange, body_required=False),
    servers.stop_server: Doc({202: _NOTHING, 204: _NOTHING}, _STOP, body_required=False),
    servers.follow_progress: Doc({200: obj("data", data=TEXT)}, media=("text/event-stream",)),
    tokens.list_tokens: Doc({200: obj("api_tokens", api_tokens=array(ref("Token")))}, errors=(401, 404)),
    tokens.create_token: Doc({201: ref("NewToken")}, tokens.NewToken, body_required=False, errors=(400, 403)),
    tokens.read_token: Doc({200: ref("Token")}),
    tokens.revoke_token: Doc({204: _NOTHING}),
    groups.list_groups: Doc({200: listed(_GROUP)}, query=PAGE),
    groups.create_groups: Doc({201: array(_GROUP)}, groups.NewGroups),
    groups.read_group: Doc({200: _GROUP}),
    groups.create_group: Doc({201: _GROUP}, groups.OptionalMembers, body_required=False),
    groups.delete_group: Doc({204: _NOTHING}),
    groups.add_members: Doc({200: _GROUP}, groups.Members),
    groups.remove_members: Doc({200: _GROUP}, groups.Members),
    groups.set_properties: Doc({200: _GROUP}, ANYTHING),
    storage.list_volumes: Doc({200: array(ref("Volume"))}),
    storage.delete_volume: Doc({202: _NOTHING}, query=(query("uid", TEXT, "Only this very volume."),)),
    shares.list_shares: Doc({200: page_of(_SHARE)}, query=PAGE),
    shares.list_server_shares: Doc({200: page_of(_SHARE)}, query=PAGE),
    shares.grant_share: Doc({200: _SHARE}, shares.ShareRequest),
    shares.revoke_share: Doc({200: _SHARE}, shares.ShareRequest),
    shares.revoke_shares: Doc({204: _NOTHING}),
    shares.list_codes: Doc({200: page_of(ref("ShareCode"))}, query=PAGE),
    shares.list_server_codes: Doc({200: page_of(ref("ShareCode"))}, query=PAGE),
    shares.issue_code: Doc({200: NEW_CODE}, shares.CodeRequest, body_required=False),
    shares.revoke_code: Doc({204: _NOTHING}, query=(query("code", TEXT), query("id", TEXT))),
    shares.list_shared: Doc({200: page_of(_SHARE)}, query=PAGE),
    shares.read_shared: Doc({200: _SHARE}),
    shares.leave_shared: Doc({204: _NOTHING}),
    roles.list_roles: Doc({200: array(_ROLE)}),
    roles.read_role: Doc({200: _ROLE}),
    roles.create_role: Doc({201: _ROLE}, roles.NewRole),
    roles.change_role: Doc({200: _ROLE}, roles.RoleChange),
    roles.delete_role: Doc({204: _NOTHING}),
    roles.list_role_users: Doc({200: page_of(TEXT)}, query=PAGE),
    roles.assign_role: Doc({200: _ROLE}, roles.Holders),
    roles.unassign_role: Doc({200: _ROLE}, roles.Holders),
    services.list_services: Doc({200: {"type": "object", "additionalProperties": ref("Service")}}, query=PAGE),
    services.read_service: Doc({200: ref("Service")}),
    services.create_service: Doc({201: {"allOf": [ref("Service"), obj(api_token=TEXT)]}}, services.ServiceRequest),
    services.delete_service: Doc({200: _NOTHING}),
    proxy.list_routes: Doc({200: ANYTHING}, query=PAGE),
    proxy.read_again: Doc({200: _NOTHING}),
    proxy.repoint: Doc({200: _NOTHING}, ANYTHING),
    authorizations.no_longer_made: Doc({}, deprecated=True, errors=(403, 404)),
    authorizations.whose_token: Doc({200: {"oneOf": [_USER, ref("Service")]}}, deprecated=True, errors=(404,)),
    authorizations.whose_cookie: Doc({200: _USER}, deprecated=True, errors=(404,)),
    authorizations.admin_access: Doc({}, deprecated=True, errors=(403,)),
    audit.list_lines: Doc(
        {200: obj("items next", items=array(ref("AuditLine")), next=or_null({"type": "integer"}))},
        query=(*_AUDIT, query("before", NUMBER, "`next` of the page before."), PAGE[1]),
    ),
    audit.export: Doc(
        {200: TEXT},
        query=(*_AUDIT, query("format", one_of("ndjson", "csv"))),
        media=("application/x-ndjson", "text/csv"),
    ),
}
