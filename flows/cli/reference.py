"""docs/cli.md, made from the commands themselves: `python -m flows.cli.reference > docs/cli.md`."""

import inspect
import sys
from collections.abc import Iterator

import typer.main
from typer.core import TyperCommand, TyperGroup

from flows.cli.main import app

INTRODUCTION = """\
# The command line

Made by `python -m flows.cli.reference`; a test keeps it true.

Results go to standard output, progress and notes to standard error. With `--json` standard output holds one JSON
document: where a gate refuses, what is missing; of any other failure `{"error": {"code": ..., "message": ...}}`.

Exit codes: 0 done, 1 a gate or check failed or was refused, 2 wrong usage or input, also a prompt, a version or
anything else that is not there, 3 a dependency is down.
"""


def reference() -> str:
    """The whole page."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)  # noqa: S101 - an app with several commands is a group
    return "\n".join([INTRODUCTION, *(_entry(name, command) for name, command in _commands(group, "assay"))])


def _commands(group: TyperGroup, prefix: str) -> Iterator[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _commands(command, f"{prefix} {name}")
        elif isinstance(command, TyperCommand):
            yield f"{prefix} {name}", command


def _entry(name: str, command: TyperCommand) -> str:
    lines = [f"## {name}", inspect.cleandoc(command.help or ""), ""]
    for parameter in command.params:
        label = ", ".join(parameter.opts) if parameter.param_type_name == "option" else (parameter.name or "").upper()
        needed = " (required)" if parameter.required else ""
        lines.append(f"- `{label}`{needed}: {getattr(parameter, 'help', None) or ''}")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.stdout.write(reference())
