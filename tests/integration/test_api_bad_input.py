"""Malformed requests, each sent to the letter over a socket: a clear 4xx, and the process lives.

Every row is what a broken client, a scanner or an attacker may send. The answer must be an HTTP answer below
500 with something to read, no traceback in it, and the hub must go on answering others meanwhile.
"""

import asyncio
import re
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from perijove.config.options import ServiceOptions
from perijove.testing.api import ApiClient
from perijove.testing.inside import hub_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = "root-token"
AUTH = f"Authorization: token {ROOT}\r\n".encode()
DEEP = b"[" * 100_000 + b"]" * 100_000
DEEP_OBJECT = b'{"a":' * 50_000 + b"1" + b"}" * 50_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory):
    services = (ServiceOptions(name="root", api_token=ROOT, admin=True),)
    async with hub_inside(
        tmp_path_factory.mktemp("hub"), services=services, allow_named_servers=True, redirect_to_server=False
    ) as hub:
        async with ApiClient(hub.url, ROOT) as root:
            await root("POST", "/users", {"usernames": ["ann"]})
            await root("POST", "/groups/g")
        yield hub


async def send(inside, raw: bytes) -> tuple[int, bytes]:
    """What the hub answers to these bytes: status and the whole answer; 0 when it closed without a word.

    It may answer, and close, before it has read everything.
    """
    address = urlsplit(inside.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    answer = b""
    try:
        writer.write(raw)
        async with asyncio.timeout(10):
            while chunk := await reader.read(65536):
                answer += chunk
    except (ConnectionResetError, BrokenPipeError):
        pass
    finally:
        writer.close()
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)
    return (int(found[1]) if found else 0), answer


def request(method: str, path: str, body: bytes | None = None, *, head: bytes = b"", auth: bool = True) -> bytes:
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    line = f"{method} {path} HTTP/1.1\r\n".encode("latin-1")
    return (
        line
        + b"Host: hub.test\r\nConnection: close\r\n"
        + (AUTH if auth else b"")
        + length
        + head
        + b"\r\n"
        + (body or b"")
    )


def post(path: str, body: bytes, *, kind: str = "application/json", method: str = "POST", auth: bool = True) -> bytes:
    return request(method, path, body, head=f"Content-Type: {kind}\r\n".encode(), auth=auth)


FORM = "application/x-www-form-urlencoded"
USERS, TOKENS, SERVER = "/hub/api/users", "/hub/api/users/ann/tokens", "/hub/api/users/ann/server"

