"""The command line: ``gpucore info | doctor | demo | cache | conformance``, and what other distributions add."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the ``gpucore`` command."""
    from gpucore.cli.app import app

    app.main(args=list(arguments) if arguments is not None else None, prog_name="gpucore")
