"""The page about JupyterHub's traits says something of each, and nothing of others."""

import re

import pytest
from jupyterhub.app import JupyterHub

from perijove.config import compile_config, load
from perijove.config.app_reference import _REMARKS, markdown
from perijove.config.app_traits import APP_TRAITS, COMBINED, OWN_TRAITS, SILENT, WITHOUT_MEANING

ROWS = dict(re.findall(r"(?m)^\| `(\w+)` \| ([^|]+) \|", markdown()))


def test_every_trait_of_the_application_has_its_line():
    assert set(ROWS) - OWN_TRAITS == set(JupyterHub.class_traits(config=True)) | {"upgrade_db"}


def test_a_trait_has_one_fate():
    fates = [{*APP_TRAITS}, {*COMBINED}, {*SILENT}, {*WITHOUT_MEANING}]
    assert sum(map(len, fates)) == len(set().union(*fates))
    assert set(_REMARKS) <= {*APP_TRAITS, *COMBINED}


@pytest.mark.parametrize("name", sorted({*APP_TRAITS} & {*JupyterHub.class_traits(config=True)}))
def test_what_jupyterhub_has_by_default_is_understood(name):
    """Else a configuration that spells a default out would be refused."""
    default = getattr(JupyterHub(), name, None)
    if default is not None and not (name.endswith("_class") or name == "subdomain_hook"):
        APP_TRAITS[name][1](default)


def test_a_trait_of_a_class_that_the_hub_would_act_upon_is_noted(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("hub: {config: {Authenticator: {delete_invalid_users: true}}}")
    notes = compile_config(load([file]), data_dir=tmp_path / "data", environment={}).notes
    assert any("delete_invalid_users has no effect" in note.message for note in notes)
