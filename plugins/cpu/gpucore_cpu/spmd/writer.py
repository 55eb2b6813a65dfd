"""The writer of one LLVM function: instructions, names, labels, blocks, stack memory."""

from __future__ import annotations

from collections.abc import Sequence

from gpucore_cpu.spmd.module_text import ModuleText

__all__ = ["Writer"]


class Writer:
    """Writes instructions into the block that is open.

    Attributes
    ----------
    terminated : bool
        Whether the block has ended; what follows needs a label first.
    """

    def __init__(self, text: ModuleText) -> None:
        self._text = text
        self._lines: list[str] = []
        self._allocas: list[str] = []
        self._counter = 0
        self.terminated = False

    # -- instructions
    def line(self, text: str) -> None:
        """One instruction without a result."""
        self._lines.append("  " + text)

    def tmp(self, text: str) -> str:
        """One instruction; its result's name."""
        self._counter += 1
        name = f"%t{self._counter}"
        self._lines.append(f"  {name} = {text}")
        return name

    def load(self, kind: str, address: str, extra: str = "") -> str:
        """A plain load."""
        return self.tmp(f"load {kind}, ptr {address}{extra}")

    def store(self, kind: str, value: str, address: str, extra: str = "") -> None:
        """A plain store."""
        self.line(f"store {kind} {value}, ptr {address}{extra}")

    def alloca(self, kind: str, hint: str, align: int | None = None) -> str:
        """Stack memory of the function, reserved at its entry; promoted to registers where LLVM can."""
        self._counter += 1
        name = f"%{hint}.{self._counter}"
        self._allocas.append(f"  {name} = alloca {kind}" + (f", align {align}" if align else ""))
        return name

    def intrinsic(
        self, name: str, result: str, args: Sequence[tuple[str, str]], flags: str = "", extra: str = ""
    ) -> str:
        """Call an LLVM intrinsic that returns a value; declares it."""
        self._declare(name, result, args)
        operands = ", ".join(f"{t} {v}" for t, v in args)
        return self.tmp(f"call {flags}{result} @{name}({operands}){extra}")

    def intrinsic_void(self, name: str, args: Sequence[tuple[str, str]], extra: str = "") -> None:
        """Call an LLVM intrinsic without a result; declares it."""
        self._declare(name, "void", args)
        self.line(f"call void @{name}({', '.join(f'{t} {v}' for t, v in args)}){extra}")

    def _declare(self, name: str, result: str, args: Sequence[tuple[str, str]]) -> None:
        self._text.declarations.setdefault(name, f"declare {result} @{name}({', '.join(t for t, _ in args)})")

    # -- blocks
    def label(self, hint: str) -> str:
        """A fresh label, not yet placed."""
        self._counter += 1
        return f"{hint}.{self._counter}"

    def begin(self, label: str) -> None:
        """Begin the block of that name; the one before falls through unless it has ended."""
        if not self.terminated:
            self.line(f"br label %{label}")
        self._lines.append(f"{label}:")
        self.terminated = False

    def branch(self, label: str) -> None:
        """Jump."""
        if not self.terminated:
            self.line(f"br label %{label}")
        self.terminated = True

    def branch_if(self, condition: str, then: str, orelse: str, metadata: str = "") -> None:
        """Jump on a scalar i1."""
        self.line(f"br i1 {condition}, label %{then}, label %{orelse}{metadata}")
        self.terminated = True

    def finish(self, header: str) -> str:
        """The function's text."""
        return "\n".join([header + " {", "entry:", *self._allocas, *self._lines, "}"])
