"""`perijove schema`: JSON Schema of config.yaml."""

import typer

EPILOG = """
[bold]Examples[/]

  perijove schema > config.schema.json

  Then, as the first line of config.yaml: # yaml-language-server: $schema=config.schema.json
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(schema)


def schema() -> None:
    """Print the JSON Schema of config.yaml, for editors and for Helm's values.schema.json.

    It knows the current spellings only; `perijove migrate` writes them.
    """
    from perijove.config.reference import schema_json

    typer.echo(schema_json(), nl=False)
