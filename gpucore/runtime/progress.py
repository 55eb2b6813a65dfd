"""A progress bar on the terminal."""

from __future__ import annotations

__all__ = ["ProgressBar"]


class ProgressBar:
    """Shows how many results there are, how fast they come, and how long the rest takes where their number is known.

    Where the error output is no terminal nothing is shown.

    Parameters
    ----------
    total : int, optional
        How many there will be.
    """

    def __init__(self, total: int | None) -> None:
        # half of the start of a program that shows no bar would be this import
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskProgressColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(show_speed=True),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total)
        self._progress.start()

    def __call__(self, count: int) -> None:
        """Show that there are so many results."""
        self._progress.update(self._task, completed=count)

    def close(self) -> None:
        """Leave the bar as it is and give the terminal back; twice does nothing."""
        self._progress.stop()
