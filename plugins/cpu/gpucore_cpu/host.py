"""The host as a compile target: what LLVM does on it without calling a library."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

import llvmlite.binding as llvm

from gpucore.hookspecs import Target
from gpucore_cpu.uninterrupted import uninterrupted

__all__ = ["ATOMICS", "host_target", "last_level_cache"]

_INTS = ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")
_FLOATS = ("f32", "f64")

ATOMICS: frozenset[str] = frozenset(
    {f"{op}.{d}" for d in _INTS for op in ("add", "sub", "min", "max", "and", "or", "xor", "exchange", "cas")}
    | {f"{op}.{d}" for d in _FLOATS for op in ("add", "sub", "exchange", "cas")}
)
"""Atomics that LLVM lowers without a library; float min and max are built from cas by core."""

DEFAULT_CACHE = 32 << 20
CODEGEN = 6
"""Raised when other code is made of the same IR, so that objects in the cache are made anew."""

_BITS = {
    "i8": 8,
    "u8": 8,
    "i16": 16,
    "u16": 16,
    "i32": 32,
    "u32": 32,
    "i64": 64,
    "u64": 64,
    "f32": 32,
    "f64": 64,
}


def _architecture() -> str:
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "x64": "x86_64", "aarch64": "arm64"}.get(machine, machine)


def _vector_bits(arch: str, features: set[str]) -> int:
    if arch != "x86_64":
        return 128
    if {"avx512f", "avx512vl", "avx512bw", "avx512dq"} <= features:
        return 512
    return 256 if "avx2" in features else 128


def _native(arch: str, features: set[str]) -> frozenset[str]:
    keys = {f"{op}.{d}" for d in _INTS for op in ("min", "max", "abs", "shl", "shr", "popcount", "clz")}
    keys |= {f"dot4_{signs}.u32" for signs in ("signed", "unsigned", "mixed")}
    keys |= {f"{op}.{d}" for d in _FLOATS for op in ("div", "sqrt", "abs", "min", "max", "isnan", "isinf")}
    keys |= {f"cast.{f}.{i}" for f in _FLOATS for i in _INTS}
    keys |= {f"cast.{d}.bool" for d in (*_INTS, *_FLOATS)} | {f"cast.bool.{d}" for d in _FLOATS}
    for f in _FLOATS:
        for i in _INTS:
            if _BITS[f] == _BITS[i]:
                keys |= {f"bitcast.{f}.{i}", f"bitcast.{i}.{f}"}
    keys |= {f"bitcast.{a}.{b}" for a in _INTS for b in _INTS if _BITS[a] == _BITS[b]}
    keys |= {f"f2i.raw.{f}.{i}" for f in _FLOATS for i in _INTS}
    if arch == "arm64" or "sse4.1" in features:
        keys |= {f"{op}.{d}" for d in _FLOATS for op in ("floor", "ceil", "trunc", "round")}
    if arch == "arm64" or {"fma", "avx"} <= features:
        keys |= {f"fma.{d}" for d in _FLOATS}
    if arch == "arm64" or {"f16c", "avx"} <= features:
        keys |= {"cast.f16.f32", "cast.f32.f16"}
    return frozenset(keys)


@functools.cache
def last_level_cache() -> int:
    """Bytes of the cache that the cores share; a common size where the system does not say."""
    sizes = []
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text().strip()
        if text[:-1].isdigit() and text[-1:] in "KM":
            sizes.append(int(text[:-1]) << (10 if text[-1] == "K" else 20))
    return max(sizes, default=DEFAULT_CACHE)


@functools.cache
def host_target() -> Target:
    """The target for this machine: its processor's name, features and vector width."""
    arch = _architecture()
    flags, cpu = uninterrupted(lambda: (llvm.get_host_cpu_features(), llvm.get_host_cpu_name()))
    enabled = {name for name, on in flags.items() if on}
    return Target(
        backend="cpu",
        arch=arch,
        native=_native(arch, enabled),
        atomics=ATOMICS,
        features=frozenset(
            {f"vector={_vector_bits(arch, enabled)}", f"cpu={cpu}"}
            | {f"codegen={CODEGEN}", "tile=lanes", "sums=lanes", *enabled}
            | {f"-{name}" for name, on in flags.items() if not on}
        ),
        speculates=True,
    )
