"""TLS: certificates by name and renewed, versions, clients' certificates, HSTS, redirects, ACME, https targets."""

import asyncio
import contextlib
import shutil
import ssl

import pytest

from perijove.proxy.options import ProxyTimeouts, TLSOptions
from perijove.testing.proxy import fake_hub, serve_proxy, target, wire
from perijove.testing.tls import Authority

GET = b"GET /user/al/x HTTP/1.1\r\nHost: h\r\n\r\n"
HUB = b"GET /hub/x HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def site(authority):
    """Certificate and key of this machine."""
    return authority.issue("localhost", "localhost", "127.0.0.1")


def trusting(authority, **settings):
    context = ssl.create_default_context(cafile=str(authority.ca))
    for name, value in settings.items():
        setattr(context, name, value)
    return context


@contextlib.asynccontextmanager
async def https(proxy, context, name="localhost"):
    async with wire(proxy, ssl=context, server_hostname=name) as client:
        yield client


async def shown(proxy, authority, name):
    """The names of the certificate that a client gets who asks for `name`."""
    context = trusting(authority, check_hostname=False)
    async with https(proxy, context, name) as client:
        certificate = client.writer.get_extra_info("ssl_object").getpeercert()
    return [value for _, value in certificate["subjectAltName"]]


async def test_the_certificate_fits_the_name(authority, site):
    """Exact before wildcard, the first for all others and for clients that name nobody."""
    one = authority.issue("one.org", "one.org", "www.one.org")
    wild = authority.issue("wild.org", "*.wild.org")
    tls = TLSOptions(certificates=[site, one, wild])
    async with fake_hub() as hub, serve_proxy(hub, tls=tls) as proxy:
        assert await shown(proxy, authority, "one.org") == ["one.org", "www.one.org"]
        assert await shown(proxy, authority, "WWW.one.org") == ["one.org", "www.one.org"]
        assert await shown(proxy, authority, "ada.wild.org") == ["*.wild.org"]
        assert await shown(proxy, authority, "a.b.wild.org") == ["localhost", "127.0.0.1"]
        assert await shown(proxy, authority, "127.0.0.1") == ["localhost", "127.0.0.1"]


async def test_a_renewed_certificate_is_shown_without_a_restart(authority, tmp_path):
    """Connections that are open go on; a broken file is not shown, and the next good one is."""
    chain, key = tmp_path / "tls.pem", tmp_path / "tls.key"

    def install(certificate, private):
        for source, place in ((certificate, chain), (private, key)):
            shutil.copy(source, tmp_path / "new")
            (tmp_path / "new").replace(place)

    install(*authority.issue("before.org"))
    tls = TLSOptions(certificates=[(chain, key)])
    async with fake_hub() as hub, serve_proxy(hub, tls=tls) as proxy:
        assert await shown(proxy, authority, "before.org") == ["before.org"]
        async with https(proxy, trusting(authority), "before.org") as client:
            assert (await client.ask(HUB)).status == 200
            key.write_text("broken")
            proxy.doors.reload()
            assert await shown(proxy, authority, "x") == ["before.org"]
            install(*authority.issue("after.org"))
            proxy.doors.reload()
            assert await shown(proxy, authority, "x") == ["after.org"]
            assert (await client.ask(HUB)).status == 200


