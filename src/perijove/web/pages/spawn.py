"""Starting a server: the spawner's options form, links that carry options, and starting at once without either."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from perijove.domain.errors import HubError, Invalid, NotFound, SpawnFailed
from perijove.domain.ids import ServerId, UserId
from perijove.domain.ports import ServerSpec
from perijove.lib.log import get_logger
from perijove.services import servers
from perijove.services.identity import Identity, identify_user
from perijove.services.server_rows import ServerRow, get_server
from perijove.services.user_facts import user_facts
from perijove.web.pages import hooks
from perijove.web.pages.refill import refill
from perijove.web.pages.server_view import path_tail, server_view, with_next
from perijove.web.pages.view import Pages
from perijove.web.requests import remote_ip

log = get_logger(__name__)

MAX_UPLOAD_BYTES = 64 * 1024 * 1024
_RESERVED = frozenset({"next", "display_name", "_xsrf"})
_OPTION = "opt-"


@dataclass(frozen=True, slots=True)
class Target:
    """The server that is to be started, which may not exist yet."""

    identity: Identity
    user: str
    name: str
    spec: ServerSpec
    row: ServerRow | None

    @property
    def own(self) -> bool:
        return self.identity.name == self.user


async def target_of(pages: Pages, request: Request, *, scope: str = "start:servers") -> Target:
    """The server of the URL. Raises `LoginNeeded`, `NotFound`."""
    identity = await pages.user(request)
    user = request.path_params.get("user") or identity.name
    name = request.path_params.get("server", "")
    if not name and user == identity.name and "user" not in request.path_params:
        name = pages.hub.options.default_server_name
    await pages.require_server(identity, scope, user, name)
    owner_id = identity.id if user == identity.name else (await identify_user(pages.hub, user)).id
    facts = await user_facts(pages.hub, UserId(owner_id), with_auth_state=True)
    try:
        row = await get_server(pages.hub, user, name)
    except NotFound:
        row = None
    spec = ServerSpec(
        id=row.id if row else ServerId(0),
        user=facts,
        name=name,
        display_name=row.display_name if row else name,
        user_options=row.user_options if row else {},
        state=row.state if row else {},
    )
    return Target(identity, user, name, spec, row)


async def show(pages: Pages, request: Request) -> Response:
    """GET `/spawn[/{user}[/{server}]]`."""
    target = await target_of(pages, request)
    if (there := _already(pages, request, target)) is not None:
        return there
    query = _query_options(request)
    form = await pages.hub.spawners.options_form(target.spec)
    if query:
        try:
            options = await pages.hub.spawners.options_from_query(target.spec, query)
            return await _start(pages, request, target, options)
        except (Invalid, SpawnFailed) as error:
            if not form:
                raise
            return await _form(pages, request, target, refill(form, query), error=error)
    if form:
        return await _form(pages, request, target, form)
    return await _start(pages, request, target, None)


async def send(pages: Pages, request: Request) -> Response:
    """POST of the options form."""
    target = await target_of(pages, request)
    form = await pages.form(request)
    if (there := _already(pages, request, target)) is not None:
        return there
    fields = text_fields(form)
    try:
        options = await pages.hub.spawners.options_from_form(target.spec, await _with_files(form, fields))
        return await _start(pages, request, target, options)
    except HubError as error:
        html = await pages.hub.spawners.options_form(target.spec)
        if not html:
            raise
        log.info("options refused", user=target.user, server=target.name, error=error.message)
        had_files = any(isinstance(value, UploadFile) and value.filename for _, value in form.multi_items())
        return await _form(pages, request, target, refill(html, fields), error=error, files_lost=had_files)


def _already(pages: Pages, request: Request, target: Target) -> Response | None:
    row = target.row
    if row is None or not row.active:
        return None
    view = server_view(pages.hub, target.user, target.name)
    if row.ready:
        return pages.redirect(pages.next(request, default=view.url))
    return pages.redirect(with_next(view.pending_url, pages.next(request)))


async def _start(pages: Pages, request: Request, target: Target, options: Mapping[str, Any] | None) -> Response:
    await servers.request_start(
        pages.hub,
        user=target.user,
        name=target.name,
        options=options,
        display_name=request.query_params.get("display_name") or None,
        actor=target.identity.name,
        address=remote_ip(pages.hub, request),
    )
    # Not waiting here for a quick end: the pending page is told of it at once, and shows why.
    return pages.redirect(with_next(server_view(pages.hub, target.user, target.name).pending_url, pages.next(request)))


async def _form(
    pages: Pages,
    request: Request,
    target: Target,
    html: str,
    *,
    error: HubError | None = None,
    files_lost: bool = False,
) -> Response:
    action = with_next(f"{pages.prefix}spawn/{path_tail(target.user, target.name)}", pages.next(request))
    return await pages.render(
        request,
        "spawn.html",
        status=_status(error),
        foreign=[html],
        url=action,
        for_user=target.spec.user,
        server_name=target.name,
        server_title=target.spec.display_name or target.name,
        spawner_options_form=html,
        error_message=error.message if error else "",
        error_html_message=error.html_message if isinstance(error, SpawnFailed) else "",
        files_lost=files_lost,
    )


def _status(error: HubError | None) -> int:
    if error is None:
        return HTTPStatus.OK
    client_error = range(HTTPStatus.BAD_REQUEST, HTTPStatus.INTERNAL_SERVER_ERROR)
    if isinstance(error, SpawnFailed) and error.status in client_error:
        return error.status
    return HTTPStatus.BAD_REQUEST


def _query_options(request: Request) -> dict[str, list[str]]:
    """`opt-image=x` and, as links made for older hubs have it, plain `image=x`."""
    found: dict[str, list[str]] = {}
    for key, value in request.query_params.multi_items():
        if key not in _RESERVED:
            found.setdefault(key.removeprefix(_OPTION), []).append(value)
    return found


def text_fields(form: FormData) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for key, value in form.multi_items():
        if isinstance(value, str) and key != "_xsrf":
            fields.setdefault(key, []).append(value)
    return fields


async def _with_files(form: FormData, fields: Mapping[str, list[str]]) -> dict[str, list[Any]]:
    """The form as `options_from_form` gets it: lists of text, and files under `<field>_file`."""
    data: dict[str, list[Any]] = {name: list(values) for name, values in fields.items()}
    size = 0
    for key, value in form.multi_items():
        # A file field left empty is sent as a file without name.
        if isinstance(value, UploadFile) and value.filename:
            size += value.size or 0
            if size > MAX_UPLOAD_BYTES:
                raise Invalid(f"The files are larger than {MAX_UPLOAD_BYTES // 2**20} MB together.", field=key)
            body = await value.read()
            entry = {"filename": value.filename, "body": body, "content_type": value.content_type or ""}
            data.setdefault(f"{key}_file", []).append(entry)
    return data


async def user_redirect(pages: Pages, request: Request) -> Response:
    """`/user-redirect/<path>`: the same link for everybody, to the visitor's own server (nbgitpuller's)."""
    identity = await pages.user(request)
    path = request.path_params.get("path", "")
    hub = pages.hub
    if url := await hooks.user_redirect(pages, request, identity, path):
        return pages.redirect(url)
    name = hub.options.default_server_name
    target = hub.addresses.server_url(identity.name, name) + quote(path, safe="/@~:!$&'()*+,;=")
    if request.url.query:
        target += f"?{request.url.query}"
    view = server_view(hub, identity.name, name)
    return pages.redirect(with_next(view.spawn_url, target))
