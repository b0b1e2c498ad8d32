"""HTML pages: server-rendered, working without JavaScript, calling the same services as the API.

`routes` lists everything below `/hub`, `user_routes` what reaches the hub outside of it.
"""

from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from perijove.web.pages import (
    admin,
    admin_audit,
    admin_groups,
    admin_roles,
    admin_services,
    api_docs,
    entrance,
    errors,
    home,
    login,
    pending,
    sessions,
    share,
    sharing,
    spawn,
    storage,
    tokens,
    user_paths,
)
from perijove.web.pages.errors import error_renderer
from perijove.web.pages.view import LoginNeeded, Pages

__all__ = ["Pages", "error_renderer", "routes", "user_routes"]

View = Callable[[Pages, Request], Awaitable[Response]]
_ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def routes(pages: Pages) -> list[BaseRoute]:
    """Paths relative to `<base_url>hub`. `pages`: the one that errors and OAuth render with too."""

    def get(path: str, view: View) -> Route:
        return Route(path, _bound(pages, view), methods=["GET"])

    def post(path: str, view: View) -> Route:
        return Route(path, _bound(pages, view), methods=["POST"])

    return [
        get("/", entrance.hub_root),
        get("/login", login.show),
        post("/login", login.send),
        get("/logout", login.leave),
        get("/home", home.show),
        get("/home/servers", home.servers_part),
        post("/home/servers", home.add_server),
        post("/stop/{user}", home.stop),
        post("/stop/{user}/{server}", home.stop),
        post("/delete/{user}/{server}", home.delete),
        *(
            route
            for path in ("/spawn", "/spawn/{user}", "/spawn/{user}/{server}")
            for route in (get(path, spawn.show), post(path, spawn.send))
        ),
        get("/spawn-pending", pending.show),
        get("/spawn-pending/{user}", pending.show),
        get("/spawn-pending/{user}/{server}", pending.show),
        get("/user-redirect", spawn.user_redirect),
        get("/user-redirect/{path:path}", spawn.user_redirect),
        get("/accept-share", share.show),
        post("/accept-share", share.accept),
        post("/leave-share", share.leave),
        *(
            route
            for path in ("/share/{user}", "/share/{user}/{server}")
            for route in (get(path, sharing.show), post(path, sharing.change))
        ),
        get("/api-docs", api_docs.show),
        get("/token", tokens.show),
        post("/token", tokens.create),
        post("/token/revoke", tokens.revoke),
        get("/sessions", sessions.show),
        post("/sessions/revoke", sessions.revoke),
        post("/sessions/revoke-all", sessions.revoke_all),
        get("/admin", admin.show),
        post("/admin/users", admin.add_users),
        post("/admin/users/edit", admin.edit_user),
        post("/admin/bulk", admin.bulk),
        get("/admin/groups", admin_groups.show),
        post("/admin/groups", admin_groups.create),
        get("/admin/groups/{group:path}", admin_groups.show_one),
        post("/admin/groups/{group:path}", admin_groups.change),
        get("/admin/roles", admin_roles.show),
        get("/admin/new-role", admin_roles.new),
        post("/admin/new-role", admin_roles.create),
        get("/admin/roles/{role}", admin_roles.show_one),
        post("/admin/roles/{role}", admin_roles.change),
        get("/admin/services", admin_services.show),
        get("/admin/audit", admin_audit.show),
        get("/admin/audit/export", admin_audit.export),
        get("/admin/storage/{user}", storage.show),
        post("/admin/storage/{user}/delete", storage.delete),
        get("/error/{code}", errors.for_proxy),
        post("/security/csp-report", entrance.csp_report),
        Route("/static/{path:path}", pages.assets.file, methods=["GET"]),
        Route("/logo", pages.assets.logo, methods=["GET"]),
        Route("/user/{user}", _bound(pages, user_paths.inside), methods=_ALL_METHODS),
        Route("/user/{user}/{path:path}", _bound(pages, user_paths.inside), methods=_ALL_METHODS),
    ]


def user_routes(pages: Pages) -> list[BaseRoute]:
    """What is outside `/hub`. It takes every path, so it comes after all other routes."""
    return [Route("/{path:path}", _bound(pages, user_paths.outside), methods=_ALL_METHODS)]


def _bound(pages: Pages, view: View) -> Callable[[Request], Awaitable[Response]]:
    """`view` as an endpoint; whoever has to be logged in and is not goes to do that."""

    @wraps(view)
    async def endpoint(request: Request) -> Response:
        try:
            return await view(pages, request)
        except LoginNeeded as error:
            return await errors.login_needed(pages, request, error)
        finally:
            await request.close()  # the files of a form

    return endpoint
