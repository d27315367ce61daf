"""The `assay` command: registers every noun and turns errors into exit codes.

Exit codes: 0 done, 1 a gate or check failed or was refused, 2 wrong usage or input, also what is not there, 3 a
dependency is down.
"""

import sys
from typing import Annotated, NoReturn

import typer

from flows.cli import ask, datasets, evaluate, experiments, ingest, keys, lifecycle, prompts, providers, tenants
from registry.errors import AssayError, InvalidInput, NotFound, Unavailable

WRONG_USAGE = 2

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
    if isinstance(error, InvalidInput | NotFound):
        return WRONG_USAGE
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
    from infra.local.errors import PlatformError

    try:
        app()
    except AssayError as error:
        _end(error.code, error.message, exit_code(error))
    except PlatformError as error:
        _end(Unavailable.code, str(error), 3)
    except ValueError as error:
        sentence = settings_problem(error)
        if sentence is None:
            raise
        _end(InvalidInput.code, sentence, WRONG_USAGE)
    except SystemExit as ended:
        if ended.code == WRONG_USAGE:  # typer has told people about the error that it was handling
            told = getattr(ended.__context__, "format_message", lambda: "wrong usage")
            _print_failure(InvalidInput.code, str(told()))
        raise


def _end(code: str, message: str, exits_with: int) -> NoReturn:
    """Tell people, and a machine that asked for JSON, why there is no result."""
    from flows.cli.console import fail

    fail(message)
    _print_failure(code, message)
    sys.exit(exits_with)


def _print_failure(code: str, message: str) -> None:
    """Where JSON was asked for, one line, which also is JSON Lines."""
    from flows.cli.console import print_json_lines

    if "--json" in sys.argv[1:]:
        print_json_lines([{"error": {"code": code, "message": message}}])


if __name__ == "__main__":
    main()
