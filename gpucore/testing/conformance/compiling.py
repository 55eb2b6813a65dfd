"""Rendering, compiling, loading."""

from __future__ import annotations

import json
import pickle

from gpucore.errors import GpucoreError
from gpucore.hookspecs import CompileOptions, LaunchConfig, ObjectCode
from gpucore.testing.conformance import kernels
from gpucore.testing.conformance.device_fixture import DeviceFixture
from gpucore.testing.conformance.model import case, expect


@case("compile", "render")
def renders_source_for_people(fixture: DeviceFixture) -> None:
    """``render`` gives text, the same each time."""
    module = fixture.lowered(kernels.SAXPY)
    text = fixture.hooks.render(fixture.target, module, CompileOptions())
    expect(isinstance(text, str) and bool(text.strip()), "no text")
    expect(
        text == fixture.hooks.render(fixture.target, module, CompileOptions()), "another text the second time"
    )


@case("compile", "compile")
def object_code_is_plain_data(fixture: DeviceFixture) -> None:
    """Object code holds bytes and JSON metadata, and survives pickling: the cache keeps it on disk."""
    code = fixture.compiled(kernels.SAXPY)
    expect(isinstance(code.data, bytes) and bool(code.data), "no bytes")
    expect(bool(code.entry) and bool(code.format), f"entry {code.entry!r}, format {code.format!r}")
    metadata = json.loads(json.dumps(dict(code.metadata)))
    expect(pickle.loads(pickle.dumps(code)).data == code.data, "pickling changes it")
    restored = ObjectCode(code.data, code.entry, code.format, metadata)
    executable = fixture.hooks.load(fixture.device, restored)
    fixture.hooks.unload(fixture.device, executable)


@case("compile", "target", "compile")
def compiles_for_the_default_target(fixture: DeviceFixture) -> None:
    """``compile`` needs no device: the default target will do."""
    code = fixture.hooks.compile(
        fixture.hooks.target(None), fixture.lowered(kernels.NUMBER), CompileOptions()
    )
    expect(bool(code.data), "no bytes")


@case("compile", "compile", "load", "unload")
def loads_many_kernels_at_once(fixture: DeviceFixture) -> None:
    """Executables are independent: unloading one leaves the others at work."""
    stream = fixture.stream()
    code = fixture.compiled(kernels.NUMBER, (32,))
    held = [fixture.hooks.load(fixture.device, code) for _ in range(8)]
    for executable in held[1:]:
        fixture.hooks.unload(fixture.device, executable)
    out = fixture.alloc(128)
    fixture.hooks.prepare(fixture.device, held[0], LaunchConfig((1,), (32,)))(stream, out, 0, 32)
    data = fixture.download(out, 128, stream)
    fixture.hooks.unload(fixture.device, held[0])
    expect(data == b"".join(n.to_bytes(4, "little") for n in range(32)), "the kernel that was kept is broken")


@case("compile", "load")
def garbage_is_refused(fixture: DeviceFixture) -> None:
    """Object code that is none raises one of gpucore's errors, and nothing worse happens."""
    try:
        executable = fixture.hooks.load(fixture.device, ObjectCode(b"this is no kernel", "main", "none"))
        fixture.hooks.unload(fixture.device, executable)
    except GpucoreError:
        return
    expect(False, "garbage was loaded")
