"""The options of `perijove proxy`, one alias each; `proxy` lists them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

TOKEN_VARIABLE = "CONFIGPROXY_AUTH_TOKEN"  # noqa: S105 - a variable's name


class AccessLog(StrEnum):
    OFF = "off"
    COMBINED = "combined"
    JSON = "json"


HubUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--hub-url", help="A hub. Repeat it: any of them answers for all.", show_default="http://127.0.0.1:8081"
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(help=f"File with the token that hub and proxy share; otherwise {TOKEN_VARIABLE}.", dir_okay=False),
]
Ip = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")]
Sockets = Annotated[list[Path] | None, typer.Option("--socket", help="Listen on this unix socket instead.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that share the port: one a processor.")]
BaseUrl = Annotated[str, typer.Option(help="The hub's base URL.")]
Table = Annotated[
    Path | None,
    typer.Option(help="Keep the routes here, to serve running notebooks when started while every hub is down."),
]
ExtraRoutes = Annotated[
    list[str] | None,
    typer.Option("--extra-route", help="PREFIX=TARGET, as in /docs/=http://127.0.0.1:9000; no hub changes it."),
]
HostRouting = Annotated[
    bool,
    typer.Option(
        "--host-routing", help="Routes of the REST API begin with a host name. Those of hubs say it themselves."
    ),
]
Trusted = Annotated[
    list[str] | None,
    typer.Option(
        "--trusted-proxy",
        help="Network of outer proxies whose X-Forwarded-* are believed. Repeat it.",
        show_default="private networks",
    ),
]
SslCert = Annotated[
    list[Path] | None,
    typer.Option(help="Certificate chain, for https. Repeat it: clients get the one for the name they ask for."),
]
SslKey = Annotated[list[Path] | None, typer.Option(help="Its key; one for each --ssl-cert.")]
Hsts = Annotated[str, typer.Option(help="Strict-Transport-Security for answers over https, as in max-age=31536000.")]
RedirectPort = Annotated[int | None, typer.Option(min=0, max=65535, help="Plain port that sends everybody to https.")]
RedirectTo = Annotated[
    int, typer.Option(min=0, max=65535, help="The https port that is named there.", show_default="--port")
]
AcmeTarget = Annotated[
    str, typer.Option(help="Who answers /.well-known/acme-challenge/ (Let's Encrypt), as http://host:port.")
]
TargetCa = Annotated[Path | None, typer.Option(help="Authorities that vouch for https hubs and servers.", exists=True)]
TargetCert = Annotated[Path | None, typer.Option(help="Certificate to show them.", exists=True)]
TargetKey = Annotated[Path | None, typer.Option(help="Its key.", exists=True)]
MaxConnections = Annotated[int, typer.Option(min=0, help="Of clients.", show_default="as many as descriptors allow")]
MaxConnectionsPerAddress = Annotated[int, typer.Option(min=0, help="Of one client; 0 = any number.")]
MaxConnectionsPerTarget = Annotated[
    int, typer.Option(min=0, help="To one server; further requests wait. 0 = any number.")
]
MaxRequestsPerSecond = Annotated[
    float, typer.Option(min=0, help="Of one client, over time; more is 429. 0 = any number.")
]
RequestBurst = Annotated[int, typer.Option(min=1, help="What a client may ask at once before that.")]
Brand = Annotated[str, typer.Option(help="How the page for when every hub is down calls this place.")]
Logo = Annotated[Path | None, typer.Option(help="An image for that page.", exists=True, dir_okay=False)]
ErrorPath = Annotated[
    Path | None, typer.Option(help="Directory with 503.html, error.html… for that case.", exists=True)
]
AccessLogging = Annotated[AccessLog, typer.Option(help="One line a request on standard output.")]
MetricsPort = Annotated[int | None, typer.Option(help="Port for Prometheus, on --ip.")]
DrainTimeout = Annotated[
    float,
    typer.Option(
        "--drain-timeout",
        "--drain-seconds",
        min=0,
        help="After SIGTERM, how many seconds open requests and websockets may go on.",
    ),
]
PidFile = Annotated[Path | None, typer.Option(help="Write the process id here.")]
