"""The semantics of every operation as data, and the means to run a backend over it.

``groups()`` is the table; ``run(context)`` and ``run_interpreter()`` evaluate it and give a
:class:`Report`.  As a test suite: ``pytest --pyargs gpucore.testing.semantics --gpucore-backends=NAME``.
"""

from gpucore.testing.semantics.model import Group, Row
from gpucore.testing.semantics.runner import (
    Failure,
    GroupResult,
    Report,
    digest,
    rows,
    run,
    run_interpreter,
)
from gpucore.testing.semantics.table import groups

__all__ = [
    "Failure", "Group", "GroupResult", "Report", "Row", "digest", "groups", "rows", "run", "run_interpreter",
]  # fmt: skip
