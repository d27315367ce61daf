"""The live table of `assay up`: one line a part or step, with its state and seconds."""

import threading
from types import TracebackType
from typing import Self

from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from flows.cli.console import people

_DONE = {"ready": "green", "kept": "green", "done": "green", "failed": "red"}


class UpProgress:
    """Shows progress as a live table on a terminal, as plain lines elsewhere."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()
        self._live = Live(self._table(), console=people, refresh_per_second=8) if people.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update(self._table())
            self._live.stop()

    def report(self, name: str, state: str, detail: str) -> None:
        """Note what a part or step is doing; safe from several threads."""
        with self._lock:
            self._lines[name] = (state, detail)
            if self._live is not None:
                self._live.update(self._table())
            else:
                people.print(f"  {name:<12} {state:<11} {detail}", highlight=False, markup=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, (state, detail) in self._lines.items():
            done = state in _DONE
            mark = Text("✓", style=_DONE[state]) if done else Spinner("dots")
            table.add_row(mark, name, Text(state, style=_DONE.get(state, "cyan")), detail)
        return table
