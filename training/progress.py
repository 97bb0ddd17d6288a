"""Progress bars that are quiet when nobody looks on."""

import sys
from collections.abc import Iterable, Iterator
from multiprocessing import parent_process
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


def bar() -> Progress:
    """A bar with count, time spent and time left, on standard error; none in a process that another has started, and
    counts the work of."""
    from rich.console import Console

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty() or parent_process() is not None,
    )


def progress(items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
    """The items, with a bar while they are gone through."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    with bar() as shown:
        task = shown.add_task(title, total=total, note="")
        for item in items:
            yield item
            shown.advance(task)
