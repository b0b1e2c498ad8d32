"""The route table, as operators and scripts know it from JupyterHub."""

from itertools import islice

from starlette.responses import Response

from perijove.services import routes
from perijove.web.api.endpoint import Call, Endpoint, Operation
from perijove.web.api.pagination import paged, read_page
from perijove.web.requests import host, scheme


async def list_routes(call: Call) -> Response:
    page = read_page(call)
    _, table = await routes.all_routes(call.hub)
    items = {}
    for route in islice(table, page.offset, page.offset + page.limit):
        target = route["target"]
        if target == routes.HUB_TARGET:
            target = f"{scheme(call.request)}://{host(call.request)}"
        items[route["prefix"]] = {"routespec": route["prefix"], "target": target, "data": route["data"]}
    return call.json(paged(call, page, items, len(table)))


async def read_again(call: Call) -> Response:
    """Every proxy that follows this hub lists the table again."""
    call.hub.bus.lag()
    return call.empty()


ENDPOINTS = [Endpoint("/proxy", GET=Operation(list_routes, "proxy"), POST=Operation(read_again, "proxy"))]
