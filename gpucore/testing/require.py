"""``python -m gpucore.testing.require NAME``: exit with one sentence unless the backend can be used."""

from __future__ import annotations

import sys

import gpucore


def main(names: list[str]) -> str | None:
    """What is missing, in one sentence, or None."""
    statuses = gpucore.backends()
    for name in names:
        status = statuses.get(name)
        if status is None:
            return f"the backend {name!r} is not installed: pip install 'gpucore[{name}]'"
        if not status.available:
            return f"the backend {name!r} cannot be used: {status.reason} {status.fix}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
