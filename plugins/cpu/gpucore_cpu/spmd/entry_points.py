"""The exported functions of an object, as :mod:`.kernel` describes them."""

from __future__ import annotations

from collections.abc import Sequence

from gpucore.hookspecs import Target

__all__ = ["entry_points"]

_STRICT_MXCSR = 0x1F80


def entry_points(name: str, loads: Sequence[str], call: str, target: Target) -> str:
    """The exported functions; they make sure that denormals are kept and rounding is to nearest."""
    lines = [
        f"define dso_local void @{name}.range(ptr %args, i64 %begin, i64 %end, ptr %scratch) #0 {{",
        "entry:",
        *loads,
    ]
    if target.arch == "x86_64":
        lines += [
            "  %csr = alloca i32, align 4",
            "  %strict = alloca i32, align 4",
            "  call void @llvm.x86.sse.stmxcsr(ptr %csr)",
            "  %old = load i32, ptr %csr, align 4",
            f"  %modes = and i32 %old, {0xFFC0}",  # masks, rounding, flush-to-zero, denormals-are-zero
            f"  %bad = icmp ne i32 %modes, {_STRICT_MXCSR}",
            "  br i1 %bad, label %set, label %run",
            "set:",
            f"  store i32 {_STRICT_MXCSR}, ptr %strict, align 4",
            "  call void @llvm.x86.sse.ldmxcsr(ptr %strict)",
            "  br label %run",
            "run:",
            f"  call void @body({call})",
            "  br i1 %bad, label %reset, label %done",
            "reset:",
            "  call void @llvm.x86.sse.ldmxcsr(ptr %csr)",
            "  br label %done",
            "done:",
            "  ret void",
            "}",
            "declare void @llvm.x86.sse.stmxcsr(ptr)",
            "declare void @llvm.x86.sse.ldmxcsr(ptr)",
        ]
    else:
        lines += [f"  call void @body({call})", "  ret void", "}"]
    lines += [
        "",
        f"define dso_local void @{name}(ptr %args) #0 {{",
        "entry:",
        "  %header = load ptr, ptr %args, align 8",
        "  %units = load i64, ptr %header, align 8",
        "  %scratch.p = getelementptr i64, ptr %args, i64 1",
        "  %scratch = load ptr, ptr %scratch.p, align 8",
        f"  call void @{name}.range(ptr %args, i64 0, i64 %units, ptr %scratch)",
        "  ret void",
        "}",
    ]
    return "\n".join(lines)
