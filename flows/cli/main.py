"""The `assay` command: registers every noun and turns errors into exit codes.

Exit codes: 0 done, 1 a gate or check failed or was refused, 2 wrong usage or input, 3 a dependency is down.
"""

import sys
from typing import Annotated

import typer

from flows.cli import ask, datasets, evaluate, experiments, ingest, keys, lifecycle, prompts, providers, tenants
from registry.errors import AssayError, InvalidInput, Unavailable

app = typer.Typer(
    name="assay",
    help="Put LLM features into production under governance: tested, cited, priced and sealed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the release and exit.")] = False,
) -> None:
    """Put LLM features into production under governance: tested, cited, priced and sealed."""
    if version:
        from importlib.metadata import version as release

        typer.echo(f"assay {release('assay')}")
        raise typer.Exit


for command in (lifecycle.up, lifecycle.down, lifecycle.status, lifecycle.doctor, lifecycle.serve, ask.ask):
    app.command()(command)
app.command()(ingest.ingest)
app.add_typer(tenants.app, name="tenants")
app.add_typer(keys.app, name="keys")
app.add_typer(prompts.app, name="prompts")
app.add_typer(experiments.app, name="experiments")
app.add_typer(providers.app, name="providers")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(datasets.app, name="datasets")


def exit_code(error: Exception) -> int:
    """The exit code that stands for an expected error."""
    if isinstance(error, InvalidInput):
        return 2
    return 3 if isinstance(error, Unavailable) else 1


def settings_problem(error: ValueError) -> str | None:
    """What to change when a variable of the environment cannot be used; None for any other error.

    The value is never repeated: it may be a secret.
    """
    from pydantic import ValidationError

    if not isinstance(error, ValidationError) or not error.title.endswith("Settings"):
        return None
    faults = (f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors(include_input=False, include_url=False))
    return f"a setting cannot be used; {'; '.join(faults)} (see docs/settings.md)"


def main() -> None:
    """Run the command line; the only place that catches, prints and exits."""
    from flows.cli.console import fail
    from infra.local.errors import PlatformError

    try:
        app()
    except AssayError as error:
        fail(error.message)
        sys.exit(exit_code(error))
    except PlatformError as error:
        fail(str(error))
        sys.exit(3)
    except ValueError as error:
        sentence = settings_problem(error)
        if sentence is None:
            raise
        fail(sentence)
        sys.exit(2)


if __name__ == "__main__":
    main()
