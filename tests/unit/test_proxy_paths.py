"""Targets are read in one way, and matched on what is forwarded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perijove.proxy.paths import BadTarget, fully_decoded, prefix_segments, resolve


@pytest.mark.parametrize(
    ("target", "forwarded", "segments"),
    [
        (b"/", b"/", [b"", b""]),
        (b"/user/al/x?y=/../%zz", b"/user/al/x?y=/../%zz", [b"", b"user", b"al", b"x"]),
        (b"/user/a%40b/x", b"/user/a%40b/x", [b"", b"user", b"a@b", b"x"]),
        (b"/user/%7Ea/x", b"/user/%7Ea/x", [b"", b"user", b"~a", b"x"]),
        (b"/user%2falice/x", b"/user%2falice/x", [b"", b"user%2Falice", b"x"]),
        (b"/user%252falice/x", b"/user%252falice/x", [b"", b"user%252falice", b"x"]),
        (b"/user/x/../alice/y", b"/user/alice/y", [b"", b"user", b"alice", b"y"]),
        (b"/user/x/%2e%2E/alice/y", b"/user/alice/y", [b"", b"user", b"alice", b"y"]),
        (b"/user/./alice/.", b"/user/alice/", [b"", b"user", b"alice", b""]),
        (b"/../..", b"/", [b"", b""]),
        (b"/a/..", b"/", [b"", b""]),
        (b"//zzz/user/alice/x", b"/zzz/user/alice/x", [b"", b"zzz", b"user", b"alice", b"x"]),
        (b"//user/alice", b"/user/alice", [b"", b"user", b"alice"]),
        (b"/a/..//evil/x", b"/evil/x", [b"", b"evil", b"x"]),
        (b"//", b"/", [b"", b""]),
        (b"/user//alice", b"/user//alice", [b"", b"user", b"", b"alice"]),
        (b"/.well-known/x", b"/.well-known/x", [b"", b".well-known", b"x"]),
        (b"/user/a/...", b"/user/a/...", [b"", b"user", b"a", b"..."]),
    ],
)
def test_what_is_forwarded_is_what_is_matched(target, forwarded, segments):
    """Dot segments and leading slashes are gone from the wire too; everything else goes on byte for byte."""
    resolved = resolve(target)
    assert (resolved.target, resolved.segments) == (forwarded, segments)


@pytest.mark.parametrize("target", [b"/%", b"/%zz", b"/a/%4", b"/user/%u0041", b"/%%41", b"/%4g/"])
def test_a_malformed_escape_is_refused(target):
    """A path that no two decoders read alike goes nowhere."""
    with pytest.raises(BadTarget):
        resolve(target)


@given(st.binary(min_size=1, max_size=30).map(lambda tail: b"/" + tail.translate(None, b"%\x00")))
def test_resolving_twice_changes_nothing(target):
    """What is forwarded reads the same for the next hop."""
    once = resolve(target)
    assert resolve(once.target) == once


@given(st.text(min_size=1, max_size=20))
def test_every_spelling_of_a_segment_matches(name):
    """A name escaped as little or as much as anyone likes is one segment."""
    raw = name.encode()
    everything = b"".join(b"%%%02X" % byte for byte in raw)
    lower = b"".join(b"%%%02x" % byte for byte in raw)
    assert resolve(b"/user/" + everything + b"/x").segments == resolve(b"/user/" + lower + b"/x").segments


def test_prefixes_are_read_like_paths():
    """A route's prefix and the paths below it agree on every segment."""
    assert prefix_segments("/user/a%40b/") == (b"user", b"a@b")
    assert prefix_segments("/") == ()
    assert prefix_segments("/hub") == (b"hub",)
    for bad in ("user/", "/ü/", "/a b/", "/a?b/", "/%zz/"):
        with pytest.raises(BadTarget):
            prefix_segments(bad)


def test_what_an_asgi_server_would_route_by():
    """Decoded once, dots resolved, empty segments gone."""
    assert fully_decoded(resolve(b"/hub%2Finternal/%2e%2e%2finternal/x").segments) == [b"hub", b"internal", b"x"]
