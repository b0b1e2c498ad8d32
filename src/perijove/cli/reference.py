"""The commands as a page of documentation, from the same declarations that parse them."""

import re
from typing import Any

import typer

from perijove.cli.exits import Exit
from perijove.cli.main import app

# Colours for the terminal, in the help texts.
_MARKUP = re.compile(r"\[/?(?:bold|dim|/)?\]")


def markdown() -> str:
    root = typer.main.get_command(app)
    parts = ["# Commands", _plain(root.help or ""), *_exit_codes()]
    for name, command in _walk("perijove", root):
        parts += _command(name, command)
    return "\n\n".join(parts)


def _exit_codes() -> list[str]:
    rows = [f"| {code.value} | {code.meaning} |" for code in Exit]
    return ["## Exit codes", "\n".join(["| code | meaning |", "| --- | --- |", *rows])]


def _walk(name: str, command: Any) -> list[tuple[str, Any]]:
    """Commands that do something, depth first, in the order of `--help`."""
    children = getattr(command, "commands", None)
    if children is None:
        return [(name, command)]
    return [found for child, sub in children.items() for found in _walk(f"{name} {child}", sub)]


def _command(name: str, command: Any) -> list[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join([name, "[OPTIONS]", *(p.metavar or p.name.upper() for p in arguments)])
    parts = [f"## `{name}`", f"```text\n{usage}\n```", _plain(command.help or "")]
    parts.append("\n".join(["| option | meaning | default |", "| --- | --- | --- |", *map(_option, options)]))
    examples = [line.strip() for line in (command.epilog or "").splitlines() if re.match(r"\s{2}\S", line)]
    if examples:
        parts.append("```sh\n" + "\n".join(examples) + "\n```")
    return parts


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in sorted(option.opts, key=len, reverse=True))
    default = option.show_default if isinstance(option.show_default, str) else option.default
    shown = "" if default in (None, False, "", ()) or callable(default) else f"`{default}`"
    meaning = _plain(option.help or "").replace("|", "\\|")
    if option.envvar:
        meaning += f" Also `{option.envvar}`."
    return f"| {names} | {meaning} | {shown} |"


def _plain(text: str) -> str:
    return re.sub(r" *\n(?!\n)(?<!\n\n)", " ", _MARKUP.sub("", text).strip()).replace("\n ", "\n\n")
