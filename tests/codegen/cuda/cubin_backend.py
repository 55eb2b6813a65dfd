"""CUDA without a GPU: a backend that compiles every kernel to cubins for all architectures, then interprets it.

The interpreter runs the same lowered module that was rendered, with the operations that CUDA claims as native, so
a run checks that what CUDA is given means what was written and that NVRTC takes it.  As a pytest plugin
(``-p cubin_backend --gpucore-backends=cubin``) it puts any suite through that; as a script it runs a script, or with
``--table`` or ``--demo`` compiles every kernel of the semantics table or the demo without running it.
"""

from __future__ import annotations

import dataclasses
import os
import runpy
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gpucore.backends import discovery
from gpucore.hookspecs import hookimpl
from gpucore.testing import null
from gpucore_cuda.compiler import compile_module
from gpucore_cuda.targets import ATOMICS, make_target

ARCHITECTURES = tuple(os.environ.get("GPUCORE_TEST_ARCHITECTURES", "sm_75 sm_80 sm_90 sm_120").split())
NAME = "cubin"


class Compiled:
    """What was compiled in this process: kernel names, each with its cubins' sizes."""

    def __init__(self) -> None:
        self.kernels: list[tuple[str, tuple[int, ...]]] = []
        self.sizes: dict[
            tuple[str, str], tuple[int, ...]
        ] = {}  # contexts that follow each other have kernels in common
        self.workers = ThreadPoolExecutor(len(ARCHITECTURES))  # NVRTC runs without the GIL


compiled = Compiled()


@hookimpl
def backend_info():
    return dataclasses.replace(null.backend_info(), name=NAME, description="compiles for CUDA, interprets")


@hookimpl
def probe():
    found = null.probe()
    return dataclasses.replace(
        found, devices=tuple(dataclasses.replace(d, backend=NAME) for d in found.devices)
    )


@hookimpl
def capabilities(device):
    known = null.capabilities(device)
    return dataclasses.replace(
        known, atomics=ATOMICS, subgroup_sizes=(32,), shared_memory=227 * 1024, preferred_block=256
    )


@hookimpl
def target(device):
    # products of tiles by loops: the interpreter has no tensor cores, nor has sm_75; test_cuda_tiles compiles theirs
    full = make_target("sm_90")
    loops = frozenset(feature for feature in full.features if not feature.startswith("tile."))
    return dataclasses.replace(full, features=loops)


@hookimpl
def compile(target, module, options):
    key = str(module), repr(options)
    sizes = compiled.sizes.get(key)
    if sizes is None:
        each = compiled.workers.map(
            lambda a: len(compile_module(make_target(a), module, options).data), ARCHITECTURES
        )
        sizes = compiled.sizes[key] = tuple(each)
    compiled.kernels.append((module.kernel.name, sizes))
    return null.compile(target, module, options)


def make_plugin(*, run: bool = True) -> types.ModuleType:
    """The null backend's hooks with those above in their place; without ``run``, launches do nothing."""
    plugin = types.ModuleType(NAME)
    for name, value in vars(null).items():
        if name == "GPUCORE_API" or hasattr(value, "gpucore_impl"):
            setattr(plugin, name, value)
    for hook in (backend_info, probe, capabilities, target, compile):
        setattr(plugin, hook.__name__, hook)
    if not run:
        plugin.prepare = prepare_nothing
    return plugin


@hookimpl
def prepare(device, executable, config):
    return lambda stream, *slots: None


prepare_nothing = prepare


def compile_table() -> None:
    """Compile what the semantics table launches; the results, which nobody computed, are not looked at."""
    from gpucore import Context
    from gpucore.testing.semantics.runner import batches, context_evaluator, evaluate
    from gpucore.testing.semantics.table import groups

    with discovery.register(NAME, make_plugin(run=False)), Context(NAME) as context:
        for batch in batches(groups().values()):
            for result in evaluate(batch, context_evaluator(context)):
                if result.reason:
                    raise RuntimeError(f"{result.key}: {result.reason}")


# --- as a pytest plugin ---------------------------------------------------------------------------------
_registered = []


def pytest_configure(config) -> None:
    context = discovery.register(NAME, make_plugin())
    context.__enter__()
    _registered.append(context)


def pytest_unconfigure(config) -> None:
    while _registered:
        _registered.pop().__exit__(None, None, None)


def pytest_terminal_summary(terminalreporter) -> None:
    terminalreporter.write_line(f"compiled {len(compiled.kernels)} kernels for {', '.join(ARCHITECTURES)}")


def compile_demo() -> None:
    """Compile what ``gpucore demo`` launches."""
    from gpucore import Context
    from gpucore.cli.demo import inputs
    from gpucore.cli.demo.stages import build

    with discovery.register(NAME, make_plugin(run=False)), Context(NAME) as context:
        for stage in build(context, inputs.photograph(None), inputs.terrain()):
            stage.launch()


if __name__ == "__main__" and sys.argv[1] in ("--table", "--demo"):
    {"--table": compile_table, "--demo": compile_demo}[sys.argv[1]]()
    print(f"compiled {len(compiled.kernels)} kernels")
elif __name__ == "__main__":
    with discovery.register(NAME, make_plugin()):
        sys.argv = sys.argv[1:]
        sys.path.insert(0, str(Path(sys.argv[0]).parent))
        runpy.run_path(sys.argv[0], run_name="__main__")
    print(f"compiled {len(compiled.kernels)} kernels")
