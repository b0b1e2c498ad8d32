"""What a proxy process is told, typed and frozen: nothing below reads the environment, files or globals.

Limits have defaults that a hub can live with unchanged. Those that protect against hostile peers are finite;
those that would cut a quiet notebook (idle websockets, silent long polls) are off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

# An outer reverse proxy (ingress, nginx on the next machine) speaks from one of these. Trusting nobody by default would
# make every hub behind a TLS ingress hand out http:// redirects and insecure cookies, and nobody would know why.
PRIVATE_NETWORKS = (
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
)


@dataclass(frozen=True, kw_only=True)
class ProxyLimits:
    """Bounds on what one peer can make the proxy hold."""

    head_bytes: int = 65536
    """Request line and headers together; more is 431."""
    upstream_head_bytes: int = 131072
    """Status line and headers of a response; more is 502."""
    buffer_bytes: int = 262144
    """Unsent bytes per connection above which its source is no longer read."""
    idle_upstreams: int = 64
    """Kept-alive connections per target."""
    clients: int = 0
    """Open public connections; 0 = as many as there are file descriptors for."""
    clients_per_address: int = 0
    """Of these, from one address that is not a trusted proxy's; 0 = no limit."""
    requests_per_second: float = 0
    """Of one client, over time; more is 429. 0 = no limit."""
    request_burst: int = 200
    """What a client may ask at once before its rate counts: a notebook page is a hundred requests."""
    target_connections: int = 1024
    """To one target, upgraded ones among them; further requests wait. 0 = no limit. Hubs have none."""
    body_bytes_per_second: float = 20
    """A client that sends a request's body more slowly, over a minute, is cut off (slowloris); 0 = never."""
    error_page_fetches: int = 16
    """Error pages asked of the hub at the same time; more get the built-in page."""


@dataclass(frozen=True, kw_only=True)
class ProxyTimeouts:
    """Seconds."""

    head_seconds: float = 30
    """From the first byte of a request's head to its last."""
    keep_alive_seconds: float = 75
    """A client connection between requests."""
    body_seconds: float = 300
    """No byte of a request's body arrives although we are reading."""
    send_seconds: float = 300
    """A client takes no byte of a response that is waiting for it."""
    half_closed_seconds: float = 60
    """A client that has closed its sending side still gets its answer, while some of it comes this often."""
    connect_seconds: float = 10
    """Reaching one target."""
    idle_upstream_seconds: float = 60
    """A kept-alive connection to a target."""
    target_silence_seconds: float = 0
    """A target that says nothing while a response is awaited from it; 0 = it may think for ever."""
    handshake_seconds: float = 15
    """Of TLS."""
    linger_seconds: float = 2
    """After an error, how long unread bytes are drained so that the client can read why."""
    hold_seconds: float = 8
    """A hub's response that waits for its revision of the table."""


@dataclass(frozen=True, kw_only=True)
class TLSOptions:
    """What a listener shows, and asks for. No certificate = no TLS."""

    certificates: Sequence[tuple[Path, Path | None]] = ()
    """Chains with their keys (None: in the same file). The one whose names fit is shown, else the first."""
    passphrase: str = field(default="", repr=False)
    client_ca: Path | None = None
    """Authorities that vouch for clients."""
    request_client: bool = False
    """Ask clients for a certificate; what is shown is verified."""
    require_client: bool = False
    ciphers: str = ""
    """For TLS 1.2, in OpenSSL's words; "" = forward secret AEAD ciphers."""
    dhparam: Path | None = None
    minimum: str = "1.2"
    """1.2 or 1.3."""

    def __bool__(self) -> bool:
        return bool(self.certificates)


@dataclass(frozen=True, kw_only=True)
class APIOptions:
    """configurable-http-proxy's REST API: with a listener, routes come from there and no hub is followed."""

    listen: Sequence[tuple[str, int]] = ()
    unix_sockets: Sequence[Path] = ()
    sockets: Sequence[int] = ()
    tls: TLSOptions = TLSOptions()
    default_target: str = ""
    """A route for "/" to begin with."""

    def __bool__(self) -> bool:
        return bool(self.listen or self.unix_sockets or self.sockets)


