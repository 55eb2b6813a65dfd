"""The command line: ``gpucore info | doctor | demo | cache | conformance``, and what other distributions add."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of writing to a file that is open already, which do not name it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the ``gpucore`` command."""
    from gpucore.cli.app import app

    try:
        try:
            app.main(args=list(arguments) if arguments is not None else None, prog_name="gpucore")
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.filename is None and error.errno not in _FULL:
            raise
        _fail(f"{error.filename or 'the output'} cannot be written or read: {error.strerror}")


def _fail(message: str) -> None:
    import click

    with contextlib.suppress(OSError):
        click.echo(f"Error: {message}", err=True)
    # what waits in the buffer would fail again when the interpreter ends
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
