"""Error pages: what happened, what to do now, and the request's id to quote."""

from html import escape
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from perijove.lib.log import correlation_id, get_logger
from perijove.web.errors import RenderError
from perijove.web.pages.view import LoginNeeded, Pages

log = get_logger(__name__)

# Status: (what happened, when nothing more exact is known; what to do).
_SAYINGS: dict[int, tuple[str, str]] = {
    400: ("The hub could not understand this request.", "Go back, check what you entered and try again."),
    403: (
        "You are not allowed to do this.",
        "If you think you should be, ask your administrator, and quote the request below.",
    ),
    404: (
        "There is nothing at this address, or it is not yours to see.",
        "Check the address, or go on from the start page.",
    ),
    405: ("This address does not take this kind of request.", "Go on from the start page."),
    409: ("Something changed in the meantime.", "Go back, load the page again and look before you try once more."),
    413: ("That is larger than this hub accepts.", "Send less at once."),
    424: ("Your server is not running.", "Start it from the home page."),
    429: ("Too many requests right now.", "Wait a moment and try again."),
    500: (
        "Something went wrong inside the hub. Your servers are not affected.",
        "Try again; if it stays so, tell your administrator.",
    ),
    502: ("The server behind this address gave no usable answer.", "Wait a few seconds and load the page again."),
    503: ("The service behind this address does not answer right now.", "Wait a few seconds and load the page again."),
    504: ("The server behind this address took too long to answer.", "Wait a few seconds and load the page again."),
}
_XSRF = "This form was open for too long, or you logged in again in another tab."


def error_renderer(pages: Pages) -> RenderError:
    """For `web/errors.py`: the page of an error that reached the top."""

    async def render_error(request: Request, status: int, message: str, headers: dict[str, str]) -> Response:
        try:
            return await error_page(pages, request, status, message, headers=headers)
        except Exception:
            # The error page is the last thing that may fail: a custom template with a mistake ends here.
            log.exception("error page could not be rendered", status=status)
            return HTMLResponse(_plain(status, message), status_code=status, headers=headers)

    return render_error


async def error_page(
    pages: Pages,
    request: Request,
    code: int,
    message: str = "",
    *,
    status: int | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """`code` is what the page speaks of, `status` the response's own, `code` by default."""
    said, advice = _SAYINGS.get(code, ("", "Go back and try again."))
    if "_xsrf" in message or "XSRF" in message:
        said, advice, message = _XSRF, "Go back, load the page again and send the form once more.", ""
    return await pages.render(
        request,
        "404.html" if code == HTTPStatus.NOT_FOUND else "error.html",
        status=status or code,
        headers=headers,
        status_code=code,
        status_message=phrase(code),
        message=message or said,
        advice=advice,
        actions=_actions(pages, request),
        request_id=correlation_id.get(),
    )


async def login_needed(pages: Pages, request: Request, error: Exception) -> Response:
    """`LoginNeeded` -> the login page, and back here afterwards."""
    assert isinstance(error, LoginNeeded)
    response = pages.login_redirect(request)
    if request.headers.get("hx-request") == "true":
        # A redirect would be followed inside the page, and put a login form into a table.
        return Response(
            status_code=HTTPStatus.OK,
            headers={"HX-Redirect": response.headers["location"], "Cache-Control": "no-store"},
        )
    return response


async def for_proxy(pages: Pages, request: Request) -> Response:
    """`/error/{code}?url=`: fetched by proxies for their own answers, so its own status is 200."""
    text = request.path_params["code"]
    code = int(text) if text.isascii() and text.isdigit() and len(text) == len("404") else HTTPStatus.NOT_FOUND
    return await error_page(pages, request, code, status=HTTPStatus.OK)


def phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "Error"


def _actions(pages: Pages, request: Request) -> list[dict[str, Any]]:
    home = {"href": f"{pages.prefix}home", "label": "Go to the start page"}
    if request.method == "GET" and not request.url.path.startswith(f"{pages.prefix}error/"):
        again = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return [home, {"href": again, "label": "Try again"}]
    return [home]


def _plain(status: int, message: str) -> str:
    title = f"{status} {phrase(status)}"
    return f"<!doctype html><html lang=en><title>{title}</title><h1>{title}</h1><p>{escape(message)}</p>"
