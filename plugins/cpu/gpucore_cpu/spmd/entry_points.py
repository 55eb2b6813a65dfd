"""The exported functions of an object, as :mod:`.kernel` describes them."""

from __future__ import annotations

from collections.abc import Sequence

from gpucore.hookspecs import Target

__all__ = ["entry_points", "gang_by_gang"]

_STRICT_MXCSR = 0x1F80


def gang_by_gang(signature: Sequence[str], width: int) -> str:
    """The function ``@body`` that calls ``@gang`` for each gang of its units.

    Compilers look at every loop of a gang as a part of the loops around it: values that are the same for all gangs would live
    through all of them, and registers for very many loops take the square of their number to find.
    """
    given = ", ".join(f"{kind} {name}" for kind, *_, name in map(str.split, signature))
    return f"""define internal void @body({", ".join(signature)}, i64 %begin, i64 %end, ptr noalias %scratch) noinline #0 {{
entry:
  %some = icmp slt i64 %begin, %end
  br i1 %some, label %unit, label %done
unit:
  %u = phi i64 [ %begin, %entry ], [ %u.next, %unit.next ]
  br label %gang
gang:
  %x = phi i64 [ 0, %unit ], [ %x.next, %gang ]
  call void @gang({given}, i64 %u, i64 %x, ptr %scratch)
  %x.next = add i64 %x, {width}
  %more = icmp slt i64 %x.next, %tile
  br i1 %more, label %gang, label %unit.next, !llvm.loop !1
unit.next:
  %u.next = add i64 %u, 1
  %again = icmp slt i64 %u.next, %end
  br i1 %again, label %unit, label %done, !llvm.loop !1
done:
  ret void
}}"""


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
