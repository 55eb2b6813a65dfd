"""Every hook is in the guide for plugin authors, and called by a test."""

import inspect
import re
from pathlib import Path

import pytest

from gpucore import hookspecs

ROOT = Path(__file__).parents[2]
HOOKS = [name for name, value in vars(hookspecs.BackendSpec).items() if hasattr(value, "gpucore_spec")]
UNCALLED = {  # part of the contract, but nothing in core calls them yet
    "can_access_peer", "export_memory",
}  # fmt: skip
GUIDE = (ROOT / "docs" / "plugin-authors.md").read_text("utf-8") if (ROOT / "docs").is_dir() else ""
TESTS = "".join(
    path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("*.py")) if path != Path(__file__)
)


@pytest.mark.skipif(not GUIDE, reason="the documentation is not beside the tests")
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_in_the_guide_with_its_signature(hook):
    parameters = ", ".join(list(inspect.signature(getattr(hookspecs.BackendSpec, hook)).parameters)[1:])
    assert f"| `{hook}({parameters})` |" in GUIDE
    if hook in hookspecs.OPTIONAL:
        assert f"(optional: `{hookspecs.OPTIONAL[hook]}`)" in GUIDE


@pytest.mark.parametrize("hook", sorted(set(HOOKS) - UNCALLED))
def test_a_hook_has_a_test(hook):
    assert re.search(rf"\b{hook}\b", TESTS)


@pytest.mark.skipif(not GUIDE, reason="the documentation is not beside the tests")
def test_the_guide_counts_the_required_hooks():
    required = len(set(HOOKS) - set(hookspecs.OPTIONAL))
    assert f"a Python module with {required} functions" in GUIDE


def test_the_null_backend_has_every_required_hook():
    from gpucore.testing import null

    for hook in set(HOOKS) - set(hookspecs.OPTIONAL):
        assert hasattr(getattr(null, hook), "gpucore_impl")
