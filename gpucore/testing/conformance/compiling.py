"""Rendering, compiling, loading."""

from __future__ import annotations

import json
import pickle

from gpucore.errors import GpucoreError
from gpucore.hookspecs import CompileOptions, LaunchConfig, ObjectCode
from gpucore.testing.conformance import kernels
from gpucore.testing.conformance.model import case, expect
from gpucore.testing.conformance.rig import Rig


@case("compile", "render")
def renders_source_for_people(rig: Rig) -> None:
    """``render`` gives text, the same each time."""
    module = rig.lowered(kernels.SAXPY)
    text = rig.hooks.render(rig.target, module, CompileOptions())
    expect(isinstance(text, str) and bool(text.strip()), "no text")
    expect(text == rig.hooks.render(rig.target, module, CompileOptions()), "another text the second time")


@case("compile", "compile")
def object_code_is_plain_data(rig: Rig) -> None:
    """Object code holds bytes and JSON metadata, and survives pickling: the cache keeps it on disk."""
    code = rig.compiled(kernels.SAXPY)
    expect(isinstance(code.data, bytes) and bool(code.data), "no bytes")
    expect(bool(code.entry) and bool(code.format), f"entry {code.entry!r}, format {code.format!r}")
    metadata = json.loads(json.dumps(dict(code.metadata)))
    expect(pickle.loads(pickle.dumps(code)).data == code.data, "pickling changes it")
    restored = ObjectCode(code.data, code.entry, code.format, metadata)
    executable = rig.hooks.load(rig.device, restored)
    rig.hooks.unload(rig.device, executable)


@case("compile", "target", "compile")
def compiles_for_the_default_target(rig: Rig) -> None:
    """``compile`` needs no device: the default target will do."""
    code = rig.hooks.compile(rig.hooks.target(None), rig.lowered(kernels.NUMBER), CompileOptions())
    expect(bool(code.data), "no bytes")


@case("compile", "compile", "load", "unload")
def loads_many_kernels_at_once(rig: Rig) -> None:
    """Executables are independent: unloading one leaves the others at work."""
    stream = rig.stream()
    code = rig.compiled(kernels.NUMBER, (32,))
    held = [rig.hooks.load(rig.device, code) for _ in range(8)]
    for executable in held[1:]:
        rig.hooks.unload(rig.device, executable)
    out = rig.alloc(128)
    rig.hooks.prepare(rig.device, held[0], LaunchConfig((1,), (32,)))(stream, out, 0, 32)
    data = rig.download(out, 128, stream)
    rig.hooks.unload(rig.device, held[0])
    expect(data == b"".join(n.to_bytes(4, "little") for n in range(32)), "the kernel that was kept is broken")


@case("compile", "load")
def garbage_is_refused(rig: Rig) -> None:
    """Object code that is none raises one of gpucore's errors, and nothing worse happens."""
    try:
        executable = rig.hooks.load(rig.device, ObjectCode(b"this is no kernel", "main", "none"))
        rig.hooks.unload(rig.device, executable)
    except GpucoreError:
        return
    expect(False, "garbage was loaded")