# (what it is, the bytes, statuses that are right)
TABLE: list[tuple[str, bytes, set[int]]] = [
    # -- JSON
    ("no body at all", request("POST", USERS), {400}),
    ("an empty body", post(USERS, b""), {400}),
    ("white space", post(USERS, b" \r\n\t"), {400}),
    ("half an object", post(USERS, b'{"usernames": ["x"'), {400}),
    ("two objects", post(USERS, b"{}{}"), {400}),
    ("a number", post(USERS, b"5"), {400}),
    ("null", post(USERS, b"null"), {400}),
    ("a list", post(USERS, b"[]"), {400}),
    ("not UTF-8", post(USERS, b'{"usernames": ["\xff\xfe"]}'), {400}),
    ("UTF-16", post(USERS, '{"usernames": ["x"]}'.encode("utf-16")), {400}),
    ("a lone surrogate", post(USERS, b'{"usernames": ["\\ud800"]}'), {400}),
    ("NaN", post(TOKENS, b'{"expires_in": NaN}'), {400}),
    ("a huge number", post(TOKENS, b'{"expires_in": 1' + b"0" * 5000 + b"}"), {400}),
    ("a number beyond integers", post(TOKENS, b'{"expires_in": 99999999999999999999999}'), {400}),
    ("an exponent", post(TOKENS, b'{"expires_in": 1e400}'), {400}),
    ("lists in lists", post(USERS, DEEP), {400}),
    ("objects in objects", post(SERVER, DEEP_OBJECT), {400}),
    ("a name that is a number", post(USERS, b'{"usernames": [5]}'), {400}),
    ("a name that is null", post(USERS, b'{"usernames": [null]}'), {400}),
    ("a name with NUL", post(USERS, b'{"usernames": ["a\\u0000b"]}'), {400}),
    ("a name with a line break", post(USERS, b'{"usernames": ["a\\r\\nSet-Cookie: x=y"]}'), {400}),
    ("ten thousand and one names", post(USERS, b'{"usernames": [' + b",".join([b'"x"'] * 10_001) + b"]}"), {400}),
    ("a key twice, wrong", post(USERS, b'{"usernames": ["x"], "usernames": 5}'), {400}),
    ("unknown keys", post(USERS, b'{"usernames": ["x"], "shell": "rm"}'), {400}),
    ("a note that is an object", post(TOKENS, b'{"note": {}}'), {400}),
    ("a thousand and one scopes", post(TOKENS, b'{"scopes": [' + b",".join([b'"self"'] * 1001) + b"]}"), {400}),
    ("options in options", post(SERVER, b'{"user_options": "x"}'), {400}),
    ("remove that is a word", post("/hub/api/users/ann/servers/x", b'{"remove": "yes"}', method="DELETE"), {400}),
    ("a comment", post("/hub/api/groups/g/users", b'{"users": [] /* all */}'), {400}),
    ("properties that are a list", post("/hub/api/groups/g/properties", b"[]", method="PUT"), {400}),
    ("a JSON body in a form's clothes", post(TOKENS, b"{}", kind=FORM, auth=False), {403}),
    # -- sizes
    ("a body beyond the limit", post(USERS, b'{"usernames": ["' + b"x" * 1_100_000 + b'"]}'), {413}),
    ("a length beyond the limit", request("POST", USERS, head=b"Content-Length: 99999999999\r\n"), {413}),
    ("a length beyond all numbers", request("POST", USERS, head=b"Content-Length: " + b"9" * 40 + b"\r\n"), {400, 413}),
    (
        "chunks beyond the limit",
        request("POST", USERS, head=b"Transfer-Encoding: chunked\r\n")
        + (b"40000\r\n" + b"x" * 0x40000 + b"\r\n") * 5
        + b"0\r\n\r\n",
        {413},
    ),
    ("a name of 100 kB", request("GET", "/hub/api/users/" + "x" * 100_000), {414, 400}),
    ("a query of 100 kB", request("GET", "/hub/api/users?name_filter=" + "x" * 100_000), {414, 400}),
    ("a header of 100 kB", request("GET", USERS, head=b"X-Big: " + b"x" * 100_000 + b"\r\n"), {431, 400}),
    ("ten thousand headers", request("GET", USERS, head=b"X-Many: 0123456789\r\n" * 10_000), {431, 400}),
    (
        "cookies of 100 kB",
        request("GET", USERS, head=b"Cookie: " + b"a=b; " * 20_000 + b"\r\n", auth=False),
        {431, 400},
    ),
    (
        "a token of 60 kB",
        request("GET", USERS, head=b"Authorization: token " + b"x" * 60_000 + b"\r\n", auth=False),
        {403},
    ),
    ("a long next", request("GET", "/hub/login?next=/" + "x" * 30_000, auth=False), {414}),
    # -- names and queries
    ("NUL in a name", request("GET", "/hub/api/users/a%00b"), {404}),
    ("a line break in a name", request("GET", "/hub/api/users/a%0d%0aX-Evil:1"), {404}),
    ("broken percent signs", request("GET", "/hub/api/users/%zz%"), {404}),
    ("a name that is not UTF-8", request("GET", "/hub/api/users/%ff%fe"), {404}),
    ("an overlong slash", request("GET", "/hub/api/users/%c0%af"), {404}),
    ("a surrogate in a path", request("GET", "/hub/api/users/%ed%a0%80"), {404}),
    ("dots for a name", request("GET", "/hub/api/users/.."), {404, 400}),
    ("encoded dots for a name", request("GET", "/hub/api/users/%2e%2e"), {404}),
    ("climbing up", request("GET", "/hub/api/users/../../internal/routes", auth=False), {403, 404, 400}),
    ("making dots a user", request("POST", "/hub/api/users/%2e%2e", b""), {400, 404}),
    ("making an empty user", request("POST", "/hub/api/users/%20", b""), {400}),
    ("a server named by a path", request("POST", "/hub/api/users/ann/servers/..%2f..", b""), {400, 404}),
    ("a script for a server", request("POST", "/hub/api/users/ann/servers/%3Cscript%3E", b""), {400}),
    ("an offset beyond integers", request("GET", USERS + "?offset=" + "9" * 30), {400}),
    ("an offset in other digits", request("GET", USERS + "?offset=%D9%A3"), {400}),
    ("an offset with underscores", request("GET", USERS + "?offset=1_0"), {400}),
    ("a limit that is a formula", request("GET", USERS + "?limit=1%2B1"), {400}),
    ("SQL for a sort", request("GET", USERS + "?sort=id;drop%20table%20users"), {400}),
    ("SQL for a state", request("GET", USERS + "?state=%27%20or%201=1"), {400}),
    ("a token id beyond integers", request("GET", TOKENS + "/a" + "9" * 40), {404}),
    # -- forms
    (
        "a login form that is not UTF-8",
        post("/hub/login", b"username=%ff&password=%fe", kind=FORM, auth=False),
        {400, 403},
    ),
    ("a login form of raw bytes", post("/hub/login", b"username=\xff\x00", kind=FORM, auth=False), {400, 403}),
    (
        "a login form with a thousand fields",
        post("/hub/login", b"&".join([b"a=1"] * 1000), kind=FORM, auth=False),
        {400},
    ),
    ("a login form of 300 kB", post("/hub/login", b"username=" + b"x" * 300_000, kind=FORM, auth=False), {413}),
    ("a login in JSON", post("/hub/login", b'{"username": "ann"}', auth=False), {400, 403}),
    (
        "a multipart login without end",
        post("/hub/login", b"--x\r\n", kind="multipart/form-data; boundary=x", auth=False),
        {400},
    ),
    ("a token form that is JSON", post("/hub/api/oauth2/token", b"{}", auth=False), {400}),
    ("a token form that is not UTF-8", post("/hub/api/oauth2/token", b"client_id=%ff", kind=FORM, auth=False), {400}),
    ("a token form with a field twice", post("/hub/api/oauth2/token", b"code=1&code=2", kind=FORM, auth=False), {400}),
    ("a token form with NUL", post("/hub/api/oauth2/token", b"client_id=a%00b", kind=FORM, auth=False), {401}),
    ("a token form of 100 kB", post("/hub/api/oauth2/token", b"code=" + b"x" * 100_000, kind=FORM, auth=False), {413}),
    ("an authorize form without anything", post("/hub/api/oauth2/authorize", b"", kind=FORM, auth=False), {302, 400}),
    # -- headers
    ("two authorizations", request("GET", USERS, head=b"Authorization: token other\r\n"), {200, 400, 403}),
    (
        "an authorization of raw bytes",
        request("GET", USERS, head=b"Authorization: token \xff\xfe\r\n", auth=False),
        {403},
    ),
    (
        "a cookie of raw bytes",
        request("GET", USERS, head=b"Cookie: jupyterhub-hub-login=\xff\xfe.\xff\r\n", auth=False),
        {403},
    ),
    (
        "forwarded for nonsense",
        request("GET", "/hub/api/nope", head=b"X-Forwarded-For: ,,<script>,999.1.1.1\r\n"),
        {404},
    ),
    ("forwarded as nonsense", request("GET", "/hub/api/nope", head=b"X-Forwarded-Proto: javascript,\r\n"), {404}),
    ("an unknown method", request("BREW", USERS), {405, 400}),
    ("a method that is not one", b"G\x00T / HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
    ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), {400, 0}),
    ("a version there is not", b"GET /hub/api HTTP/9.9\r\nHost: x\r\n\r\n", {400, 505}),
    ("a space in the path", b"GET /hub/api/users/a b HTTP/1.1\r\nHost: x\r\n\r\n", {400, 403, 404}),
    ("two lengths", request("POST", USERS, head=b"Content-Length: 2\r\nContent-Length: 3\r\n"), {400}),
    (
        "a length and chunks",
        request("POST", USERS, head=b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
        {400},
    ),
    ("a negative length", request("POST", USERS, head=b"Content-Length: -1\r\n"), {400}),
    ("a broken chunk", request("POST", USERS, head=b"Transfer-Encoding: chunked\r\n") + b"zz\r\n", {400}),
    ("a header without a colon", b"GET /hub/api HTTP/1.1\r\nHost x\r\n\r\n", {400}),
]


