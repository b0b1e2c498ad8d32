"""Logs: one line an event, for a person on a console or as JSON for a collector.

Every line of a request or of a start carries its correlation id. The standard library's loggers (plug-ins,
uvicorn, alembic) end in the same stream and format. Values of keys that name secrets are masked here,
as the last line of defence: nothing should log them in the first place.
"""

import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

from perijove.lib.plain_tracebacks import structlog

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")

_SECRET_KEYS = ("token", "password", "secret", "cookie", "authorization", "auth_state", "code_verifier")


def _add_correlation(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if (value := correlation_id.get()) and "correlation_id" not in event:
        event["correlation_id"] = value
    return event


def _mask_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in event:
        if key != "event" and any(word in key.lower() for word in _SECRET_KEYS) and event[key]:
            event[key] = "***"
    return event


def configure(*, json: bool = False, debug: bool = False, stream: Any = None) -> None:
    """Send all logs of this process to `stream` (default stderr). Call once, before the loop starts."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_correlation,
        _mask_secrets,
    ]
    target = stream or sys.stderr
    renderer: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if json
        else [
            structlog.dev.ConsoleRenderer(
                colors=target.isatty(),
                pad_event_to=0,
                # The pretty ones print local variables, secrets among them.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if debug else logging.INFO),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    # Chatty below warning, and never about us.
    for name in (
        "aiosqlite",
        "asyncio",
        "alembic",
        "alembic.runtime.migration",
        "uvicorn.access",
        "uvicorn.error",
        "tornado.access",
        "urllib3",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)


def get_logger(name: str) -> Any:
    """A structlog logger: `log.info("server started", user=…, server=…)`."""
    return structlog.stdlib.get_logger(name)
