"""Translates what plug-ins raise into the hub's errors, at the border, with the cause chained.

What is safe to show a user is what the plug-in meant for users (`jupyterhub_message`, the message of an
HTTP error); everything else goes to `details`, which only admins see.
"""

import traceback

from jupyterhub.spawner import SpawnException
from tornado.web import HTTPError

from perijove.domain.errors import Forbidden, HubError, Invalid, SpawnFailed, Unauthenticated, Unavailable


def http_message(exc: HTTPError) -> str:
    """The text a Tornado handler would show for this error."""
    try:
        text = exc.get_message()
    except (TypeError, ValueError):
        # The arguments do not fit the places: the template itself is still the best text there is.
        text = exc.log_message
    return text or exc.reason or ""


def details_of(exc: BaseException) -> str:
    return "".join(traceback.format_exception(exc))


def spawn_failure(exc: BaseException, *, doing: str, extra: str = "") -> SpawnFailed:
    """The failed start as the hub stores it. `doing`: "running pre_spawn_hook", for want of better words."""
    if isinstance(exc, SpawnFailed):
        return exc
    details = f"While {doing}:\n{details_of(exc)}{extra}"
    message = str(getattr(exc, "jupyterhub_message", "") or "")
    html = str(getattr(exc, "jupyterhub_html_message", "") or "")
    if isinstance(exc, SpawnException):
        return SpawnFailed(
            message or exc.message,
            reason=exc.reason or "policy",
            details=f"While {doing}: {exc.log_message}",
            html_message=html or exc.message_html,
            status=exc.status_code,
        )
    if isinstance(exc, HTTPError):
        return SpawnFailed(message or http_message(exc), details=details, html_message=html, status=exc.status_code)
    if isinstance(exc, TimeoutError):
        message = message or f"The server did not start: it timed out while {doing}."
        return SpawnFailed(message, reason="timeout", details=details, html_message=html)
    message = message or f"The server did not start: {type(exc).__name__} while {doing}. An admin can see the details."
    return SpawnFailed(message, details=details, html_message=html)


def login_failure(exc: BaseException, *, doing: str) -> HubError:
    """An authenticator's exception: a refusal is worded by it, a crash is not the user's fault."""
    if isinstance(exc, HubError):
        return exc
    message = str(getattr(exc, "jupyterhub_message", "") or "")
    if isinstance(exc, HTTPError):
        message = message or http_message(exc)
        if exc.status_code == 401:  # noqa: PLR2004 - HTTP statuses are their own names
            return Unauthenticated(message)
        if exc.status_code == 400:  # noqa: PLR2004 - as above
            return Invalid(message)
        if exc.status_code < 500:  # noqa: PLR2004 - as above
            return Forbidden(message)
    return Unavailable(
        message or f"Logging in failed: the authenticator had a problem while {doing}. Try again, or tell an admin."
    )