@pytest.mark.parametrize(("version", "works"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
async def test_versions(authority, site, version, works):
    """1.2 and 1.3; ALPN says http/1.1 also to those that would rather speak HTTP/2."""
    context = trusting(authority)
    with contextlib.suppress(ValueError):
        # OpenSSL refuses old versions on our side, too, at its default security level.
        context.set_ciphers("ALL:@SECLEVEL=0")
    # Deprecated, which is the point.
    with pytest.warns(DeprecationWarning, match="TLSv1_1") if version == "TLSv1_1" else contextlib.nullcontext():
        context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with fake_hub() as hub, serve_proxy(hub, tls=TLSOptions(certificates=[site])) as proxy:
        if not works:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with https(proxy, context) as client:
                    await client.ask(HUB)
            return
        async with https(proxy, context) as client:
            tls = client.writer.get_extra_info("ssl_object")
            assert tls.version() == version.replace("_", ".")
            assert tls.selected_alpn_protocol() == "http/1.1"
            assert (await client.ask(HUB)).status == 200


@pytest.mark.parametrize(
    "cipher", ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA256", "PSK-AES128-GCM-SHA256"]
)
async def test_weak_ciphers_are_refused(authority, site, cipher):
    """No forward secrecy, no authenticated encryption: no connection."""
    context = trusting(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    async with fake_hub() as hub, serve_proxy(hub, tls=TLSOptions(certificates=[site])) as proxy:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with https(proxy, context) as client:
                await client.ask(HUB)


@pytest.mark.parametrize("required", [True, False])
async def test_clients_may_have_to_show_a_certificate(authority, site, tmp_path, required):
    """One that the authority vouches for; a stranger's is never taken."""
    options = {"require_client": True} if required else {"request_client": True}
    tls = TLSOptions(certificates=[site], client_ca=authority.ca, **options)
    known = trusting(authority)
    known.load_cert_chain(*authority.issue("client"))
    stranger = trusting(authority)
    stranger.load_cert_chain(*Authority(tmp_path).issue("stranger"))
    async with fake_hub() as hub, serve_proxy(hub, tls=tls) as proxy:
        async with https(proxy, known) as client:
            assert (await client.ask(HUB)).status == 200
        for context, allowed in ((trusting(authority), not required), (stranger, False)):
            with contextlib.nullcontext() if allowed else pytest.raises((OSError, asyncio.IncompleteReadError)):
                async with https(proxy, context) as client:
                    assert (await client.ask(HUB)).status == 200


async def test_hsts_is_said_over_tls_alone(authority, site):
    """Once, also in our own answers, in the place of a target's; never on plain listeners."""

    async def handler(reader, writer):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nstrict-transport-security: max-age=0\r\nContent-Length: 0\r\n\r\n")

    options = {
        "tls": TLSOptions(certificates=[site]),
        "hsts": "max-age=31536000",
        "redirect_listen": [("127.0.0.1", 0)],
    }
    async with fake_hub() as hub, target(handler) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub, **options) as proxy:
            async with https(proxy, trusting(authority)) as client:
                for request in (GET, HUB, b"GET /_chp_healthz HTTP/1.1\r\nHost: h\r\n\r\n"):
                    assert (await client.ask(request)).field("strict-transport-security") == "max-age=31536000"
            async with wire(proxy.doors.redirecting_addresses[0]) as client:
                assert (await client.ask(HUB)).field("strict-transport-security") is None


@pytest.mark.parametrize(
    ("request_", "status", "location"),
    [
        (b"GET /hub/x?a=%26 HTTP/1.1\r\nHost: hub.org", 301, "https://hub.org:8443/hub/x?a=%26"),
        (b"HEAD / HTTP/1.1\r\nHost: hub.org:80", 301, "https://hub.org:8443/"),
        (b"GET / HTTP/1.1\r\nHost: [::1]:80", 301, "https://[::1]:8443/"),
        (b"GET / HTTP/1.1\r\nHost: [::1]", 301, "https://[::1]:8443/"),
        (b"DELETE /x HTTP/1.1\r\nHost: hub.org", 308, "https://hub.org:8443/x"),
        (b"GET //evil.org/x HTTP/1.1\r\nHost: hub.org", 301, "https://hub.org:8443/evil.org/x"),
        (b"GET http://hub.org/x HTTP/1.1\r\nHost: hub.org", 301, "https://hub.org:8443/x"),
        (b"GET /x HTTP/1.0", 400, None),
    ],
)
async def test_plain_http_is_sent_to_https(site, request_, status, location):
    """With the path as it was, to the host that was asked for, and nowhere else."""
    options = {"tls": TLSOptions(certificates=[site]), "redirect_listen": [("127.0.0.1", 0)], "redirect_to_port": 8443}
    async with fake_hub() as hub, serve_proxy(hub, **options) as proxy:
        async with wire(proxy.doors.redirecting_addresses[0]) as client:
            await client.send(request_ + b"\r\n\r\n")
            answer = await client.answer(head_request=request_.startswith(b"HEAD"))
        assert (answer.status, answer.field("location")) == (status, location)
        assert not hub.requests


async def test_acme_challenges_are_handed_over(site):
    """On the plain listener to whoever renews certificates; the rest of it still redirects, and no hub changes it."""

    async def renewer(reader, writer):
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))

    challenge = b"GET /.well-known/acme-challenge/t0ken HTTP/1.1\r\nHost: h\r\n\r\n"
    async with fake_hub() as hub, target(renewer) as url:
        hub.change({"/.well-known/acme-challenge/": "http://127.0.0.1:1"})
        options = {"tls": TLSOptions(certificates=[site]), "redirect_listen": [("127.0.0.1", 0)], "acme_target": url}
        async with serve_proxy(hub, **options) as proxy, wire(proxy.doors.redirecting_addresses[0]) as client:
            assert (await client.ask(challenge)).body == b"/.well-known/acme-challenge/t0ken"
            for path in (b"/.well-known/acme-challenge/../x", b"/hub/x"):
                assert (await client.ask(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % path)).status == 301


async def test_targets_are_shown_our_certificate(authority, site):
    """As internal TLS wants it; without one the target refuses us, and that is a 503."""
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.ca))
    serving.load_cert_chain(*site)
    serving.verify_mode = ssl.CERT_REQUIRED
    peers = []

    async def handler(reader, writer):
        peers.append(writer.get_extra_info("peercert")["subject"])
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    cert, key = authority.issue("proxy-client")
    async with fake_hub() as hub, target(handler, ssl=serving) as url:
        hub.change({"/user/al/": url})
        for shows, status in (({"target_cert": cert, "target_key": key}, 200), ({}, 503)):
            async with serve_proxy(hub, target_ca=authority.ca, **shows) as proxy, wire(proxy) as client:
                assert (await client.ask(GET)).status == status
    assert peers == [((("commonName", "proxy-client"),),)]


async def test_a_target_with_another_name_is_not_trusted(authority):
    """Whoever vouches for it."""
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(*authority.issue("somebody.else"))

    async def handler(reader, writer):
        await reader.read()

    async with fake_hub() as hub, target(handler, ssl=serving) as url:
        hub.change({"/user/al/": url})
        async with serve_proxy(hub, target_ca=authority.ca) as proxy, wire(proxy) as client:
            assert (await client.ask(GET)).status == 503


async def test_a_silent_handshake_is_given_up(site):
    """A client that connects and never speaks TLS."""
    options = {"tls": TLSOptions(certificates=[site]), "timeouts": ProxyTimeouts(handshake_seconds=0.1)}
    async with fake_hub() as hub, serve_proxy(hub, **options) as proxy, wire(proxy) as client:
        assert await client.closed() == b""
