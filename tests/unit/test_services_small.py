"""The small parts: signing, encryption, throttling, hashing."""

import os

import pytest

from perijove.domain.errors import Unavailable
from perijove.services.auth_state import HEAVY_BYTES, Crypt
from perijove.services.secrets import (
    hash_session,
    hash_token,
    new_browser_session,
    new_oauth_secret,
    new_session_secret,
    new_token,
)
from perijove.services.signing import Signer

SECRET = b"s" * 32


def test_a_signature_is_good_for_its_purpose_and_secret_only():
    signed = Signer(SECRET).sign("login", "value")
    assert Signer(SECRET).unsign("login", signed) == "value"
    assert Signer(SECRET).unsign("xsrf", signed) is None
    assert Signer(b"t" * 32).unsign("login", signed) is None


@pytest.mark.parametrize("forged", ["", "value", "value.", ".", "value.x", "é.é", "\ud800", "a" * 10_000])
def test_what_was_not_signed_here_is_nothing(forged: str):
    assert Signer(SECRET).unsign("login", forged) is None


def test_a_weak_secret_is_refused():
    with pytest.raises(ValueError, match="16 bytes"):
        Signer(b"short")


def test_secrets_are_long_enough_and_never_the_same():
    makers = (new_token, new_oauth_secret, new_session_secret, new_browser_session)
    for make in makers:
        made = {make() for _ in range(200)}
        assert len(made) == 200
        assert all(30 <= len(secret) <= 64 for secret in made)
    assert new_oauth_secret().isalnum()
    assert int(new_token(), 16)


def test_hashes_are_stable_and_take_any_text():
    assert hash_token("x") == "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert len(hash_session("\ud800")) == 64


# -- auth state

OLD, NEW = os.urandom(32), os.urandom(32)


@pytest.mark.parametrize("state", [{}, {"a": [1, None, "é"]}, {"token": "x" * (2 * HEAVY_BYTES)}])
async def test_auth_state_comes_back(state):
    crypt = Crypt([NEW])
    sealed = await crypt.encrypt(state)
    assert await crypt.decrypt(sealed) == state
    assert b"token" not in sealed


async def test_keys_are_rotated_by_putting_the_new_one_in_front():
    sealed = await Crypt([OLD]).encrypt({"a": 1})
    both = Crypt([NEW, OLD])
    assert await both.decrypt(sealed) == {"a": 1}
    again = await both.encrypt({"a": 1})
    assert await Crypt([NEW]).decrypt(again) == {"a": 1}


async def test_state_that_no_key_opens_reads_as_none():
    sealed = await Crypt([OLD]).encrypt({"a": 1})
    assert await Crypt([NEW]).decrypt(sealed) is None
    assert await Crypt([NEW]).decrypt(b"rubbish") is None
    assert await Crypt([NEW]).decrypt(None) is None


async def test_without_keys_nothing_is_kept():
    crypt = Crypt([])
    assert not crypt.available
    with pytest.raises(Unavailable, match="JUPYTERHUB_CRYPT_KEY"):
        await crypt.encrypt({})
    assert await crypt.decrypt(b"x") is None
