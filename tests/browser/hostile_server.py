"""A single-user server in the hands of somebody who means harm: its pages run scripts against whoever opens them.

Every path is a page without content; those that end in `sw.js` are a service worker that asks to control everything,
and `clear` tells the browser to forget the whole site.
"""

import http.server
import os
import socketserver
from urllib.parse import urlsplit

WORKER = b"self.addEventListener('fetch', e => e.respondWith(new Response('taken over')));"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = urlsplit(self.path).path
        worker = path.endswith("sw.js")
        body = WORKER if worker else b"<!doctype html><title>hostile</title><p>hostile"
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript" if worker else "text/html")
        self.send_header("Content-Length", str(len(body)))
        if worker:
            self.send_header("Service-Worker-Allowed", "/")
        if path.endswith("clear"):
            self.send_header("Clear-Site-Data", '"*"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


if __name__ == "__main__":
    url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    Server((url.hostname, url.port), Handler).serve_forever()
