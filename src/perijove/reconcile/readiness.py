"""Waiting until a started server answers, and noticing at once when it never will.

JupyterHub only looks at the HTTP port while it waits, so a process that died at once is reported when the
timeout ends. Here the spawner is polled beside it: a dead process ends the wait within a second.
"""

import asyncio
import random
import re

import aiohttp

from perijove.domain.errors import SpawnFailed
from perijove.domain.last_lines import with_last_lines
from perijove.domain.ports import Exited, Spawner

FIRST_WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 1.0
POLL_SECONDS = 0.5
# Jupyter's and the shell's ways to say it: "[C 2026-…", "ModuleNotFoundError: …", "sh: 1: lab: not found".
_FATAL = re.compile(r"^\[C |\b(?:\w*(?:Error|Exception)|fatal|error|not found|denied|killed)\b:?", re.IGNORECASE)


async def wait_ready(session: aiohttp.ClientSession, spawner: Spawner, url: str) -> None:
    """Return when `GET url` gives any status below 500.

    Raises `SpawnFailed`: the process ended (with its exit code and last lines), or nothing answered within the
    spawner's `http_timeout`.
    """
    answers = asyncio.create_task(_answers(session, url), name="readiness: http")
    ended = asyncio.create_task(_ended(spawner), name="readiness: poll")
    try:
        done, _ = await asyncio.wait(
            {answers, ended}, timeout=spawner.http_timeout_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if ended in done:
            raise died(await ended)
        if answers in done:
            await answers
            return
        raise SpawnFailed(
            f"The server started but did not answer within {spawner.http_timeout_seconds:.0f} seconds.",
            reason="timeout",
            details=with_last_lines(f"No answer from {url}.", await spawner.log_lines()),
        )
    finally:
        for task in (answers, ended):
            task.cancel()
        await asyncio.gather(answers, ended, return_exceptions=True)


def died(exited: Exited) -> SpawnFailed:
    """The failure for a process that ended before it was ready."""
    if exited.cause is not None:
        return explained(exited.cause, exited.log_lines)
    code = "" if exited.code is None else f" (exit code {exited.code})"
    last = telling_line(exited.log_lines)
    return SpawnFailed(
        f"The server's process ended while it was starting{code}."
        + (f" Its last words: {last.strip()[:300]}" if last else ""),
        reason="exited",
        details=with_last_lines(f"The process ended{code}.", exited.log_lines),
    )


def explained(cause: SpawnFailed, lines: tuple[str, ...]) -> SpawnFailed:
    """What a spawner knows of an end, with the log it kept."""
    return SpawnFailed(cause.message, reason=cause.reason, details=with_last_lines(cause.details, lines))


def telling_line(lines: tuple[str, ...]) -> str:
    """The last line that sounds like the reason, else the last line: servers chat on after a fatal message."""
    said = [line for line in reversed(lines) if line.strip()]
    return next((line for line in said if _FATAL.search(line)), said[0] if said else "")


async def _answers(session: aiohttp.ClientSession, url: str) -> None:
    wait = FIRST_WAIT_SECONDS
    while True:
        try:
            async with session.get(url, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=5)) as response:
                if response.status < 500:  # noqa: PLR2004 - the contract: any status below 500 counts as up
                    return
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass  # not up yet; the caller's timeout ends this
        await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        wait = min(wait * 1.5, LONGEST_WAIT_SECONDS)


async def _ended(spawner: Spawner) -> Exited:
    while True:
        exited = await spawner.poll()
        if exited is not None:
            return exited
        await asyncio.sleep(POLL_SECONDS)
