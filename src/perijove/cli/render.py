"""`perijove render`: the manifests that a configuration comes to, without a cluster."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from perijove.cli.cluster import Namespace, read_config, unusable
from perijove.cli.console import err, out, show_notes
from perijove.cli.exits import CommandFailed, Exit
from perijove.cli.options import Files

if TYPE_CHECKING:
    from perijove.deploy.release import GeneratedSecrets
    from perijove.deploy.render import Manifest

EPILOG = """
[bold]Examples[/]

  perijove render -f config.yaml -n jhub --secrets-from hub.json | kubectl diff -f -

  perijove render -f config.yaml -n jhub --output-dir manifests

  kubectl get all,ing,netpol,pdb,cm,secret,sa,role,rolebinding -n jhub -o json > there.json

  perijove render -f config.yaml -n jhub --existing there.json > manifests.yaml
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(render)


def render(
    *,
    files: Files = None,
    namespace: Namespace,
    release: Annotated[
        str | None, typer.Option("--release", help="Name of the release.", show_default="the namespace")
    ] = None,
    secrets_from: Annotated[
        Path | None,
        typer.Option(
            help="The release's Secret `hub`, from `kubectl get secret hub -o json`: its keys are kept. "
            "Without it every rendering makes new ones.",
            dir_okay=False,
        ),
    ] = None,
    existing: Annotated[
        Path | None,
        typer.Option(
            help="What the namespace holds, from `kubectl get ... -o json`: what of the release is not rendered is "
            "listed. Nothing deletes it.",
            dir_okay=False,
        ),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option(help="Write one file an object here, instead of all to stdout.", file_okay=False)
    ] = None,
) -> None:
    """Print the manifests of a release. No cluster is asked.

    They hold secrets. To install them, `perijove deploy` is safer: it keeps secrets, and deletes what is dropped.
    """
    from perijove.config import ConfigError
    from perijove.deploy import render as rendering
    from perijove.deploy.release import Release
    from perijove.deploy.render.text import all_to_yaml

    loaded = read_config(files)
    try:
        target = Release(namespace=namespace, name=release or namespace)
        rendered = rendering.render(loaded, target, _secrets(secrets_from))
    except ConfigError as error:
        raise unusable(error) from error
    except ValueError as error:
        raise CommandFailed(str(error), code=Exit.USAGE) from error
    show_notes((*loaded.notes_for("kubernetes"), *rendered.notes))
    if existing is not None:
        _show_dropped(_items(existing), rendered.manifests, target.name)
    if output_dir is None:
        typer.echo(all_to_yaml(rendered.manifests), nl=False)
        return
    _write(output_dir, rendered.manifests)
    out.print(f"{len(rendered.manifests)} objects in {escape(str(output_dir))}")


def _secrets(file: Path | None) -> "GeneratedSecrets":
    from perijove.deploy.release import GeneratedSecrets

    if file is None:
        return GeneratedSecrets.generate()
    try:
        return GeneratedSecrets.kept(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise CommandFailed(f"Cannot read {file}: {error.strerror}.", code=Exit.USAGE) from error


def _items(file: Path) -> list[dict[str, Any]]:
    """The objects of a `List`, or one alone."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return list(found["items"]) if "items" in found else [dict(found)]
    except OSError as error:
        raise CommandFailed(f"Cannot read {file}: {error.strerror}.", code=Exit.USAGE) from error
    except (ValueError, TypeError) as error:
        remedy = "It is what `kubectl get ... -o json` prints."
        raise CommandFailed(f"{file} holds no objects of Kubernetes.", remedy=remedy, code=Exit.USAGE) from error


def _show_dropped(items: list[dict[str, Any]], manifests: "list[Manifest]", release: str) -> None:
    from perijove.deploy.render.dropped import dropped

    try:
        found = dropped(manifests, items, release)
    except (KeyError, TypeError, AttributeError) as error:
        raise CommandFailed("What --existing names holds no objects of Kubernetes.", code=Exit.USAGE) from error
    if found:
        err.print(f"[bold]Of the release {escape(release)}, and not in this rendering[/] (it stays where it is):")
    for item in found:
        err.print(f"  {escape(str(item))}")


def _write(directory: Path, manifests: "list[Manifest]") -> None:
    """Names sort in the order in which to apply. Files of an earlier rendering go: what is dropped must not stay."""
    from perijove.deploy.render.text import to_yaml

    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("[0-9][0-9][0-9]-*.yaml"):
        old.unlink()
    for index, manifest in enumerate(manifests):
        name = f"{index:03}-{manifest['kind'].lower()}-{manifest['metadata']['name']}.yaml"
        path = directory / name
        path.touch(mode=0o600)
        path.write_text(to_yaml(manifest), encoding="utf-8")
