"""The proxies under test as processes, each pinned to CPU 0; upstream and load on CPU 1.

Ours is run as `perijove-chp`, so that it is filled through the same REST API as configurable-http-proxy. nginx and
haproxy have one route and no API: they are the limit of what a proxy can do here, not peers.
"""

import asyncio
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.rig import LOAD_CPU, cache_dir
from perijove.cli.listening import free_port
from perijove.testing.npm import chp_command

HERE = Path(__file__).parent
PROXY_CPU = "0"
TOKEN = "bench"
START_SECONDS = 30


@dataclass
class Proxy:
    """One that runs. `port` speaks HTTP, `tls_port` HTTPS, `api_port` the REST API (0 where there is none)."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    api_port: int = 0
    cpus: str = PROXY_CPU
    started: float = field(default_factory=time.monotonic)

    def family(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def cpu_seconds(self) -> float:
        return sum(times.user + times.system for times in (member.cpu_times() for member in self.family()))

    def worker_seconds(self) -> dict[int, float]:
        """Of each process that serves: a supervisor with workers does not."""
        parent, *workers = self.family()
        return {
            member.pid: times.user + times.system
            for member, times in ((member, member.cpu_times()) for member in workers or [parent])
        }

    def rss_kb(self) -> float:
        return sum(member.memory_info().rss for member in self.family()) / 1024

    def wait(self, tls: bool = False) -> None:
        deadline = time.monotonic() + START_SECONDS
        for port in filter(None, (self.port, self.api_port)):
            while True:
                try:
                    http.client.HTTPConnection("127.0.0.1", port, timeout=5).connect()
                    break
                except OSError:
                    if self.process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit(f"{self.name} does not listen on port {port}") from None
                    time.sleep(0.01)

    def api(self, method: str, path: str = "", body: object = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=120)
        try:
            text = json.dumps(body) if body is not None else None
            connection.request(method, f"/api/routes{path}", text, {"Authorization": f"token {TOKEN}"})
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            raise SystemExit(f"{self.name}: {method} {path} answered {response.status}")
        return data

    def stop(self) -> None:
        members = self.family() if self.process.poll() is None else []
        if members:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self.process.wait()


def _start(name: str, command: list[str], port: int, api_port: int = 0, *, cpus: str = PROXY_CPU) -> Proxy:
    process = subprocess.Popen(
        ["taskset", "-c", cpus, *command],
        env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": TOKEN},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    proxy = Proxy(name, port, process, api_port, cpus)
    proxy.wait()
    return proxy


def _listen(port: int, api_port: int, certificate: tuple[Path, Path] | None) -> list[str]:
    arguments = ["--ip", "127.0.0.1", "--port", str(port), "--api-ip", "127.0.0.1", "--api-port", str(api_port)]
    arguments += ["--log-level", "error"]
    if certificate:
        arguments += ["--ssl-cert", str(certificate[0]), "--ssl-key", str(certificate[1])]
    return arguments


def ours(certificate: tuple[Path, Path] | None = None, *, workers: int = 1, cpus: str = PROXY_CPU) -> Proxy:
    port, api_port = free_port(), free_port()
    command = [sys.executable, "-P", "-m", "perijove.cli.chp", *_listen(port, api_port, certificate)]
    return _start("perijove", [*command, "--workers", str(workers)], port, api_port, cpus=cpus)


def chp(certificate: tuple[Path, Path] | None = None) -> Proxy:
    port, api_port = free_port(), free_port()
    return _start("chp", [*asyncio.run(chp_command()), *_listen(port, api_port, certificate)], port, api_port)


NGINX = """
daemon off; master_process off; worker_processes 1; pid {place}/nginx.pid; error_log {place}/error.log;
events {{ worker_connections 8000; }}
http {{
  access_log off; client_max_body_size 0; keepalive_requests 100000000;
  client_body_temp_path {place}/b; proxy_temp_path {place}/p; fastcgi_temp_path {place}/f;
  uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
  upstream server {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  server {{
    listen 127.0.0.1:{port}{tls};
    {certificate}
    location / {{
      proxy_pass http://server; proxy_http_version 1.1; proxy_request_buffering off; proxy_read_timeout 1h;
      proxy_buffers 32 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0;
      proxy_set_header Host $http_host; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Port $server_port; proxy_set_header X-Request-ID $request_id;
    }}
  }}
}}
"""
HAPROXY = """
global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend public
  bind 127.0.0.1:{port}{tls}
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(Host)]
  http-request set-header X-Forwarded-Port {port}
  http-request set-header X-Request-ID %[uuid()]
  default_backend server
backend server
  http-reuse always
  server one 127.0.0.1:{upstream}
"""


def nginx(upstream: int, place: Path, certificate: tuple[Path, Path] | None = None) -> Proxy:
    place.mkdir(parents=True)
    port = free_port()
    lines = f"ssl_certificate {certificate[0]}; ssl_certificate_key {certificate[1]};" if certificate else ""
    tls = " ssl" if certificate else ""
    config = place / "nginx.conf"
    config.write_text(NGINX.format(place=place, upstream=upstream, port=port, tls=tls, certificate=lines))
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    return _start("nginx", [binary, "-p", str(place), "-c", str(config)], port)


def haproxy(upstream: int, place: Path, certificate: tuple[Path, Path] | None = None) -> Proxy:
    place.mkdir(parents=True)
    port = free_port()
    tls = ""
    if certificate:
        both = place / "both.pem"
        both.write_bytes(certificate[0].read_bytes() + certificate[1].read_bytes())
        tls = f" ssl crt {both}"
    config = place / "haproxy.cfg"
    config.write_text(HAPROXY.format(upstream=upstream, port=port, tls=tls))
    binary = shutil.which("haproxy") or "/usr/sbin/haproxy"
    return _start("haproxy", [binary, "-f", str(config)], port)


def built(name: str) -> Path:
    """A small C program of ours, compiled when its source is newer."""
    source = HERE / "native" / f"{name}.c"
    binary = cache_dir() / name
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O2", "-o", str(binary), str(source)], check=True)
    return binary


@contextmanager
def upstream() -> Iterator[int]:
    """The server that every route leads to; its port."""
    port = free_port()
    process = subprocess.Popen(["taskset", "-c", LOAD_CPU, str(built("upstream")), str(port)])
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def certificate(place: Path) -> tuple[Path, Path]:
    """RSA, as most certificates still are."""
    chain, key = place / "cert.pem", place / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(chain)], check=True, capture_output=True)
    return chain, key
