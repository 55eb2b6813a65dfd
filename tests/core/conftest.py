"""Backends and kernels for tests of the core: the null backend, with hooks replaced where a test wants it."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gpucore as gc
from gpucore.backends import discovery
from gpucore.hookspecs import BackendSpec, hookimpl
from gpucore.ir import dtypes as d
from gpucore.ir import nodes as ir
from gpucore.ir.passes import link
from gpucore.launch.kernel import Kernel, Parameter
from gpucore.launch.specialization import LanguageSource, LanguageSpecialization
from gpucore.math import library
from gpucore.testing import null


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("GPUCORE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GPUCORE_CACHE_DIR", str(tmp_path / "kernel-cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-settings-of-the-users"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def make_backend(**hooks: Any) -> types.ModuleType:
    """The null backend as a module of its own, with hooks replaced (None takes one away)."""
    module = types.ModuleType("made_for_a_test")
    for name, value in vars(null).items():
        if not name.startswith("__"):
            setattr(module, name, value)
    for name, hook in hooks.items():
        if hook is None:
            delattr(module, name)
        else:
            setattr(module, name, hookimpl(hook) if hasattr(BackendSpec, name) else hook)
    return module


@pytest.fixture
def backend() -> Iterator[Callable[..., types.ModuleType]]:
    """``backend(name, **hooks)`` installs a backend for the test."""
    import contextlib

    with contextlib.ExitStack() as stack:

        def install(name: str = "null", **hooks: Any) -> types.ModuleType:
            module = make_backend(**hooks) if hooks else null
            stack.enter_context(discovery.register(name, module))
            return module

        yield install


@pytest.fixture
def several(backend: Callable[..., Any]) -> Callable[..., list[str]]:
    """``several(n, **hooks)`` installs a backend ``many`` of n devices that reach each other; their selectors."""
    from dataclasses import replace

    from gpucore.hookspecs import ProbeResult

    def probe_of(count: int) -> Callable[[], ProbeResult]:
        (one,) = null.probe().devices
        return lambda: ProbeResult(
            True, devices=tuple(replace(one, ordinal=n, name=f"number {n}") for n in range(count))
        )

    def capabilities(device: Any) -> Any:
        found = null.capabilities(device)
        return replace(found, names=found.names | {"peer_copy", "peer_events"})

    def copy_peer(
        device: Any,
        dst: Any,
        dst_offset: int,
        src_device: Any,
        src: Any,
        src_offset: int,
        nbytes: int,
        stream: Any,
    ) -> None:
        null.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)

    def install(count: int, **hooks: Any) -> list[str]:
        everything = {
            "probe": probe_of(count), "capabilities": capabilities, "copy_peer": copy_peer,
            "can_access_peer": lambda device, other: True,
        }  # fmt: skip
        backend("many", **everything | hooks)
        return [f"many:{n}" for n in range(count)]

    return install


@pytest.fixture
def ctx(backend: Callable[..., Any]) -> Iterator[gc.Context]:
    """A context on the null backend, from which nothing is left at the end."""
    backend("null")
    context = gc.Context("null")
    handle = context.device._handle
    yield context
    context.close()
    assert handle.open == {"allocations": 0, "streams": 0, "events": 0, "kernels": 0}


class Recorder:
    """The null backend, writing down calls of hooks."""

    HOOKS = ("alloc", "free", "record_event", "wait_event", "synchronize_stream", "copy", "fill")

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def hooks(self) -> dict[str, Any]:
        import inspect

        def record(name: str) -> Any:
            original = getattr(null, name)
            names = ", ".join(inspect.signature(original).parameters)
            space = {"calls": self.calls, "original": original, "name": name}
            exec(
                f"def {name}({names}):\n    calls.append((name, {names}))\n    return original({names})",
                space,
            )
            return space[name]

        return {name: record(name) for name in self.HOOKS}

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] in names]


@pytest.fixture
def recorded(backend: Callable[..., Any]) -> Iterator[tuple[gc.Context, Recorder]]:
    """A context on a backend that records its hooks, and the record."""
    recorder = Recorder()
    backend("recorder", **recorder.hooks())
    with gc.Context("recorder") as context:
        yield context, recorder


# --- kernels from hand-made IR, so that tests of the core do not depend on the language
# ----------------------
class _Traits:
    uses_thread_ids = uses_shared = uses_barriers = uses_subgroups = uses_tiles = False


class _Captured:
    def __init__(self, module: ir.Module) -> None:
        self.module = module
        self.values: tuple[Any, ...] = ()

    def constants(self, types: Any = ()) -> tuple[Any, ...]:
        return self.values


class IRSource(LanguageSource):
    built = 0

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(
            Parameter(p.name, "array", p.dtype, p.rank)
            if isinstance(p, ir.Memory)
            else Parameter(p.name, "scalar", p.dtype)
            for p in self.captured.module.kernel.params
        )

    def watched(self, types: Any) -> list[tuple[Any, str, Any]]:
        return [(self.captured, "values", self.captured.values)]

    def _build(self, types: Any, ndim: int, math: Any, keep: frozenset[str]) -> LanguageSpecialization:
        self.built += 1
        m = self.captured.module
        m = ir.Module(m.kernel, m.functions, ndim, math, m.subgroup)
        linked = link(m, library, keep)
        return LanguageSpecialization(
            m.kernel.name, m, linked, ir.written_arrays(m), self.traits, self.captured
        )

    traits: Any = _Traits()


def ir_kernel(module: ir.Module, **traits: bool) -> Kernel:
    source = IRSource(_Captured(module), None, None)
    if traits:
        source.traits = type("Traits", (_Traits,), traits)()
    return Kernel(source, module.kernel.name)


@pytest.fixture
def saxpy() -> Kernel:
    """y[i] = a * x[i] + y[i], guarded."""
    x, y, a = ir.Memory("x", d.f32, "global"), ir.Memory("y", d.f32, "global"), ir.Value("a", d.f32)
    i, n, c = ir.Value("i", d.index), ir.Value("n", d.index), ir.Value("c", d.bool_)
    xi, yi, p, s = (ir.Value(name, d.f32) for name in ("xi", "yi", "p", "s"))
    body = (
        ir.ThreadIndex(i, "global_id", 0),
        ir.Extent(n, y, 0),
        ir.Op(c, "lt", (i, n)),
        ir.If(
            c,
            (
                ir.Load(xi, x, (i,)),
                ir.Load(yi, y, (i,)),
                ir.Op(p, "mul", (a, xi)),
                ir.Op(s, "add", (p, yi)),
                ir.Store(y, (i,), s),
            ),
        ),
    )
    return ir_kernel(ir.Module(ir.Function("saxpy", (x, y, a), None, (), (), body)))


@pytest.fixture
def copy_kernel() -> Kernel:
    """out[i] = x[i], unguarded: out of bounds where the grid is larger than an array."""
    x, out = ir.Memory("x", d.f32, "global"), ir.Memory("out", d.f32, "global")
    i, v = ir.Value("i", d.index), ir.Value("v", d.f32)
    body = (
        ir.ThreadIndex(i, "global_id", 0),
        ir.Load(v, x, (i,), ir.Loc("kernels.py", 7)),
        ir.Store(out, (i,), v, ir.Loc("kernels.py", 8)),
    )
    return ir_kernel(ir.Module(ir.Function("copy_kernel", (x, out), None, (), (), body)))


@pytest.fixture
def fill_nd() -> Callable[[int], Kernel]:
    """out[ids] = value for arrays of a rank, for range launches."""

    def make(rank: int, **traits: bool) -> Kernel:
        out, value = ir.Memory("out", d.i32, "global", rank), ir.Value("value", d.i32)
        ids = tuple(ir.Value(f"i{axis}", d.index) for axis in range(rank))
        body = (
            *(ir.ThreadIndex(i, "global_id", axis) for axis, i in enumerate(ids)),
            ir.Store(out, ids, value),
        )
        module = ir.Module(ir.Function("fill_nd", (out, value), None, (), (), body), ndim=rank)
        return ir_kernel(module, **traits)

    return make
