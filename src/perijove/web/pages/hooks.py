"""Hooks of `c.JupyterHub` that take a Tornado handler or request: what real ones look at, nothing more."""

from inspect import isawaitable
from types import SimpleNamespace
from typing import Any

from starlette.requests import Request

from perijove.services.context import HubContext
from perijove.services.identity import Identity
from perijove.web.pages.view import Pages
from perijove.web.requests import host, remote_ip, scheme


def tornado_like(hub: HubContext, request: Request) -> SimpleNamespace:
    """The fields of Tornado's `HTTPServerRequest` that hooks read."""
    query = request.url.query
    arguments: dict[str, list[bytes]] = {}
    for key, value in request.query_params.multi_items():
        arguments.setdefault(key, []).append(value.encode())
    return SimpleNamespace(
        method=request.method,
        uri=request.url.path + (f"?{query}" if query else ""),
        path=request.url.path,
        query=query,
        arguments=arguments,
        query_arguments=arguments,
        headers=request.headers,
        protocol=scheme(request),
        host=host(request),
        remote_ip=remote_ip(hub, request),
    )


async def user_redirect(pages: Pages, request: Request, identity: Identity, path: str) -> str:
    """`user_redirect_hook(path, request, user, base_url)`; "" when there is none or it does not care."""
    hook = pages.hub.options.user_redirect_hook
    if hook is None:
        return ""
    return str(
        await _awaited(hook(path, tornado_like(pages.hub, request), pages.page_user(identity), pages.prefix)) or ""
    )


async def default_url(pages: Pages, request: Request, identity: Identity) -> str:
    """`default_url`, text or `callable(handler)`; "" when not set."""
    url: Any = pages.hub.options.default_url
    if callable(url):
        handler = SimpleNamespace(
            current_user=pages.page_user(identity), request=tornado_like(pages.hub, request), base_url=pages.prefix
        )
        url = await _awaited(url(handler))
    return str(url or "")


async def named_server_limit(pages: Pages, identity: Identity) -> int:
    """`named_server_limit_per_user`, a number or `callable(handler)`; 0 is no limit."""
    limit: Any = pages.hub.options.named_server_limit_per_user
    if callable(limit):
        limit = await _awaited(limit(SimpleNamespace(current_user=pages.page_user(identity))))
    return int(limit or 0)


async def _awaited(value: Any) -> Any:
    return await value if isawaitable(value) else value
