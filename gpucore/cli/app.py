"""The command ``gpucore``: its subcommands are the entry points of the group ``gpucore.commands``.

An entry point names a :class:`click.Command`.  The core's own are declared in its ``pyproject.toml`` like anyone else's.
"""

from __future__ import annotations

import difflib
import importlib.metadata
from functools import cache
from typing import TYPE_CHECKING

import click

from gpucore._version import __version__
from gpucore.errors import GpucoreError

if TYPE_CHECKING:
    from rich.console import Console

GROUP = "gpucore.commands"
"""The entry points that are subcommands."""
ELSEWHERE = {
    "bench": "bench",
    "demo": "bench",
    "fuzz": "fuzz",
    "wrap": "wrap",
    "generate": "worker",
    "chat": "worker",
    "serve": "worker",
    "verify": "worker",
}
"""Subcommands of this project's other distributions: ``bench`` is in ``gpucore-bench``, whose folder is ``packages/bench``.
The wheel of ``gpucore-bench`` carries the work of ``demo``, too, whose command is the core's."""


_PIPE_WIDTH = 400
"""Columns where nobody's window sets them: wide enough that no line breaks and no name is cut."""


def terminal() -> Console:
    """Where the commands print: the terminal as it is; a pipe or a file gets whole lines."""
    from rich.console import Console

    found = Console()
    return found if found.is_terminal else Console(width=_PIPE_WIDTH)


def where_to_find(name: str) -> str:
    """Which distribution brings a subcommand, and how to install it."""
    package = ELSEWHERE[name]
    return (
        f"'gpucore {name}' is in the distribution gpucore-{package}, which is not installed. "
        f"Install it: pip install gpucore-{package} (in a checkout: pip install -e packages/{package})"
    )


@cache
def entry_points() -> dict[str, list[importlib.metadata.EntryPoint]]:
    """The subcommands that are installed, by name; those of the core first where two distributions have one of a name."""
    found: dict[str, list[importlib.metadata.EntryPoint]] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        given = found.setdefault(point.name, [])
        # an editable install may list one distribution twice
        if all((other.value, _owner(other)) != (point.value, _owner(point)) for other in given):
            given.append(point)
    for given in found.values():
        given.sort(key=lambda point: _owner(point) != "gpucore")
    return found


def _owner(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown distribution"


class Commands(click.Group):
    """Subcommands from entry points; gpucore's own errors become one message and exit status 1, without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except GpucoreError as error:
            raise click.ClickException(str(error)) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(entry_points())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        points = entry_points().get(cmd_name)
        if points is None:
            return None
        try:
            command = points[0].load()
        except Exception as error:  # noqa: BLE001 - a broken distribution must not take the other commands with it
            return _broken(points[0], f"{type(error).__name__}: {error}")
        if not isinstance(command, click.Command):
            return _broken(points[0], f"{points[0].value} is no click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in entry_points():
            if "gpucore" not in {_owner(p) for given in entry_points().values() for p in given}:
                raise click.ClickException(
                    "the installed metadata of gpucore lists no commands; it is older than the code: install gpucore again"
                )
            if name in ELSEWHERE:
                raise click.ClickException(where_to_find(name))
            near = difflib.get_close_matches(name, {**entry_points(), **ELSEWHERE})
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


def _broken(point: importlib.metadata.EntryPoint, reason: str) -> click.Command:
    """A command in the place of one that cannot be loaded, which says why."""

    @click.command(
        point.name,
        short_help=f"(cannot be loaded: {reason})",
        context_settings={"ignore_unknown_options": True},
    )
    @click.argument("arguments", nargs=-1)
    def command(arguments: tuple[str, ...]) -> None:
        raise click.ClickException(
            f"'gpucore {point.name}' of {_owner(point)} cannot be loaded: {reason}. Install {_owner(point)} again"
        )

    return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gpucore")
def app() -> None:
    """gpucore: one Python kernel, any device, the same bits."""
