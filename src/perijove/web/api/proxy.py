"""The route table, as operators and scripts know it from JupyterHub."""

from typing import Any

from starlette.responses import Response

from perijove.domain.errors import Invalid
from perijove.services import proxy_address, routes
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.api.pagination import paged, read_page
from perijove.web.requests import host, read_json, scheme


async def list_routes(call: Call) -> Response:
    page = read_page(call)
    listed, total = await routes.some_routes(call.hub, offset=page.offset, limit=page.limit)
    items = {}
    for route in listed:
        target = route["target"]
        if target == routes.HUB_TARGET:
            target = f"{scheme(call.request)}://{host(call.request)}"
        items[route["prefix"]] = {"routespec": route["prefix"], "target": target, "data": route["data"]}
    return call.json(paged(call, page, items, total))


async def read_again(call: Call) -> Response:
    """Every proxy that follows this hub lists the table again."""
    call.hub.bus.lag()
    return call.empty()


async def repoint(call: Call) -> Response:
    """Where another proxy is. Ours follow the hub and need not be known: they list the table again."""
    given = await read_json(call.request, dict[str, Any])
    url, token = given.get("api_url"), given.get("auth_token")
    for name, value in (("api_url", url), ("auth_token", token)):
        if value is not None and not isinstance(value, str):
            raise Invalid(f"{name} must be a string", field=name)
    if call.hub.options.chp_api_url and (url or token):
        await proxy_address.repoint(call.hub, api_url=url or "", auth_token=token or "", actor=call.actor)
    call.hub.bus.lag()
    return call.empty()


ENDPOINTS = [
    Endpoint(
        "/proxy",
        GET=Operation(list_routes, "proxy"),
        POST=Operation(read_again, "proxy"),
        PATCH=Operation(repoint, "proxy"),
    )
]
