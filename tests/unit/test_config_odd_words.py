"""An option with nothing behind it, as `--ip=$UNSET` gives it, is one clear error and not a guess."""

import pytest
from typer.testing import CliRunner

from perijove.cli.main import app
from perijove.cli.options import address


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["up", "--ip="], "an address is missing"),
        (["up", "--hub-ip", " "], "an address is missing"),
        (["hub", "--hub-ip="], "an address is missing"),
        (["check", "-f", ""], "the name of a file is missing"),
        (["render", "-n", "jhub", "-f", ""], "the name of a file is missing"),
    ],
)
def test_an_option_without_a_value_is_refused(words, message):
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_every_address_is_asked_for_with_a_star():
    """What the hub's pod says: both families, where the machine has them."""
    assert address("*") == ""
    assert address("127.0.0.1") == "127.0.0.1"
