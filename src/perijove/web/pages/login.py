"""Logging in and out: `/hub/login`, `/hub/logout`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from perijove.services.server_rows import list_servers
from perijove.services.servers import request_stop
from perijove.web import cookies, xsrf
from perijove.web.login import LoginRefused, log_out, submit
from perijove.web.pages.view import Pages
from perijove.web.requests import is_secure

MAX_KEPT_FORMS = 500
# Nothing in a page looks like it, and a browser that got it would send a form that is refused.
_PLACE = "the-visitors-token-goes-here"
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


async def show(pages: Pages, request: Request) -> Response:
    identity = await pages.visitor(request)
    if identity is not None and identity.session_id is not None:
        return pages.redirect(pages.next(request, default=pages.prefix))
    if pages.hub.authenticator.auto_login:
        return pages.redirect(_authenticator_url(pages, request))
    # Somebody known by a token sees their own name on it.
    return await (_empty_form(pages, request) if identity is None else _form(pages, request))


async def _empty_form(pages: Pages, request: Request) -> Response:
    """The form as nobody has touched it yet: all that a storm of logins asks for before it logs in.

    It differs between visitors only by their token, so it is rendered once for each query and the token put
    in. Markup that is not ours may differ by more, and is rendered each time.
    """
    options = pages.hub.options
    if options.template_paths or options.template_vars or options.debug or pages.hub.authenticator.custom_html:
        return await _form(pages, request)
    forms, key = pages.login_forms, (request.url.query, _is_insecure(pages, request))
    if (body := forms.get(key)) is None:
        if len(forms) >= MAX_KEPT_FORMS:
            forms.clear()
        rendered = await _form(pages, request)
        body = bytes(rendered.body).decode().replace(xsrf.token_for(pages.hub, request), _PLACE)
        forms[key] = body
    body = body.replace(_PLACE, xsrf.token_for(pages.hub, request))
    return pages.respond(request, body, headers=pages.headers())


async def send(pages: Pages, request: Request) -> Response:
    outcome = await submit(pages.hub, request)
    if isinstance(outcome, Response):
        return outcome
    return await _form(pages, request, outcome)


async def _form(pages: Pages, request: Request, refused: LoginRefused | None = None) -> Response:
    authenticator = pages.hub.authenticator
    shown = {
        "next": quote(request.query_params.get("next", ""), safe="/"),
        "username": refused.username if refused else "",
        "login_error": refused.message if refused else "",
        "login_url": f"{pages.prefix}login",
        "authenticator_login_url": _authenticator_url(pages, request),
        "authenticator": authenticator,
    }
    custom = _custom_html(pages, request, shown)
    headers = {}
    if refused is not None and refused.retry_after_seconds is not None:
        headers["Retry-After"] = str(refused.retry_after_seconds)
    return await pages.render(
        request,
        "login.html",
        status=refused.status if refused else HTTPStatus.OK,
        headers=headers,
        foreign=[custom],
        here="login",
        nobody_allowed=authenticator.nobody_allowed,
        login_service=authenticator.login_service,
        custom_html=custom,
        request_otp=authenticator.request_otp,
        otp_prompt=authenticator.otp_prompt,
        insecure=_is_insecure(pages, request),
        **shown,
    )


def _is_insecure(pages: Pages, request: Request) -> bool:
    return not is_secure(pages.hub, request) and request.url.hostname not in _LOCAL


def _custom_html(pages: Pages, request: Request, shown: Mapping[str, Any]) -> str:
    """An authenticator's own form is a template, as in JupyterHub: it needs `{{ xsrf }}` to be accepted. What
    people typed is escaped in it, which there it is not."""
    html = pages.hub.authenticator.custom_html
    if not html:
        return ""
    return pages.templates.from_text(html).render(shown, xsrf=xsrf.token_for(pages.hub, request))


def _authenticator_url(pages: Pages, request: Request) -> str:
    """Where the form or the button leads; the query goes along, `next` in it is validated when it is used."""
    url = pages.hub.authenticator.login_url(pages.prefix)
    query = request.url.query
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


async def leave(pages: Pages, request: Request) -> Response:
    """GET, as single-user servers link to it. Ending one's own session is all that a forged link can do."""
    identity = await pages.visitor(request)
    hub = pages.hub
    if identity is not None and identity.kind == "user":
        await log_out(hub, request)
        if hub.options.shutdown_on_logout:
            for server in await list_servers(hub, identity.name, stopped=False):
                if server.pending is None:
                    await request_stop(hub, user=identity.name, name=server.name, actor=identity.name, reason="logout")
    if hub.authenticator.auto_login:
        # Back at the login page they would be logged in again at once.
        response = await pages.render(request, "logout.html", user=None)
    else:
        response = pages.redirect(f"{pages.prefix}login")
    cookies.clear_login(hub, request, response)
    return response
