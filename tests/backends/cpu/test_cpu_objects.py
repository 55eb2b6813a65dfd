"""What the emitted objects promise: no undefined symbols, no contraction, denormals kept."""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
from typing import Any

import numpy as np
import pytest

from gpucore import ir
from gpucore.ir.dtypes import dtype
from gpucore.ir.ops import BASELINE, OPS


def undefined_symbols(data: bytes) -> list[str]:
    """The undefined symbols of an ELF64 object (System V gABI, chapter 4)."""
    (offset,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, offset + n * size) for n in range(count)]
    found = []
    for _, kind, _, _, start, length, link, _, _, entry in sections:
        if kind != 2:  # SHT_SYMTAB
            continue
        strings = sections[link][4]
        for at in range(start + entry, start + length, entry):
            name, _, _, section = struct.unpack_from("<IBBH", data, at)
            if section == 0:
                end = data.index(b"\0", strings + name)
                found.append(data[strings + name : end].decode())
    return found


elf = pytest.mark.skipif(sys.platform != "linux", reason="reads ELF objects")


def every_operation(keys: list[str]) -> ir.Module:
    """A kernel that does each operation once on values that differ between threads."""
    params: list[ir.Memory | ir.Value] = []
    body: list[ir.Stmt] = [ir.ThreadIndex(i := ir.Value("i", dtype("i32")), "global_id", 0)]
    sources: dict[str, ir.Value] = {}

    def source(name: str) -> ir.Value:
        if name not in sources:
            stored = "u8" if name == "bool" else name
            memory = ir.Memory(f"in.{name}", dtype(stored), "global")
            params.append(memory)
            value = ir.Value(f"v.{name}", dtype(stored))
            body.append(ir.Load(value, memory, (i,)))
            if name == "bool":
                zero, value = ir.Value("zero", dtype("u8")), ir.Value("v.bool.truth", dtype("bool"))
                body.append(ir.Const(zero, 0))
                body.append(ir.Op(value, "ne", (ir.Value("v.bool", dtype("u8")), zero)))
            sources[name] = value
        return sources[name]

    for number, key in enumerate(keys):
        op, *types = _split(key)
        spec = OPS[op]
        to = {"bool": "bool", "i32": "i32"}.get(spec.result, types[-1])
        arguments = [source(types[0])] * spec.arity
        if op == "select":
            arguments[0] = source("bool")
        result = ir.Value(f"r{number}", dtype(to))
        body.append(ir.Op(result, op, tuple(arguments)))
        stored = result
        if to == "bool":
            stored = ir.Value(f"s{number}", dtype("u8"))
            body.append(ir.Op(stored, "cast", (result,)))
        memory = ir.Memory(f"out{number}", stored.dtype, "global")
        params.append(memory)
        body.append(ir.Store(memory, (i,), stored))
    return ir.Module(ir.Function("everything", tuple(params), None, (), (), tuple(body)))


def _split(key: str) -> list[str]:
    op = next(o for o in sorted(OPS, key=len, reverse=True) if key.startswith(o + "."))
    return [op, *key[len(op) + 1 :].split(".")]


@elf
def test_no_operation_needs_a_library(cpu: Any) -> None:
    keys = sorted(BASELINE | cpu.target.native)
    for at in range(0, len(keys), 150):
        assert undefined_symbols(cpu.compile(every_operation(keys[at : at + 150])).data) == []


COPY = """
module ir=1 ndim=1 math=strict noalias

kernel @copy(&x: u8[?], &y: u8[?], %n: i32) {
  memory &mine: local f32[200]
  init &mine
  %0: i32 = const 0
  %1: i32 = const 1
  for %i: i32 = %0 to %n step %1 {
    %v: u8 = load &x[%i]
    store &y[%i], %v
    %z: f32 = const 0.0
    store &mine[%i], %z
  }
  %w: f32 = load &mine[%n]
  %u: u8 = f2i.raw %w
  store &y[%n], %u
}
"""


@elf
def test_loops_that_copy_or_clear_do_not_become_library_calls(cpu: Any) -> None:
    assert undefined_symbols(cpu.compile(COPY).data) == []


ATOMICS = """
module ir=1 ndim=1 math=strict

kernel @atomics({params}) {{
  %i: i32 = global_id 0
{body}
}}
"""


