"""Run the benchmarks: `python -m tests.benchmarks [NAME…]`; without names all of them.

Prints one table and writes ASSAY_HOME/bench/NAME.json for each. Exit 1 when one could not run, or when a figure is not
what the project promises.
"""

import importlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))  # the tests' own modules stand there

from tests.benchmarks.measurement import Figure, NotHere, machine  # noqa: E402 - after the line above

WIDTH_OF_A_PIPE = 160
SETTINGS = ("MLFLOW_", "PREFECT_", "ANTHROPIC_", "OPENAI_", "QDRANT_")
"""Variables of whoever runs this, which must not reach what is measured."""


def main() -> int:
    """Run what was asked for; the exit code."""
    modules = _benchmarks(sys.argv[1:])
    home = Path(os.environ.get("ASSAY_HOME") or ".assay").expanduser().absolute()
    for name in [name for name in os.environ if name.startswith(SETTINGS)]:
        del os.environ[name]
    bench = home / "bench"
    bench.mkdir(parents=True, exist_ok=True)
    people = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    results: list[tuple[str, Sequence[Figure] | str]] = []
    with Progress(*columns, console=people) as progress:
        whole = progress.add_task("benchmarks", total=len(modules))
        for module in modules:
            results.append((module.__name__.rpartition(".")[2], _run(module, progress, bench)))
            progress.advance(whole)
    _print(results)
    people.print(f"written to {bench}/*.json", highlight=False, soft_wrap=True)
    return int(any(isinstance(found, str) or any(figure.kept is False for figure in found) for _, found in results))


def _benchmarks(wanted: Sequence[str]) -> list[ModuleType]:
    """The modules of this folder that have a function `benchmark`: all by name, or the ones asked for."""
    modules = {path.stem: importlib.import_module(f"tests.benchmarks.{path.stem}") for path in FOLDER.glob("[a-z]*.py")}
    there = {name: module for name, module in sorted(modules.items()) if hasattr(module, "benchmark")}
    if unknown := sorted(set(wanted) - set(there)):
        sys.stderr.write(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(there)}\n")
        raise SystemExit(2)
    return [there[name] for name in wanted or there]


def _run(module: ModuleType, progress: Progress, bench: Path) -> Sequence[Figure] | str:
    """One benchmark's figures, written to its file; a sentence when it could not run or had nothing to measure."""
    name = module.__name__.rpartition(".")[2]
    before, start = machine(), time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(dir=bench, prefix=f"{name}-") as folder:
            figures = list(module.benchmark(progress, Path(folder)))
    except NotHere as reason:
        progress.console.print(f"{name}: skipped, {reason}", highlight=False, soft_wrap=True)
        return []
    except Exception as error:  # noqa: BLE001 - one that breaks must not take the others with it
        progress.console.print(traceback.format_exc(), highlight=False, markup=False)
        return f"{type(error).__name__}: {error}"
    document = {
        "benchmark": name,
        "about": module.__doc__,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - start, 1),
        "machine": before,
        "figures": [_as_json(figure) for figure in figures],
    }
    (bench / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return figures


def _as_json(figure: Figure) -> dict[str, object]:
    """The members that are set."""
    members = {name: getattr(figure, name) for name in Figure.__dataclass_fields__}
    return {name: value for name, value in members.items() if value is not None}


def _print(results: Sequence[tuple[str, Sequence[Figure] | str]]) -> None:
    out = Console()
    out = out if out.is_terminal else Console(width=WIDTH_OF_A_PIPE)
    about = machine()
    title = f"{about['cores']} cores, Python {about['python']}, load average {about['load_average']}"
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in ("benchmark", "figure", "value", "quartiles", "n", "ratio", "promise"):
        numeric = column in {"value", "quartiles", "n"}
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for name, found in results:
        if isinstance(found, str):
            table.add_row(name, Text(f"failed: {found}", "red"))
            continue
        for place, figure in enumerate(found):
            table.add_row(name if place == 0 else "", *_cells(figure))
        table.add_section()
    out.print(table)


def _cells(figure: Figure) -> tuple[str | Text, ...]:
    quartiles = " to ".join(_number(value) for value in figure.quartiles or ())
    against = f"{figure.ratio:.2f} times {figure.reference}" if figure.ratio is not None else ""
    promise: str | Text = ""
    if figure.promise:
        promise = Text(f"{figure.promise} {'kept' if figure.kept else 'MISSED'}", "green" if figure.kept else "red")
    return figure.name, f"{_number(figure.value)} {figure.unit}", quartiles, f"{figure.n:,}", against, promise


def _number(value: float) -> str:
    """Three digits that count, or all of a large number."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
