"""Stands in for jupyterhub-singleuser: takes its address from the same variable, starts in 50 ms.

Arguments choose what else it does: `die CODE` writes two lines and exits before it listens, `child` starts a
process in a session of its own (as kernels are), `stubborn` ignores SIGINT and SIGTERM.
"""

import http.server
import os
import signal
import socketserver
import subprocess
import sys
from urllib.parse import urlsplit


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ.get("GREETING", "hello").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    arguments = sys.argv[1:]
    os.write(1, b"\x1b[32mstarting\x1b[0m up\n")
    if "die" in arguments:
        os.write(2, b"cannot find my config\n")
        sys.exit(int(arguments[arguments.index("die") + 1]))
    if "child" in arguments:
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    if "stubborn" in arguments:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    with socketserver.ThreadingTCPServer((url.hostname, url.port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
