"""Plug-in classes by name, path or as themselves; one error that says what to do."""

from importlib.metadata import EntryPoint

import pytest
from jupyterhub.auth import Authenticator, DummyAuthenticator, PAMAuthenticator
from jupyterhub.authenticators.shared import SharedPasswordAuthenticator
from jupyterhub.spawner import LocalProcessSpawner, SimpleLocalProcessSpawner, Spawner

from perijove.plugins import resolve
from perijove.plugins.resolve import PluginNotFound, find_class


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("default", LocalProcessSpawner),
        ("LocalProcess", LocalProcessSpawner),
        (" simple ", SimpleLocalProcessSpawner),
        ("jupyterhub.spawner.SimpleLocalProcessSpawner", SimpleLocalProcessSpawner),
        (LocalProcessSpawner, LocalProcessSpawner),
    ],
)
def test_spawners_are_found_by_name_path_or_class(wanted, expected):
    assert find_class("spawner", wanted, Spawner) is expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("PAM", PAMAuthenticator), ("dummy", DummyAuthenticator), ("shared-password", SharedPasswordAuthenticator)],
)
def test_authenticators_are_found_by_name(wanted, expected):
    assert find_class("authenticator", wanted, Authenticator) is expected


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("simpel", "Did you mean 'simple'"),
        ("kube", "no spawner of that name is installed"),
        ("no.such.module.Spawner", "cannot be imported (ModuleNotFoundError"),
        ("jupyterhub.spawner.NoSuchSpawner", "cannot be imported (AttributeError"),
        ("jupyterhub.auth.DummyAuthenticator", "not a subclass of jupyterhub.spawner.Spawner"),
        (DummyAuthenticator, "not a subclass"),
        ("json.loads", "not a subclass"),
        ("", "neither a name nor a class"),
        (None, "neither a name nor a class"),
        (7, "neither a name nor a class"),
    ],
)
def test_a_wrong_class_says_what_is_registered_and_what_to_do(wanted, says):
    with pytest.raises(PluginNotFound) as caught:
        find_class("spawner", wanted, Spawner)
    message = str(caught.value)
    assert says in message
    assert repr(wanted) in message
    assert "dotted path" in message


def test_a_package_that_fails_to_import_is_named_with_its_error(monkeypatch):
    broken = EntryPoint("broken", "no_such_package:Spawner", "jupyterhub.spawners")
    monkeypatch.setattr(resolve, "registered", lambda kind: {"broken": broken})
    with pytest.raises(PluginNotFound, match="No module named 'no_such_package'"):
        find_class("spawner", "broken", Spawner)
