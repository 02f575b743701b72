"""What the commands print: tables and documents on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]

ApiKey = Annotated[
    str | None, typer.Option(envvar="SOSP_API_KEY", help="Key for the server.", show_envvar=True)
]


def print_json(document: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(document, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, prose: bool = False) -> None:
    """Print a table; texts are shown as they are, never as markup.

    Args:
        columns: The heads.
        rows: As many cells each.
        prose: The cells hold sentences: set flush left, with room between the rows.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 1, 0) if prose else (0, 1))
    for index, column in enumerate(columns):
        flush: Literal["left", "right"] = "left" if prose or index == 0 else "right"
        table.add_column(column, justify=flush, overflow="fold", no_wrap=prose and index == 0)
    for row in rows:
        table.add_row(*map(escape, row))
    Console(highlight=False, emoji=False).print(table)


def print_comparison(rows: Iterable[Sequence[str]]) -> None:
    """Print before and after."""
    print_table(("", "before", "after", "change"), rows)


#: Before the first line and between two of them, where there is no bar.
SILENT_S = 60.0


class Bar:
    """Progress on stderr: a bar in a terminal, elsewhere a line a minute."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("", total=1.0, note="")
        self._silent_since = time.monotonic()

    def show(self, what: str, share: float, note: str = "") -> None:
        """Show that ``what`` is being done and which share of the whole is behind us."""
        if self._progress.disable:
            self._write(what, share, note)
        else:
            self._progress.update(self._task, description=what, completed=share, note=note[:60])

    def _write(self, what: str, share: float, note: str) -> None:
        """A line for whoever reads the log of a job that takes hours."""
        if time.monotonic() - self._silent_since >= SILENT_S:
            self._silent_since = time.monotonic()
            typer.echo(f"{share:4.0%} {what}" + (f": {note}" if note else ""), err=True)

    @contextmanager
    def shown(self) -> Iterator[Bar]:
        """Show the bar for the length of the block."""
        with self._progress:
            yield self


class BarProgress:
    """A ``sosp_core`` progress shown as a bar."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar

    def report(
        self,
        stage: str,
        done: float,
        message: str = "",
        *,
        eta_s: float | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Show a report."""
        from service.jobs.overall import overall

        self._bar.show(stage, overall(stage, done), message)

    def cancelled(self) -> bool:
        """Never: Ctrl-C interrupts instead."""
        return False
