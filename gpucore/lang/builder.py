"""Whole functions: the collaborators put together, passes until the variables' types are stable, values named as the user's."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType
from gpucore.lang.accumulators import narrow_sums
from gpucore.lang.assignments import Assignments
from gpucore.lang.calls import Calls, Casts, Printing
from gpucore.lang.capture import Captured, DeviceFunction
from gpucore.lang.conditions import Conditions
from gpucore.lang.conversions import Conversions
from gpucore.lang.diagnostics import Inner
from gpucore.lang.expressions import Arithmetic, Evaluator
from gpucore.lang.functions import RESULT, Functions, Returning, bind_parameters
from gpucore.lang.iterables import Iterables
from gpucore.lang.lookups import Lookups, Slices
from gpucore.lang.operands import Operand, Typed
from gpucore.lang.operations import Operations, RecordFunctions
from gpucore.lang.record_arithmetic import RecordArithmetic
from gpucore.lang.record_values import RecordValues
from gpucore.lang.state import FunctionState, Inference, Scope, ScopeStack
from gpucore.lang.statements import Loops, Statements
from gpucore.lang.subscripts import Subscripts
from gpucore.lang.syntax import Impure, Library, Names, analyse
from gpucore.lang.threads import Atomics, Blocks, Threads
from gpucore.lang.tiles import Tiles
from gpucore.lang.variables import Declarations, Memories, Variables

__all__ = ["build_kernel", "build_pure", "rename_values"]


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    names = (f.name for f in fields(kind))
    return tuple(name for name in names if name not in ("loc", "op", "memory", "var", "axis"))


def rename_values(block: ir.Block, names: Mapping[str, str]) -> ir.Block:
    """The block with values renamed; the new names must be free in the whole function.

    Parameters
    ----------
    block : Block
    names : Mapping[str, str]
        From old name to new.
    """
    return tuple(_renamed(statement, names) for statement in block)


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, ir.Value):
        name = names.get(node.name)
        return node if name is None else ir.Value(name, node.dtype)
    if isinstance(node, tuple):
        found = tuple(_renamed(item, names) for item in node)
        return node if all(a is b for a, b in zip(found, node, strict=True)) else found
    if not isinstance(node, ir.Stmt):
        return node
    changed = {}
    kind: Any = type(node)
    for name in _fields(kind):
        before = getattr(node, name)
        after = _renamed(before, names)
        if after is not before:
            changed[name] = after
    return replace(node, **changed) if changed else node


MOST_PASSES = 24


@dataclass(frozen=True, slots=True)
class _Pass:
    """What one pass over a function wrote, and the collaborators that still hold some of it."""

    state: FunctionState
    variables: Variables
    memories: Memories
    statements: Statements


def _collaborators(state: FunctionState) -> _Pass:
    """All that lower one function, each given those that it needs.

    What lowers expressions and what lowers statements need one another, since a call may inline a body: the evaluator
    and the statements are made first and learn of the others last.
    """
    conversions = Conversions(state)
    records = RecordValues(state, conversions)
    operators = RecordArithmetic(state, conversions, records)
    evaluator = Evaluator(state, records)
    variables = Variables(state, conversions, records)
    memories = Memories(state)
    statements = Statements(state, evaluator, conversions, variables)
    arithmetic = Arithmetic(state, evaluator, conversions, operators)
    of_records = RecordFunctions(state, evaluator, conversions, arithmetic, records, operators)
    slices = Slices(state, conversions)
    lookups = Lookups(state, evaluator, arithmetic, variables, records, slices)
    conditions = Conditions(state, evaluator, conversions, variables, operators)
    subscripts = Subscripts(state, evaluator, conversions, memories, records, slices)
    casts = Casts(state, evaluator, conversions, arithmetic, subscripts)
    returning = Returning(state, evaluator, conversions, variables)
    functions = Functions(
        state, evaluator, conversions, variables, returning, statements.body, compile_pure=build_pure
    )
    blocks = Blocks(state, evaluator, conversions, functions, memories)
    tiles = Tiles(state, evaluator, conversions, functions, memories, subscripts, blocks)
    builtins = {
        **casts.builtins(),
        **Operations(state, evaluator, conversions, arithmetic, lookups, of_records).builtins(),
        **of_records.builtins(),
        **Threads(state, evaluator, conversions).builtins(),
        **Atomics(state, evaluator, conversions, subscripts).builtins(),
        **blocks.builtins(),
        **tiles.builtins(),
        **Declarations(state, evaluator, conversions, memories).builtins(),
    }
    calls = Calls(
        state, evaluator, casts, functions, of_records, Printing(state, evaluator, conversions), builtins
    )
    assignments = Assignments(
        state, evaluator, conversions, variables, memories, arithmetic, subscripts, records, tiles
    )
    iterables = Iterables(state, evaluator, conversions, arithmetic)
    loops = Loops(state, evaluator, conversions, variables, statements, assignments, iterables)
    evaluator.handle(
        {
            ast.Constant: evaluator.constant,
            ast.Tuple: evaluator.tuple,
            ast.Name: lookups.name,
            ast.Attribute: lookups.attribute,
            ast.Subscript: subscripts.subscript,
            ast.BinOp: arithmetic.binary_operator,
            ast.UnaryOp: arithmetic.unary_operator,
            ast.Compare: conditions.comparison,
            ast.BoolOp: conditions.boolean,
            ast.IfExp: conditions.choice,
            ast.Call: calls.call,
            Inner: functions.inner,
        }
    )
    statements.handle(
        {
            ast.Pass: statements.nothing,
            ast.Expr: statements.expression,
            ast.Assert: statements.assertion,
            ast.If: statements.condition,
            ast.Assign: assignments.plain,
            ast.AnnAssign: assignments.annotated,
            ast.AugAssign: assignments.augmented,
            ast.For: loops.for_loop,
            ast.While: loops.while_loop,
            ast.Break: loops.break_,
            ast.Continue: loops.continue_,
            ast.Return: returning.statement,
        }
    )
    return _Pass(state, variables, memories, statements)


@dataclass(frozen=True, slots=True)
class _Task:
    """A function to lower with its parameters bound, and the dtype that its result is annotated with."""

    captured: Captured
    library: Library
    ndim: int
    pure: bool
    name: str
    bindings: dict[str, Operand]
    result: DType | None = None

    def lower(self) -> tuple[ir.Block, _Pass]:
        """Lower the body by passes over the syntax.

        Passes first let variables that hold literals alone stay weak, so that ``n = 0; n += x[i]`` takes the type
        of ``x``, and pass over errors that a later type may resolve.  Once the types are stable, what is weak still
        becomes i32 or the default float; a last pass, where one is needed, reports what is wrong.
        """
        definition = self.captured.definition
        names = analyse(definition)
        inference = Inference()
        for _ in range(MOST_PASSES):
            done = self._one_pass(names, inference)
            if inference.changed or (inference.failures and inference.grew):
                continue
            if inference.weak_reads and inference.holds_weak:
                inference.strengthen(self.library.floats.default)
                continue
            if inference.failures:
                inference.tentative = False
                inference.strengthen(self.library.floats.default)
                done = self._one_pass(names, inference)
                if inference.changed:
                    break
            writer = done.state.writer
            self._look_for_narrow_sums(tuple(writer.blocks[0]), done)
            called = {old: writer.unique(name) for old, name in writer.hints.items()}
            return rename_values(tuple(writer.blocks[0]), called), done
        self.captured.source.type_error(
            definition,
            "the types of the variables do not settle",
            "Cast the variables where they are assigned.",
        )

    def _look_for_narrow_sums(self, body: ir.Block, done: _Pass) -> None:
        literal = done.state.inference.int_literals
        found = {
            var: literal[key]
            for key, var in done.variables.by_key.items()
            if key in literal and var.dtype.is_integer
        }
        self.library.narrow += narrow_sums(body, found)

    def _one_pass(self, names: Names, inference: Inference) -> _Pass:
        """Lower the body once, with the variables' types as known so far."""
        inference.begin_pass()
        scopes = ScopeStack(Scope(self.captured, names, result=self.result))
        state = FunctionState(self.captured, self.library, self.ndim, self.pure, self.name, inference, scopes)
        found = _collaborators(state)
        for name in self.bindings:
            state.writer.reserve(name)
        bind_parameters(state, found.variables, self.bindings, self.captured.definition)
        found.statements.body(self.captured.definition.body)
        return found


