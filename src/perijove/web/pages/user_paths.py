"""`/user/...` addresses that no proxy has a route for: the server is stopped, starting, gone or not theirs.

People get a page that starts the server and brings them back; programs (JupyterLab polling its
kernels) get 424 with JSON, by which they know that the server is not running rather than broken.
These requests are no activity: an open tab that polls must not keep anything alive.
"""

from http import HTTPStatus
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from perijove.domain import names
from perijove.domain.errors import NotFound
from perijove.services.identity import Identity
from perijove.services.server_rows import ServerRow, list_servers
from perijove.services.users import get_user
from perijove.web.pages.server_view import ServerView, path_tail, server_view, with_next
from perijove.web.pages.view import LoginNeeded, Pages
from perijove.web.requests import host, scheme

MAX_REDIRECTS = 4
LONGEST_WAIT_SECONDS = 10


async def inside(pages: Pages, request: Request) -> Response:
    """`<hub>user/{user}/{path}`."""
    if request.method not in {"GET", "HEAD"}:
        return _not_running_json(pages, request, request.path_params["user"], "")
    identity = await pages.visitor(request)
    if identity is None:
        raise LoginNeeded
    user, path = request.path_params["user"], request.path_params.get("path", "")
    rows = {row.name: row for row in await list_servers(pages.hub, user)}
    first = path.partition("/")[0]
    name = first if first and first in rows else ""
    await _check_access(pages, identity, user, first)
    row = rows.get(name)
    if row is not None and row.ready:
        return await _to_server(pages, request)
    if _wants_json(request, path):
        return _not_running_json(pages, request, user, name)
    view = server_view(pages.hub, user, name)
    if row is not None and row.pending is not None:
        return pages.redirect(with_next(view.pending_url, _outside(pages, request)), status=HTTPStatus.SEE_OTHER)
    return await _stopped(pages, request, identity, view, row)


async def _check_access(pages: Pages, identity: Identity, user: str, first: str) -> None:
    """Access to the default server or to the one that the path may name. Raises `NotFound`."""
    for server in dict.fromkeys(("", first)):
        if await pages.may(identity, f"access:servers!server={names.full_name(user, server)}"):
            return
    raise NotFound("There is nothing at this address, or it is not yours to see.")


async def _to_server(pages: Pages, request: Request) -> Response:
    """Ready, but the request came here: a proxy was a moment behind. Wait longer each time, then give up."""
    count = request.query_params.get("redirects", "0")
    redirects = int(count) if count.isascii() and count.isdigit() and len(count) < len("1000") else 0
    if redirects >= MAX_REDIRECTS:
        return await pages.render(
            request,
            "error.html",
            status=HTTPStatus.INTERNAL_SERVER_ERROR,
            status_code=500,
            status_message="Redirect loop detected",
            message="The server runs, but requests for it keep coming to the hub instead.",
            advice="The proxy may have lost its routes. Try again in a minute; tell your administrator if it stays so.",
        )
    if redirects:
        await pages.hub.clock.sleep(min(2**redirects, LONGEST_WAIT_SECONDS))
    return pages.redirect(_outside(pages, request, redirects=redirects + 1))


async def _stopped(
    pages: Pages, request: Request, identity: Identity, view: ServerView, row: ServerRow | None
) -> Response:
    user, outside = request.path_params["user"], _outside(pages, request)
    own = identity.kind == "user" and identity.name == user
    failure = (row.failure if row else None) or {}
    if row is None and not own:
        # An admin who looks at a name that does not exist gets 404, not an offer to start it.
        await get_user(pages.hub, user)
    full = names.full_name(user, view.name)
    return await pages.render(
        request,
        "not_running.html",
        status=pages.hub.options.stopped_server_status,
        foreign=[str(failure.get("html_message", ""))],
        own=own,
        for_user={"name": user},
        server_name=view.name,
        server_title=(row.display_name if row else "") or view.name,
        failed=bool(failure),
        failed_message=failure.get("message", ""),
        failed_html_message=failure.get("html_message", ""),
        may_start=await pages.may(identity, f"start:servers!server={full}"),
        spawn_url=with_next(view.spawn_url, outside),
        # After a failure it waits for a person: a server that cannot start must not be tried for ever.
        implicit_spawn_seconds=0 if failure else pages.hub.options.implicit_spawn_seconds,
        next_path=outside,
    )


def _wants_json(request: Request, path: str) -> bool:
    if "api" in path.split("/"):
        return True
    accept = request.headers.get("accept", "")
    json_at, html_at = accept.find("application/json"), accept.find("text/html")
    return json_at >= 0 and (html_at < 0 or json_at < html_at)


def _not_running_json(pages: Pages, request: Request, user: str, name: str) -> Response:
    origin = pages.hub.addresses.hub_origin or f"{scheme(request)}://{host(request)}"
    message = (
        f"JupyterHub server no longer running at {_path_outside(pages, request)}. "
        f"Restart the server at {origin}{pages.prefix}spawn/{path_tail(user, name)}"
    )
    status = pages.hub.options.stopped_server_status
    return JSONResponse(
        {"message": message, "status": status}, status_code=status, headers={"Cache-Control": "no-store"}
    )


def _path_outside(pages: Pages, request: Request) -> str:
    raw = request.scope.get("raw_path") or request.url.path.encode()
    path = bytes(raw).partition(b"?")[0].decode("latin-1")
    below = path.startswith(pages.prefix)
    return pages.hub.options.base_url + path.removeprefix(pages.prefix) if below else path


def _outside(pages: Pages, request: Request, *, redirects: int = 0) -> str:
    """The address as the browser first had it, outside `/hub`."""
    query = [(key, value) for key, value in request.query_params.multi_items() if key != "redirects"]
    if redirects:
        query.append(("redirects", str(redirects)))
    path = _path_outside(pages, request)
    return f"{path}?{urlencode(query)}" if query else path


async def outside(pages: Pages, request: Request) -> Response:
    """Any path outside `/hub/`: the same path under it."""
    base, path = pages.hub.options.base_url, request.url.path
    if path == pages.prefix.rstrip("/"):
        return RedirectResponse(pages.prefix, status_code=HTTPStatus.MOVED_PERMANENTLY)
    if request.method not in {"GET", "HEAD"}:
        if path.startswith(f"{base}user/"):
            return _not_running_json(pages, request, path.removeprefix(f"{base}user/").partition("/")[0], "")
        raise NotFound("There is nothing at this address.")
    if not path.startswith(base):
        return pages.redirect(pages.hub.addresses.hub(pages.prefix))
    raw = bytes(request.scope.get("raw_path") or path.encode()).partition(b"?")[0].decode("latin-1")
    # Away from the user's host: the hub's cookies are for its own alone.
    target = pages.hub.addresses.hub(pages.prefix + raw.removeprefix(base))
    query = request.url.query
    return pages.redirect(f"{target}?{query}" if query else target)
