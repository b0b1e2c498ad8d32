"""A user's storage, as an admin sees it: a part of the admin page that is loaded when it is opened.

Without JavaScript it is a page of its own. Reading asks the cluster, so it is never done for a list of users.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from perijove.domain import names
from perijove.domain.errors import Conflict, HubError, NotFound
from perijove.services import storage
from perijove.services.identity import Identity
from perijove.services.storage import Kept
from perijove.web.pages.administration import administrator
from perijove.web.pages.view import Pages, text
from perijove.web.requests import remote_ip


@dataclass(frozen=True, slots=True)
class VolumeView:
    name: str
    uid: str
    facts: str
    used_by: tuple[str, ...]
    servers: str
    created: Any
    obstacle: str
    delete_url: str


def storage_url(pages: Pages, user: str) -> str:
    return f"{pages.prefix}admin/storage/{names.escape(user)}"


async def show(pages: Pages, request: Request) -> Response:
    user, identity = await _allowed(pages, request, "read:servers")
    return await _page(pages, request, user, identity)


async def delete(pages: Pages, request: Request) -> Response:
    """POST: what cannot be deleted is said where it is shown."""
    user, identity = await _allowed(pages, request, "admin:servers")
    form = await pages.form(request)
    name = text(form, "volume")
    try:
        await storage.delete_volume(
            pages.hub,
            user,
            name,
            uid=text(form, "uid"),
            actor=identity.name,
            address=remote_ip(pages.hub, request),
        )
    except (Conflict, NotFound) as error:
        return await _page(pages, request, user, identity, status=HTTPStatus.CONFLICT, problem=error.message)
    return pages.redirect(storage_url(pages, user), status=HTTPStatus.SEE_OTHER)


async def _allowed(pages: Pages, request: Request, scope: str) -> tuple[str, Identity]:
    user: str = request.path_params["user"]
    return user, await administrator(pages, request, f"{scope}!user={user}")


async def _page(
    pages: Pages, request: Request, user: str, identity: Identity, *, status: int = HTTPStatus.OK, problem: str = ""
) -> Response:
    partial = request.headers.get("hx-request") == "true"
    volumes: list[VolumeView] = []
    try:
        volumes = [_view(pages, user, kept) for kept in await storage.list_volumes(pages.hub, user)]
    except NotFound:
        raise
    except HubError as error:
        # The rest of the page is there; this part says what is wrong.
        problem, status = problem or error.message, HTTPStatus.OK if partial else HTTPStatus.SERVICE_UNAVAILABLE
    return await pages.render(
        request,
        "_admin_storage.html" if partial else "admin_storage.html",
        status=status,
        headers={"Vary": "HX-Request"},
        here="admin",
        for_user=user,
        volumes=volumes,
        problem=problem,
        may_delete=await pages.may(identity, f"admin:servers!user={user}"),
    )


def _view(pages: Pages, user: str, kept: Kept) -> VolumeView:
    volume = kept.volume
    facts = ", ".join(part for part in (volume.size, volume.phase, volume.storage_class) if part)
    return VolumeView(
        name=volume.name,
        uid=volume.uid,
        facts=facts,
        used_by=volume.used_by,
        servers=", ".join(name or "default" for name in volume.servers),
        created=volume.created,
        obstacle=kept.obstacle,
        delete_url=f"{storage_url(pages, user)}/delete",
    )
