"""The conformance suite: what every backend must do, hook by hook, and the semantics of every operation.

``run(backend)`` gives a :class:`Report`, which writes itself as JSON; as a test suite:
``pytest --pyargs gpucore.testing.conformance --gpucore-backends=NAME``.
"""

from gpucore.testing.conformance.runner import (
    Case,
    Report,
    Verdict,
    Violation,
    cases,
    open_fixture,
    run,
    run_case,
    source_hash,
)

__all__ = [
    "Case",
    "Report",
    "Verdict",
    "Violation",
    "cases",
    "open_fixture",
    "run",
    "run_case",
    "source_hash",
]
