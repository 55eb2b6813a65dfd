"""Functions: the collaborators put together, and device functions for each combination of uniform and varying
arguments."""

from __future__ import annotations

from dataclasses import dataclass

from gpucore import ir
from gpucore.ir.ops import is_routine
from gpucore_cpu.spmd.accesses import Accesses
from gpucore_cpu.spmd.analysis import Shape, analyse
from gpucore_cpu.spmd.atomics import Atomics
from gpucore_cpu.spmd.branches import Branches
from gpucore_cpu.spmd.calls import Calls, needs_mask, needs_scratch
from gpucore_cpu.spmd.elements import Elements
from gpucore_cpu.spmd.exits import Exits
from gpucore_cpu.spmd.index_tests import IndexTests
from gpucore_cpu.spmd.local_memory import LocalMemory
from gpucore_cpu.spmd.loops import Loops
from gpucore_cpu.spmd.module_text import ModuleText
from gpucore_cpu.spmd.operations import Operations
from gpucore_cpu.spmd.reports import Reports
from gpucore_cpu.spmd.small_integers import SmallIntegers
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.statements import Statements
from gpucore_cpu.spmd.subgroups import Subgroups
from gpucore_cpu.spmd.tables import emit_tables
from gpucore_cpu.spmd.types import ERROR_RECORD, literal
from gpucore_cpu.spmd.variables import Variables

__all__ = ["Collaborators", "collaborate"]

INLINE_LIMIT = 80
"""A function of at most that many statements is inlined always; of larger ones LLVM decides."""


@dataclass(frozen=True, slots=True)
class Collaborators:
    """Those that write one function, as far as its parts must know them."""

    state: FunctionState
    exits: Exits
    statements: Statements
    variables: Variables
    local: LocalMemory


def collaborate(state: FunctionState) -> Collaborators:
    """All that write one function, each given those that it needs.

    Statements that hold others are written by collaborators that need ``statements``, which learns of them last.
    """
    exits = Exits(state)
    statements = Statements(state, exits)
    operations = Operations(state, SmallIntegers(state))
    elements = Elements(state)
    local = LocalMemory(state, elements)
    variables = Variables(state)
    accesses = Accesses(state, elements, local)
    atomics = Atomics(state, elements, operations)
    loops = Loops(state, exits, statements)
    reports = Reports(state, elements, operations)

    def constant(statement: ir.Const) -> str:
        return literal(statement.result.dtype, statement.value)

    tests = IndexTests(state)

    def operation(statement: ir.Op) -> str:
        return tests.emit(statement) or operations.emit(statement)

    def swap(statement: ir.AtomicCas) -> str:
        writes = reports.emit_claim if statement.memory.name == ERROR_RECORD else atomics.emit_cas
        return writes(statement)

    def store(statement: ir.Store) -> None:
        (reports.emit_word if statement.memory.name == ERROR_RECORD else accesses.emit_store)(statement)

    def fence(statement: ir.Fence) -> None:
        state.writer.line("fence seq_cst")

    def nothing(statement: ir.Stmt) -> None:
        """Barriers split regions before code is written; asserts do not reach this level."""

    statements.handle(
        {
            ir.Const: constant,
            ir.Op: operation,
            ir.GetVar: variables.emit_get,
            ir.Load: accesses.emit_load,
            ir.Call: Calls(state, compile_function).emit,
            ir.Subgroup: Subgroups(state, operations).emit,
            ir.Atomic: atomics.emit,
            ir.AtomicCas: swap,
        },
        {
            ir.SetVar: variables.emit_set,
            ir.Store: store,
            ir.InitLocal: local.emit_init,
            ir.If: Branches(state, statements, tests).emit,
            ir.For: loops.emit_for,
            ir.While: loops.emit_while,
            ir.Break: exits.emit,
            ir.Continue: exits.emit,
            ir.Return: exits.emit,
            ir.Fence: fence,
            ir.Barrier: nothing,
            ir.Assert: nothing,
        },
    )
    return Collaborators(state, exits, statements, variables, local)


def _no_threads(statement: ir.ThreadIndex) -> Shape:
    raise NotImplementedError("a device function asks for a thread coordinate")


def compile_function(text: ModuleText, function: ir.Function, varying: tuple[bool, ...]) -> tuple[str, Shape]:
    """Write a device function for arguments that vary or do not; its symbol, and the shape of its result."""
    assert function.result is not None
    parameters = [p for p in function.params if isinstance(p, ir.Value)]
    shapes = {p.name: Shape.VARYING if v else Shape.UNIFORM for p, v in zip(parameters, varying, strict=True)}
    analysis = analyse(function, shapes, _no_threads)
    state = FunctionState.begin(text, function, analysis, exact=is_routine(function.name))
    writer, types = state.writer, state.types
    written = collaborate(state)
    exits = written.exits
    emit_tables(state)
    params = ["ptr %scratch"] if needs_scratch(text, function) else []
    for number, (value, vector) in enumerate(zip(parameters, varying, strict=True)):
        params.append(f"{types.of(value.dtype, vector)} %p{number}")
        state.values.define(value, f"%p{number}")
    for memory in function.memories:
        if memory.space == "local":
            state.memories[memory.name] = written.local.reserve(memory)
    shape = analysis.result if analysis.result < Shape.AFFINE else Shape.VARYING
    kind = types.of(function.result, shape == Shape.VARYING)
    address = writer.alloca(kind, "result")
    exits.result = (address, kind)
    if any(varying) and needs_mask(text, function):
        params.append(f"{types.mask} %mask")
        state.masks.current = "%mask"
    if analysis.returns:
        exits.live = writer.alloca(types.mask, "alive")
        writer.store(types.mask, state.masks.operand(), exits.live)
    written.statements.block(function.body)
    writer.begin(exits.label)
    writer.line(f"ret {kind} {writer.load(kind, address)}")
    name = f'@"{function.name}.{"".join("v" if v else "u" for v in varying)}"'
    size = sum(1 for _ in ir.walk(function.body))
    inline = " alwaysinline" if size <= INLINE_LIMIT else ""
    header = f"define internal fastcc {kind} {name}({', '.join(params)}){inline} #0"
    text.functions.append(writer.finish(header))
    return name, shape
