"""`/api-docs`: the REST API to read, made from its OpenAPI document. Plain HTML: it needs no scripts and no login."""

import re

from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response

from perijove.web.api import described
from perijove.web.api.openapi import words
from perijove.web.pages.view import Pages


async def show(pages: Pages, request: Request) -> Response:
    document = described(pages.hub)
    return await pages.render(
        request,
        "api-docs.html",
        tags=words.by_tag(document),
        prefix=document["servers"][0]["url"],
        version=document["info"]["version"],
        schemas=words.schemas(document),
        marked=_marked,
    )


def _marked(text: str) -> Markup:
    """Descriptions are Markdown of one kind: `code`."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before