def build_kernel(
    captured: Captured,
    library: Library,
    ndim: int,
    params: tuple[ir.Memory | ir.Value, ...],
    bindings: dict[str, Operand],
) -> ir.Function:
    """A kernel as an IR function."""
    body, done = _Task(captured, library, ndim, False, captured.name, bindings).lower()
    variables, memories = done.variables.by_key.values(), done.memories.all
    return ir.Function(captured.name, params, None, tuple(variables), tuple(memories), body)


def build_pure(
    function: DeviceFunction, dtypes: dict[str, DType], fixed: dict[str, Operand], library: Library, name: str
) -> ir.Function:
    """A device function on scalars as an IR function.

    Raises
    ------
    Impure
        When it does more than that.
    """
    captured = function.captured
    params = {n: ir.Value(n, dtypes[n]) for n in dtypes}
    order = [p.name for p in captured.parameters]
    bindings: dict[str, Operand] = {n: Typed(params[n]) if n in params else fixed[n] for n in order}
    body, done = _Task(captured, library, 0, True, name, bindings, captured.result).lower()
    inference = done.state.inference
    types = inference.types
    if (rounded := inference.rounded_in(RESULT)) is not None:
        library.rounded[name] = rounded
    if RESULT not in types:
        raise Impure("no value is returned")
    if done.state.scope.assigned is not None:
        captured.source.syntax_error(
            captured.definition,
            f"{function.__name__} may end without a return",
            "Return a value on every path.",
        )
    return ir.Function(
        name,
        tuple(params[n] for n in order if n in params),
        done.state.strong(types[RESULT]),
        tuple(done.variables.by_key.values()),
        tuple(done.memories.all),
        body,
    )
