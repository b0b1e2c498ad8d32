"""A migrated file means the same, has nothing left to translate, and keeps what somebody wrote beside it."""

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from perijove.cli.main import app
from perijove.config import ConfigError
from perijove.config.legacy import translate
from perijove.config.migrate import migrate
from perijove.config.yaml import parse

FILE = Path("config.yaml")
OLD = """\
# Our hub
hub:
  # told to code
  extraConfigMap:
    a: yes  # still a word
    mode: 0644
  extraConfig: |
    x = 1  # of the code
    c.JupyterHub.active_server_limit = x
proxy:
  nodeSelector:  # core nodes
    purpose: core

auth:
  type: github
  github:
    clientId: "123"
    orgWhitelist: [my-org]  # only us
  admin:
    users:
      - ann
userPods:
  nodeAffinity: {matchNodePurpose: require}
singleuser:
  image: a/b:1.10
"""
NEW = """\
# Our hub
hub:
  # told to code
  extraConfig:
    extraConfig: |
      x = 1  # of the code
      c.JupyterHub.active_server_limit = x
"""


@pytest.fixture
def run(tmp_path):
    def command(text: str, *options: str):
        file = tmp_path / "config.yaml"
        file.write_text(text)
        return CliRunner().invoke(app, ["migrate", str(file), *options]), file

    return command


def single_spaced(text: str) -> str:
    return re.sub(" +", " ", text)


def test_old_spellings_become_current_ones_in_the_file():
    text = migrate(OLD, FILE).text
    assert text.startswith(NEW)
    assert 'tag: "1.10"' in text
    assert "allowed_organizations: [my-org] # only us" in single_spaced(text)


def test_what_the_file_means_stays_the_same():
    found = migrate(OLD, FILE).text
    assert parse(found, FILE).root.plain() == translate(parse(OLD, FILE).root).root.plain()
    assert "a: yes # still a word" in single_spaced(found)
    assert "mode: 0644" in found


@pytest.mark.parametrize("comment", ["# Our hub", "# told to code", "# core nodes", "# only us", "# of the code"])
def test_comments_are_kept(comment):
    assert migrate(OLD, FILE).text.count(comment) == 1


def test_comments_of_keys_that_are_gone_are_kept_too():
    text = "singleuser:\n  # packs users\n  schedulerStrategy: pack  # as they come\n  uid: 1\n"
    found = migrate(text, FILE).text
    assert "schedulerStrategy" not in found
    assert "# packs users" in found
    assert "# as they come" in found


def test_a_migrated_file_is_not_changed_again():
    once = migrate(OLD, FILE).text
    assert migrate(once, FILE).text == once
    assert migrate(once, FILE).notes == ()


def test_a_current_file_is_not_touched_however_it_is_written():
    text = "hub:   {  baseUrl: '/x' }   # so\n\n\nsingleuser:\n    uid:   1\n"
    assert migrate(text, FILE).text == text


def test_of_a_key_given_twice_the_one_that_counts_is_left():
    found = migrate("singleuser:\n  uid: 1\n  uid: 2\n", FILE)
    assert parse(found.text, FILE).root.plain() == {"singleuser": {"uid": 2}}
    assert len(found.notes) == 1


def test_documents_behind_the_first_stay_and_so_do_line_ends():
    text = "auth:\r\n    type: dummy\r\n---\r\nother: document\r\n"
    found = migrate(text, FILE).text
    assert found.endswith("---\r\nother: document\r\n")
    assert "\n" not in found.replace("\r\n", "")
    assert migrate(found, FILE).text == found


def test_what_anchors_share_is_left_to_a_person():
    text = "a: &shared\n  userPods: {nodeAffinity: {matchNodePurpose: require}}\n<<: *shared\n"
    with pytest.raises(ConfigError, match="by hand"):
        migrate(text, FILE)


# -- the commands --------------------------------------------------------------------------------


def test_the_command_writes_the_file_and_says_what_it_did(run):
    result, file = run(OLD)
    assert result.exit_code == 0
    assert file.read_text() == migrate(OLD, FILE).text
    assert "is now" in result.stderr
    assert [path.name for path in file.parent.iterdir()] == ["config.yaml"]


def test_a_check_only_says_whether_there_is_something_to_do(run):
    result, file = run(OLD, "--check")
    assert (result.exit_code, file.read_text()) == (1, OLD)
    assert run(migrate(OLD, FILE).text, "--check")[0].exit_code == 0


def test_a_diff_only_shows_what_would_change(run):
    result, file = run(OLD, "--diff")
    assert (result.exit_code, file.read_text()) == (0, OLD)
    assert "-auth:" in result.stdout
    assert "+ allowed_organizations: [my-org] # only us" in single_spaced(result.stdout)


def test_the_schema_is_printed_as_json():
    printed = CliRunner().invoke(app, ["schema"]).stdout
    assert json.loads(printed)["properties"]["singleuser"]


# -- files of others -----------------------------------------------------------------------------

CONFIGS = sorted((Path(__file__).parents[3] / "shared" / "configs").glob("*.yaml"))


@pytest.mark.skipif(not CONFIGS, reason="no directory ../shared/configs with configurations of others")
@pytest.mark.parametrize("file", CONFIGS, ids=lambda path: path.name)
def test_a_configuration_from_the_field_is_migrated_once(file):
    text = file.read_text()
    found = migrate(text, file)
    assert migrate(found.text, file).text == found.text
    assert YAML(typ="safe", pure=True).load(found.text) is not None
    for line in (line.strip() for line in text.splitlines() if line.strip().startswith("#")):
        assert line in found.text