@elf
def test_no_atomic_needs_a_library(cpu: Any) -> None:
    params, body = [], ""
    for number, key in enumerate(sorted(cpu.target.atomics)):
        op, kind = key.split(".")
        params.append(f"&m{number}: {kind}[?]")
        literal = "1.0" if kind[0] == "f" else "1"
        body += f"  %v{number}: {kind} = const {literal}\n"
        if op == "cas":
            bits = "u" + kind[1:]
            body = body.replace(f"%v{number}: {kind} = const {literal}", f"%v{number}: {bits} = const 1")
            body += f"  %o{number}: {bits} = atomic cas &m{number}[%i], %v{number}, %v{number} bits {bits}\n"
        else:
            body += f"  %o{number}: {kind} = atomic {op} &m{number}[%i], %v{number}\n"
    assert undefined_symbols(cpu.compile(ATOMICS.format(params=", ".join(params), body=body)).data) == []


MULTIPLY_ADD = """
module ir=1 ndim=1 math={math}

kernel @multiply_add(&x: f32[?], &y: f32[?], &z: f32[?]) {{
  %i: i32 = global_id 0
  %a: f32 = load &x[%i]
  %b: f32 = load &y[%i]
  %c: f32 = load &z[%i]
  %p: f32 = mul %a, %b
  %s: f32 = add %p, %c
  store &z[%i], %s
}}
"""


def test_strict_products_are_rounded_before_they_are_added(cpu: Any) -> None:
    x = np.full(64, 1 + 2**-12, np.float32)
    z = np.full(64, -1.0, np.float32)
    cpu.run(MULTIPLY_ADD.format(math="strict"), 1, 64, x, x, z)
    np.testing.assert_array_equal(z, x * x - np.float32(1))


def test_only_fast_modules_carry_fast_math_flags(cpu: Any) -> None:
    assert "contract" not in cpu.render(MULTIPLY_ADD.format(math="strict"))
    fast = cpu.render(MULTIPLY_ADD.format(math="fast"))
    assert "contract" in fast
    assert "nnan" not in fast
    assert "ninf" not in fast


def test_denormals_are_kept_even_in_a_thread_that_flushes_them(cpu: Any) -> None:
    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("sets the x86 control register")
    import llvmlite.binding as llvm

    code = """
    declare void @llvm.x86.sse.ldmxcsr(ptr)
    declare void @llvm.x86.sse.stmxcsr(ptr)
    define void @set(ptr %p) { call void @llvm.x86.sse.ldmxcsr(ptr %p)
      ret void }
    define void @get(ptr %p) { call void @llvm.x86.sse.stmxcsr(ptr %p)
      ret void }
    """
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(code), machine)
    put, get = (
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(engine.get_function_address(n)) for n in ("set", "get")
    )
    normal, flushing = ctypes.c_uint32(), ctypes.c_uint32()
    get(ctypes.byref(normal))
    flushing.value = normal.value | 0x8040
    tiny = np.full(32, 1e-40, np.float32)
    z = np.zeros(32, np.float32)
    put(ctypes.byref(flushing))
    try:
        cpu.run(MULTIPLY_ADD.format(math="strict"), 1, 32, tiny, np.ones(32, np.float32), z)
        get(ctypes.byref(flushing))
    finally:
        put(ctypes.byref(normal))
    assert z.view(np.uint32).tolist() == tiny.view(np.uint32).tolist()
    assert flushing.value & 0x8040 == 0x8040  # the caller's own setting is given back


def test_an_object_runs_in_another_process(cpu: Any, tmp_path: Any) -> None:
    import pickle
    import subprocess

    code = cpu.compile(MULTIPLY_ADD.format(math="strict"))
    (tmp_path / "object").write_bytes(pickle.dumps((code.data, code.entry, code.format, dict(code.metadata))))
    script = """
import pickle, sys
import numpy as np
import gpucore_cpu as plugin
from gpucore.hookspecs import LaunchConfig, ObjectCode, StreamOptions
device = plugin.open_device(0, {})
executable = plugin.load(device, ObjectCode(*pickle.load(open(sys.argv[1], "rb"))))
stream = plugin.create_stream(device, StreamOptions())
memory = [plugin.alloc(device, 256, "device", None) for _ in range(3)]
for m in memory:
    plugin.fill(device, m, 0, 256, np.float32(3).tobytes(), stream)
call = plugin.prepare(device, executable, LaunchConfig((1,), (64,)))
call(stream, *(slot for m in memory for slot in (m, 0, 64)))
out = bytearray(256)
plugin.copy(device, memoryview(out), 0, memory[2], 0, 256, stream)
assert np.frombuffer(out, np.float32).tolist() == [12.0] * 64
plugin.close_device(device)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "object")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
