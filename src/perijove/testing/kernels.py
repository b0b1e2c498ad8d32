"""Running a cell on a single-user server the way a notebook does: REST for the kernel, a websocket for the code."""

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

import aiohttp
from yarl import URL

CELL_SECONDS = 30.0


async def start_kernel(session: aiohttp.ClientSession, server: str, *, headers: Mapping[str, str] | None = None) -> str:
    """A new kernel's id. `server` is the URL of the single-user server, with its slash."""
    async with session.post(URL(f"{server}api/kernels", encoded=True), json={}, headers=headers) as response:
        response.raise_for_status()
        return str((await response.json())["id"])


async def execute(
    session: aiohttp.ClientSession,
    server: str,
    kernel: str,
    code: str,
    *,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
) -> str:
    """What `code` evaluates to, as text. Raises `aiohttp.WSServerHandshakeError` when the server refuses."""
    url = URL(f"{server}api/kernels/{kernel}/channels", encoded=True).update_query(query or {})
    async with asyncio.timeout(CELL_SECONDS), session.ws_connect(url, headers=headers) as socket:
        return await evaluate(socket, code)


async def evaluate(socket: aiohttp.ClientWebSocketResponse, code: str) -> str:
    """What `code` evaluates to, over an open `channels` websocket of a kernel."""
    request = _request(code)
    await socket.send_json(request)
    return await _result(socket, request["header"]["msg_id"])


def _request(code: str) -> dict[str, Any]:
    return {
        "channel": "shell",
        "header": {
            "msg_id": uuid.uuid4().hex,
            "msg_type": "execute_request",
            "session": uuid.uuid4().hex,
            "username": "",
            "version": "5.3",
        },
        "parent_header": {},
        "metadata": {},
        "content": {"code": code, "silent": False, "store_history": False},
        "buffers": [],
    }


async def _result(socket: aiohttp.ClientWebSocketResponse, request_id: str) -> str:
    while True:
        message = await socket.receive_json()
        if message["parent_header"].get("msg_id") != request_id:
            continue
        if message["msg_type"] == "error":
            raise RuntimeError(f"{message['content']['ename']}: {message['content']['evalue']}")
        if message["msg_type"] == "execute_result":
            return str(message["content"]["data"]["text/plain"])
