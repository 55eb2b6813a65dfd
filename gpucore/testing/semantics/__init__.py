"""The semantics of every operation as data, and the means to run a backend over it.

``groups()`` is the table as it was first published and ``parts()`` what came to it later; ``run(context)`` and
``run_interpreter()`` evaluate it and give a
:class:`Report`.  As a test suite: ``pytest --pyargs gpucore.testing.semantics --gpucore-backends=NAME``.
"""

from gpucore.testing.semantics.runner import (
    Failure,
    GroupResult,
    Report,
    digest,
    rows,
    run,
    run_interpreter,
)
from gpucore.testing.semantics.table import groups, parts
from gpucore.testing.semantics.values import Group, Row

__all__ = [
    "Failure", "Group", "GroupResult", "Report", "Row", "digest", "groups", "parts", "rows", "run", "run_interpreter",
]  # fmt: skip
