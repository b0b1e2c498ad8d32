"""Images of notebook servers: with the real `jupyterhub-singleuser`, and with one that is there at once.

The real one takes three seconds of a processor to start. Most tests are of what hubs do with pods, not of what runs
in them.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from perijove.testing.kube.kubelet.images import Image

_HOME: Final = "/home/jovyan"
NOTEBOOK: Final = Image(command=("jupyterhub-singleuser",), user=1000, group=100, home=_HOME, working_directory=_HOME)
# By pattern, for a node: what they run when a pod names no command.
NOTEBOOKS: Final = {"*singleuser*": NOTEBOOK}

_PROGRAM: Final = """#!%s -IS
import json, os, signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({"started": True, "path": self.path}).encode()
        self.send_response(200)
        self.send_header("X-JupyterHub-Version", "5.3.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET


where = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
ThreadingHTTPServer((where.hostname, where.port), Server).serve_forever()
"""


def quick_notebooks(directory: Path) -> dict[str, Image]:
    """`directory` is one that pods can read."""
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    program = directory / "jupyterhub-singleuser"
    program.write_text(_PROGRAM % sys.executable)
    program.chmod(0o755)
    path = os.pathsep.join([str(directory), "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"])
    return dict.fromkeys(NOTEBOOKS, replace(NOTEBOOK, environment={"PATH": path}))
