"""The command line explains itself, quickly, and fails in documented ways."""

import subprocess
import sys

import pytest
import typer

from perijove.cli.exits import CommandFailed, Exit
from perijove.cli.main import app
from perijove.cli.token import seconds_in


def commands(name, command):
    children = getattr(command, "commands", None) or {}
    yield name, command
    for child, sub in children.items():
        yield from commands(f"{name} {child}", sub)


ALL = dict(commands("perijove", typer.main.get_command(app)))
LEAVES = {name: command for name, command in ALL.items() if not getattr(command, "commands", None)}


def perijove(*arguments):
    return subprocess.run(
        [sys.executable, "-P", "-m", "perijove.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_help_and_an_example(name):
    command = LEAVES[name]
    assert command.help
    assert f"  {name}" in command.epilog
    assert all(option.help for option in command.params if option.param_type_name == "option")


@pytest.mark.parametrize("name", ALL)
def test_help_of_every_command_works(name):
    done = perijove(*name.split()[1:], "--help")
    assert (done.returncode, done.stderr) == (Exit.OK, "")
    assert "Usage: " + name in done.stdout


def test_help_loads_nothing_heavy():
    code = (
        "import sys, perijove.cli.main;"
        "print([m for m in ('sqlalchemy', 'jupyterhub', 'uvicorn', 'aiohttp', 'tornado') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments", [["--no-such-option"], ["up", "--port", "abc"], ["up", "--port", "70000"], ["nope"]]
)
def test_wrong_usage_is_exit_code_two(arguments):
    assert perijove(*arguments).returncode == Exit.USAGE


def test_a_proxy_without_a_token_says_where_to_put_it():
    done = perijove("proxy")
    assert done.returncode == Exit.USAGE
    assert "--token-file" in done.stderr


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("12h", 43200), ("30d", 2592000)])
def test_durations_are_read(text, seconds):
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "0d", "-1h", "1w", "1.5h", "d"])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(CommandFailed, match="no duration") as caught:
        seconds_in(text)
    assert caught.value.code == Exit.USAGE