@dataclass(frozen=True, kw_only=True)
class RewriteOptions:
    """Departures from forwarding a request as it came, as configurable-http-proxy offers them."""

    x_forwarded: bool = True
    prepend_path: bool = True
    """Put a target's path before the request's."""
    include_prefix: bool = True
    """Leave the route's prefix in the path."""
    change_origin: bool = False
    """Send the target's own address as Host."""
    custom_headers: Sequence[tuple[str, str]] = ()
    """Added to what targets get."""

    def plain(self) -> bool:
        return self == RewriteOptions()


@dataclass(frozen=True, kw_only=True)
class ProxyOptions:
    """One proxy."""

    listen: Sequence[tuple[str, int]] = (("127.0.0.1", 8000),)
    """Addresses of the public side; host "" is every interface, port 0 any free one."""
    unix_sockets: Sequence[Path] = ()
    """Public listeners on unix sockets; their peers count as trusted."""
    sockets: Sequence[int] = ()
    """File descriptors of sockets that are listening already (socket activation)."""
    reuse_port: bool = False
    workers: int = 1
    """Processes that serve; with more than one, another supervises them and follows the routes for all."""

    base_url: str = "/"
    hub_urls: Sequence[str] = ("http://127.0.0.1:8081",)
    """`scheme://host:port` of every hub replica known; any of them answers for all."""
    token: str = field(default="", repr=False)
    """Authenticates the proxy to the hub, and whoever uses the REST API to the proxy."""
    table_path: Path | None = None
    """The last table, so that a proxy that starts while every hub is down still serves running notebooks."""
    api: APIOptions = APIOptions()
    host_routing: bool = False
    """Routes may begin with a host name: `host/path/`."""
    extra_routes: Mapping[str, str] = field(default_factory=dict)
    """Prefix -> target, fixed: no hub can change them."""

    trusted_downstream: Sequence[str] = PRIVATE_NETWORKS
    """Networks whose X-Forwarded-* and X-Request-ID are believed and appended to; others' are replaced."""
    rewrite: RewriteOptions = RewriteOptions()

    tls: TLSOptions = TLSOptions()
    hsts: str = ""
    """Strict-Transport-Security for answers over TLS, as in "max-age=31536000"; "" = none."""
    redirect_listen: Sequence[tuple[str, int]] = ()
    """Plain listeners that send every client to https."""
    redirect_sockets: Sequence[int] = ()
    redirect_to_port: int = 0
    """The port that is named in redirects; 0 = the first public one."""
    acme_target: str = ""
    """Who answers `/.well-known/acme-challenge/` (HTTP-01), on plain listeners and on all others."""
    target_ca: Path | None = None
    """Authorities that vouch for https targets and hubs; None = the system's."""
    target_cert: Path | None = None
    target_key: Path | None = None
    """What we show them (internal TLS)."""

    error_target: str = ""
    """Error pages are asked of `<error_target>/<status>?url=`; "" = of the hubs."""
    error_dir: Path | None = None
    """`<status>.html` or `error.html`, for when nobody else has a page."""
    brand: str = "Perijove"
    """How the built-in page calls what is behind the proxy."""
    logo: Path | None = None
    """An image that the built-in page carries in itself."""

    limits: ProxyLimits = ProxyLimits()
    timeouts: ProxyTimeouts = ProxyTimeouts()
    activity_seconds: float = 30
    """How often last activity is reported to the hub."""
    drain_seconds: float = 10
    """After SIGTERM, how long open requests and websockets may go on."""

    metrics_listen: tuple[str, int] | None = None
    metrics_unix: Path | None = None
    access_log: str = "off"
    """off | combined | json, one line a request on standard output."""
    log_json: bool = False
    debug: bool = False
    pid_file: Path | None = None

    def trusted_networks(self) -> list[IPv4Network | IPv6Network]:
        return [ip_network(text, strict=False) for text in self.trusted_downstream]


_REMEMBERED = 4096


class TrustedPeers:
    """Remembers its answers: a few outer proxies open most connections."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)
        self._known: dict[str, bool] = {}

    def __contains__(self, host: object) -> bool:
        if not isinstance(host, str):
            return False
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[host] = self._check(host)
        return known

    def _check(self, host: str) -> bool:
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        return any(address in network for network in self._networks if network.version == address.version)
