"""A user's server for tests that start many: there in 50 ms, and a stock one where it matters.

It takes its address, token and OAuth client from the environment as jupyterhub-singleuser does, asks the hub with
them, and lets a browser in by OAuth. Two of it for one user at one time would find the lock taken, and say so.
"""

import base64
import fcntl
import hashlib
import http.cookies
import http.server
import json
import os
import secrets
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode, urlsplit

PREFIX = os.environ["JUPYTERHUB_SERVICE_PREFIX"]
API = os.environ["JUPYTERHUB_API_URL"]
TOKEN = os.environ["JUPYTERHUB_API_TOKEN"]
CLIENT = os.environ["JUPYTERHUB_CLIENT_ID"]
CALLBACK = os.environ["JUPYTERHUB_OAUTH_CALLBACK_URL"]


def ask_hub(path, token, form=None):
    data = urlencode(form).encode() if form else None
    request = urllib.request.Request(f"{API}{path}", data, {"Authorization": f"token {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        self.query = {name: values[0] for name, values in parse_qs(query).items()}
        page = getattr(self, f"page_{path.rpartition('/')[2] or 'index'}", None)
        if page is None:
            self.answer(404, {"path": self.path})
            return
        page()

    def answer(self, status, body, headers=()):
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def page_index(self):
        # Bytes that are no text survive in JSON as surrogates.
        self.answer(200, {"pid": os.getpid(), "path": self.path, "environment": dict(os.environ)})

    def page_api(self):
        self.answer(200, {"version": "tiny"})

    def page_whoami(self):
        """Who the server's own token makes it."""
        status, user = ask_hub("/user", TOKEN)
        self.answer(status, user)

    def page_private(self):
        """Only for people the hub sends."""
        jar = http.cookies.SimpleCookie(self.headers.get("Cookie", ""))
        if CLIENT in jar:
            status, user = ask_hub("/user", jar[CLIENT].value)
            self.answer(status, {"name": user["name"] if user else None})
            return
        state = secrets.token_hex(8)
        asked = {"client_id": CLIENT, "redirect_uri": CALLBACK, "response_type": "code", "state": state}
        authorize = f"{os.environ['JUPYTERHUB_BASE_URL']}hub/api/oauth2/authorize"
        cookie = f"state={state}; Path={PREFIX}"
        self.answer(302, {}, [("Location", f"{authorize}?{urlencode(asked)}"), ("Set-Cookie", cookie)])

    def page_oauth_callback(self):
        jar = http.cookies.SimpleCookie(self.headers.get("Cookie", ""))
        if jar["state"].value != self.query.get("state"):
            self.answer(400, {"error": "state"})
            return
        form = {"client_id": CLIENT, "client_secret": TOKEN, "grant_type": "authorization_code"}
        form |= {"code": self.query["code"], "redirect_uri": CALLBACK}
        status, answered = ask_hub("/oauth2/token", "", form)
        if status != 200:
            self.answer(403, {"error": f"the hub says {status}"})
            return
        cookie = f"{CLIENT}={answered['access_token']}; Path={PREFIX}; HttpOnly"
        self.answer(302, {}, [("Location", f"{PREFIX}private"), ("Set-Cookie", cookie)])

    def page_ticks(self):
        """A line every so often, for ever."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        tick = 0
        while True:
            line = f"{tick}\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
            tick += 1
            time.sleep(0.02)

    def page_echo(self):
        """A websocket that sends short messages back."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while head := self.rfile.read(2):
            mask = self.rfile.read(4)
            payload = self.rfile.read(head[1] & 0x7F)
            if head[0] & 0x0F == 8:
                return
            text = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
            self.wfile.write(bytes([0x81, len(text)]) + text)

    def log_message(self, *arguments):
        pass


def be_alone():
    """Hold a lock for life; leave a mark beside it when somebody else of this server does."""
    name = hashlib.sha256(PREFIX.encode()).hexdigest()[:16]
    kept = Path(os.environ["TEST_STARTS"]) / name
    lock = kept.with_suffix(".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        kept.with_suffix(".twice").touch()
        sys.exit(f"another server runs for {PREFIX}")
    with kept.with_suffix(".starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    return lock


def main():
    lock = be_alone()
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    assert url.path == PREFIX == quote(url.path, safe="/%@~"), (url.path, PREFIX)
    with http.server.ThreadingHTTPServer((url.hostname, url.port), Handler) as server:
        server.serve_forever()
    lock.close()


if __name__ == "__main__":
    main()