assert len(TABLE) >= 60


@pytest.mark.parametrize(("raw", "right"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
async def test_malformed_requests_get_a_clear_answer(inside, raw, right):
    status, answer = await send(inside, raw)
    assert status in right, answer[:400]
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Traceback" not in answer
    assert b"X-Evil" not in head
    if status >= 400 and b"application/json" in head:
        assert b'"message":' in body or b'"error":' in body
    elif status:
        assert body or status in {200, 302}
    async with ApiClient(inside.url, ROOT) as root:
        assert (await root("GET", "/users/ann")).status == 200


async def test_a_client_that_never_finishes_keeps_nobody_waiting(inside):
    address = urlsplit(inside.url)
    half = post(USERS, b"x" * 100)[:-50]
    open_ones = [await asyncio.open_connection(address.hostname, address.port) for _ in range(50)]
    try:
        for _, writer in open_ones:
            writer.write(half)
            await writer.drain()
        async with ApiClient(inside.url, ROOT) as root:
            assert (await root("GET", "/users/ann")).status == 200
    finally:
        for _, writer in open_ones:
            writer.close()


async def test_a_client_that_hangs_up_in_its_body_breaks_nothing(inside):
    half = post(USERS, b'{"usernames": ["half"]}')[:-5]
    address = urlsplit(inside.url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(half)
    await writer.drain()
    writer.transport.abort()
    async with ApiClient(inside.url, ROOT) as root:
        assert (await root("GET", "/users/half")).status == 404
