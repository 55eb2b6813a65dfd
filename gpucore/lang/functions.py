"""Calls of device functions, as IR functions where they only compute on scalars, else inlined; and how functions return."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from gpucore.errors import KernelSyntaxError, KernelTypeError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_
from gpucore.ir.records import RecordType
from gpucore.lang.capture import Captured, DeviceFunction, GivenFunction, func
from gpucore.lang.conversions import Conversions
from gpucore.lang.diagnostics import Inner, did_you_mean, plural
from gpucore.lang.expressions import Evaluator
from gpucore.lang.operands import (
    Array,
    Items,
    Literal,
    Object,
    Operand,
    Record,
    Records,
    Slot,
    Tile,
    Typed,
    as_constant,
    describe,
    wrap_python,
)
from gpucore.lang.state import FunctionState, Returns, Scope
from gpucore.lang.syntax import Impure, Library, analyse, first_store, is_small, needs_flag
from gpucore.lang.types import REQUIRED, Parameter
from gpucore.lang.variables import Variables

__all__ = ["RESULT", "CompilePure", "Functions", "InnerFunction", "Returning", "bind_parameters"]


RESULT = ("<result>",)
"""The key of the type that all returns of an IR function join to."""


@dataclass(frozen=True, slots=True)
class Returning:
    """Lowers returns."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    variables: Variables

    def statement(self, node: ast.Return) -> None:
        scope = self.state.scope
        if scope.returns is not None:
            self._from_inlined(node, scope.returns)
        elif self.state.pure:
            if node.value is None:
                raise Impure("nothing to return")
            operand = self.evaluator.expression(node.value)
            if not isinstance(operand, (Typed, Literal)):
                raise Impure("a tuple to return")
            self._from_pure(operand, node)
        else:
            if node.value is not None and not (
                isinstance(node.value, ast.Constant) and node.value.value is None
            ):
                self.state.source.syntax_error(
                    node,
                    "a kernel returns no value",
                    "Write it to an array; only @gc.func functions return values.",
                )
            self.state.writer.emit(ir.Return(None, self.state.writer.location))
        if scope.returns is None or not scope.returns.direct:
            self.state.scope.assigned = None

    def _from_pure(self, operand: Operand, node: ast.Return) -> None:
        if self.state.scope.result is not None:
            value = self.conversions.stored(operand, self.state.scope.result, node)
            self.state.inference.types[RESULT] = self.state.scope.result
        else:
            value = self._joined(operand, node)
        self.state.writer.emit(ir.Return(value, self.state.writer.location))

    def _joined(self, operand: Operand, node: ast.AST) -> ir.Value:
        """The operand in the type that all returns join to."""
        inference = self.state.inference
        kind = self.conversions.type_of(operand, node)
        known = inference.types.get(RESULT)
        found = kind if known is None else self.state.join(known, kind)
        if found is None:
            self.state.source.type_error(
                node, f"{known} is returned on one path and {kind} on another", "Cast one of them."
            )
        if found != known:
            inference.types[RESULT] = found
            inference.grew = True
            inference.changed = inference.changed or known is not None
        self.conversions.note_rounded(RESULT, operand)
        return self.conversions.to(operand, self.state.strong(found), node)

    def _from_inlined(self, node: ast.Return, returns: Returns) -> None:
        scope, writer = self.state.scope, self.state.writer
        operand: Operand = Object(None) if node.value is None else self.evaluator.expression(node.value)
        if isinstance(scope.result, RecordType) or isinstance(operand, Record):
            if scope.result is not None:
                operand = self.variables.records.converted(operand, scope.result, node)
            else:
                operand = self.variables.records.settled(operand)  # type: ignore[arg-type]
        elif isinstance(operand, (Typed, Literal)):
            # of the same type as where the function is called and not inlined
            dtype = scope.result or self.conversions.strong_type(operand, node)
            if returns.direct or scope.result is not None:
                rounded = None if scope.result is not None else self.conversions.rounded((operand,))
                operand = Typed(self.conversions.stored(operand, dtype, node), rounded=rounded)
        if returns.direct:
            returns.operand = operand
            return
        items = operand.items if isinstance(operand, Items) else () if node.value is None else (operand,)
        shape = len(items) if isinstance(operand, Items) else -1 if node.value is None else 0
        if returns.shape is not None and returns.shape != shape:
            self.state.source.type_error(
                node, "this function returns different numbers of values", "Return the same on every path."
            )
        returns.shape = shape
        for k, item in enumerate(items):
            self.variables.write(Slot((*scope.key, f"<result {k}>")), item, node)
        if returns.flag:
            true = writer.constant(True, bool_)
            writer.set(self.variables.returned_flag(), true)
        if scope.loops:
            writer.emit(ir.Break(writer.location))
            scope.loops[-1].append(set(scope.assigned or ()))

    def result_of_inlined(self, function: DeviceFunction, returns: Returns, falls_off: bool) -> Operand:
        """What the call of an inlined function gives; ``falls_off`` says that its end can be reached."""
        if returns.direct:
            return returns.operand if returns.operand is not None else Object(None)
        if returns.shape is None or returns.shape == -1:
            return Object(None)
        if not returns.flag and falls_off:
            self.state.source.syntax_error(
                function.captured.definition,
                f"{function.__name__} may end without a return",
                "Return a value on every path.",
            )
        count = returns.shape or 1
        items: list[Operand] = []
        for k in range(count):
            key = (*self.state.scope.key, f"<result {k}>")
            if key in self.state.inference.lengths:
                items.append(self._record_result(function, Slot(key), returns))
                continue
            var = self.variables.variable(key, "result")
            if returns.flag:
                # set on a path that the flag excludes otherwise: define it for the verifier, before the body
                self._predefine(var)
            items.append(Typed(self.state.writer.read(var), rounded=self.state.inference.rounded_in(key)))
        return Items(tuple(items)) if returns.shape else items[0]

    def _record_result(self, function: DeviceFunction, slot: Slot, returns: Returns) -> Operand:
        if returns.flag:
            for key in self.variables.scalars(slot.key):
                self._predefine(self.variables.variable(key, "result"))
        return self.variables.read(slot, function.captured.definition)

    def _predefine(self, var: ir.Var) -> None:
        """Set a result variable to zero at the function's start, since only flags say that it is set later."""
        writer = self.state.writer
        zero = ir.Value(writer.unique("zero"), var.dtype)
        first: list[ir.Stmt] = [
            ir.Const(zero, False if var.dtype is bool_ else 0.0 if var.dtype.is_float else 0, None),
            ir.SetVar(var, zero, None),
        ]
        writer.blocks[0][:0] = first


CompilePure: TypeAlias = Callable[
    [DeviceFunction, dict[str, DType], dict[str, Operand], Library, str], ir.Function
]
"""Compiles a device function on scalars; the builder's :func:`gpucore.lang.builder.build_pure`."""


def bind_parameters(
    state: FunctionState, variables: Variables, operands: dict[str, Operand], definition: ast.FunctionDef
) -> None:
    """Give the parameters their arguments: operands as they are, or variables where the body assigns to them."""
    scope = state.scope
    for name, operand in operands.items():
        if name not in scope.names.stored:
            scope.bindings[0][name] = operand
            continue
        if isinstance(operand, (Array, Records, Object, Tile)):
            state.source.syntax_error(
                first_store(definition, name),
                f"the parameter {name} is {describe(operand)}, which cannot be assigned to",
                f"Write {name}[i] = ... for an element, or use another name."
                if isinstance(operand, (Array, Records))
                else "Use another name.",
            )
        state.at(definition)
        variables.write(variables.slot(name), operand, definition)
        assert scope.assigned is not None
        scope.assigned.add(name)


class InnerFunction(DeviceFunction[..., Any]):
    """A function that a function which is being compiled defines.

    Attributes
    ----------
    scope : Scope
        Of the function that defines it.
    defaults : dict[str, Operand]
        What its parameters' defaults were where it is defined.
    """

    def __init__(self, captured: Captured, scope: Scope, defaults: dict[str, Operand]) -> None:
        super().__init__(captured)
        self.scope = scope
        self.defaults = defaults


def _listed(parameters: tuple[Parameter, ...]) -> str:
    """The parameters in words, those that are given by name after a star."""
    by_name = [p.name for p in parameters if p.keyword_only]
    return ", ".join(
        [p.name for p in parameters if not p.keyword_only] + (["*", *by_name] if by_name else [])
    )


@dataclass(frozen=True, slots=True)
class Functions:
    """Lowers calls of device functions.

    Attributes
    ----------
    body : Callable
        Lowers the statements of a body that is inlined.
    compile_pure : CompilePure
    """

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    variables: Variables
    returning: Returning
    body: Callable[[list[ast.stmt]], None]
    compile_pure: CompilePure
    _inlined: list[DeviceFunction] = field(default_factory=list)

    def call(self, function: DeviceFunction, node: ast.Call, owner: Operand | None = None) -> Operand:
        """The call of a device function; ``owner`` is the struct whose method it is."""
        library, writer = self.state.library, self.state.writer
        if owner is None and function.captured.is_method:
            self.state.source.syntax_error(
                node,
                f"{function.__name__} is a method; a kernel calls methods of structs only",
                "Put @gc.struct above its class and call it on a value, or move it out of the class.",
            )
        operands = self._match(function, node, owner)
        given = [o.value for o in operands.values() if isinstance(o, Object)]
        call = function, *(value for value in given if isinstance(value, DeviceFunction))
        if call in library.calling:
            self.refuse_recursion(function.__name__, node)
        location = writer.location
        library.calling.append(call)
        library.deepest = max(library.deepest, len(library.calling))
        try:
            if not library.inline and not any(isinstance(f, InnerFunction) for f in call):
                result = self._as_function(function, operands)
                if result is not None:
                    return result
            writer.location = location
            return self._inline(function, operands)
        except (KernelSyntaxError, KernelTypeError) as error:
            captured = function.captured
            if not (function.__module__ or "").startswith("gpucore.") or error.filename != captured.filename:
                raise
            # the user has not written that line
            takes = [line.strip() for line in (function.__doc__ or "").splitlines() if " : " in line]
            self.state.source.type_error(
                node, f"{function.__name__} does not take these arguments",
                f"It takes {'; '.join(takes) or _listed(captured.parameters)}.",
            )  # fmt: skip
        finally:
            library.calling.pop()

    def refuse_recursion(self, name: str, node: ast.Call) -> NoReturn:
        self.state.source.syntax_error(
            node, f"{name} calls itself; recursion is not part of the kernel language", "Write a loop."
        )

    def _match(self, function: DeviceFunction, node: ast.Call, owner: Operand | None) -> dict[str, Operand]:
        """Arguments by parameter, converted to the annotated dtypes."""
        captured = function.captured
        parameters = captured.parameters
        positional = [p for p in parameters if not p.keyword_only]
        given: dict[str, tuple[Operand, ast.AST]] = {}
        if owner is not None and positional:
            given[positional[0].name] = owner, node
            positional = positional[1:]
        if len(node.args) > len(positional):
            by_name = ", by position" if len(positional) < len(parameters) else ""
            self.state.source.type_error(
                node,
                f"{function.__name__} takes {plural(len(positional), 'argument')}{by_name}, not {len(node.args)}",
                f"It takes ({_listed(parameters)}).",
            )
        if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
            self.state.source.syntax_error(
                node, "unpacking with * is not part of the kernel language", "Name each argument."
            )
        for parameter, argument in zip(positional, node.args, strict=False):
            given[parameter.name] = self.evaluator.expression(argument), argument
        by_position = {a.arg for a in captured.definition.args.posonlyargs}
        for keyword in node.keywords:
            assert keyword.arg is not None
            free = [p.name for p in parameters if p.name not in given and p.name not in by_position]
            if keyword.arg not in free:
                self.state.source.type_error(
                    keyword.value,
                    f"{function.__name__} has no free parameter {keyword.arg!r}",
                    did_you_mean(keyword.arg, free) or f"It takes ({_listed(parameters)}).",
                )
            given[keyword.arg] = self.evaluator.expression(keyword.value), keyword.value
        result: dict[str, Operand] = {}
        for parameter in parameters:
            if parameter.name not in given:
                if parameter.default is REQUIRED:
                    self.state.source.type_error(
                        node,
                        f"{function.__name__} wants an argument for {parameter.name}",
                        f"It takes ({_listed(parameters)}).",
                    )
                given[parameter.name] = (
                    (
                        function.defaults[parameter.name]
                        if isinstance(function, InnerFunction)
                        else self.evaluator.settle(wrap_python(parameter.default))
                    ),
                    node,
                )
            operand, at = given[parameter.name]
            result[parameter.name] = self._argument(function, parameter, operand, at)
        return result

    def _argument(
        self, function: DeviceFunction, parameter: Parameter, operand: Operand, node: ast.AST
    ) -> Operand:
        what = f"the parameter {parameter.name} of {function.__name__}"
        if parameter.kind == "constexpr":
            value = as_constant(operand)
            if value is NotImplemented:
                self.state.source.type_error(
                    node, f"{what} is known when the kernel is compiled", "Pass a constant."
                )
            return wrap_python(value)
        if parameter.kind == "scalar":
            dtype = parameter.dtype
            assert dtype is not None
            if isinstance(dtype, RecordType):
                return self.variables.records.converted(operand, dtype, node)
            target = f"{what}, an" if dtype.name[0] in "fi" else f"{what}, a"
            return Typed(self.conversions.stored(operand, dtype, node, target))
        if isinstance(operand, Typed):
            # nothing but the dtype, as where the function is called and not inlined
            return Typed(operand.value, rounded=operand.rounded)
        if parameter.kind == "array" and isinstance(operand, Records):
            if parameter.dtype not in (None, operand.type) or parameter.rank not in (None, operand.rank):
                self.state.source.type_error(
                    node, f"{what} takes another kind of array; {operand.name} holds {operand.type} on {operand.rank} axes",
                    "Pass such an array.",
                )  # fmt: skip
            return operand
        if parameter.kind == "array":
            if not isinstance(operand, Array):
                self.state.source.type_error(
                    node, f"{what} is an array, not {describe(operand)}", "Pass the whole array."
                )
            memory = operand.memory
            if parameter.dtype not in (None, memory.dtype) or parameter.rank not in (None, operand.rank):
                self.state.source.type_error(
                    node,
                    f"{what} is gc.Array[gc.{parameter.dtype}, {parameter.rank}]; "
                    f"{describe(operand)} holds {memory.dtype} on {plural(operand.rank, 'axis')}",
                    "Pass such an array.",
                )
        return operand

    def _as_function(self, function: DeviceFunction, operands: dict[str, Operand]) -> Operand | None:
        """A call of an IR function, where the device function only computes on scalars."""
        if any(isinstance(o, (Array, Items, Record, Records, Tile)) for o in operands.values()) or is_small(
            function
        ):
            return None
        typed = {n: o for n, o in operands.items() if isinstance(o, Typed)}
        fixed: dict[str, Operand] = {n: o for n, o in operands.items() if not isinstance(o, Typed)}
        # functions of one factory have the same repr
        objects = [o.value for o in fixed.values() if isinstance(o, Object) and not isinstance(o.value, str)]
        marks = [o if isinstance(o, GivenFunction) else id(o) for o in objects]
        key = (function, tuple((n, o.dtype) for n, o in typed.items()), repr(fixed), *marks)
        if key not in self.state.library.built:
            self.state.library.built[key] = self._compiled(function, typed, fixed)
        found = self.state.library.built[key]
        if found is None:
            return None
        assert found.result is not None
        writer = self.state.writer
        result = writer.value(found.result)
        writer.emit(ir.Call(result, found.name, tuple(o.value for o in typed.values()), writer.location))
        return Typed(result, rounded=self.state.library.rounded.get(found.name))

    def _compiled(
        self, function: DeviceFunction, typed: dict[str, Typed], fixed: dict[str, Operand]
    ) -> ir.Function | None:
        library = self.state.library
        name = library.name(function, tuple(o.dtype for o in typed.values()))
        try:
            found = self.compile_pure(function, {n: o.dtype for n, o in typed.items()}, fixed, library, name)
        except Impure:
            return None
        library.order.append(found)
        return found

    def at_the_call(self, function: DeviceFunction, **operands: Operand) -> Operand:
        """What a function of gpucore's own gives, inlined, with all its statements at the user's line."""
        self.state.library.calling.append((function,))
        try:
            return self._inline(function, operands, self.state.writer.location)
        finally:
            self.state.library.calling.pop()

    def _inline(
        self, function: DeviceFunction, operands: dict[str, Operand], location: ir.Loc | None = None
    ) -> Operand:
        """The function's body in place of the call; returns become variables."""
        state, captured = self.state, function.captured
        definition = captured.definition
        self._inlined.append(function)
        returning = [n for n in ast.walk(definition) if isinstance(n, ast.Return)]
        direct = not returning or (len(returning) == 1 and returning[0] is definition.body[-1])
        returns = Returns(direct=direct, flag=not direct and needs_flag(definition.body))
        key = (*state.scope.key, len(self._inlined))
        scope = Scope(captured, analyse(definition), key, captured.result, returns)
        scope.location = location or state.scope.location
        scope.outer = function.scope if isinstance(function, InnerFunction) else None
        state.library.inlined.append(captured)
        with state.scopes.inside(scope):
            if returns.flag:
                state.writer.set(self.variables.returned_flag(), state.writer.constant(False, bool_))
            bind_parameters(state, self.variables, operands, definition)
            self.body(definition.body)
            return self.returning.result_of_inlined(function, returns, scope.assigned is not None)

    def inner(self, node: Inner) -> Operand:
        """A def or lambda where it stands: its defaults are evaluated now, other names when it is called."""
        for decorator in node.decorators:
            found = self.evaluator.expression(decorator)
            if not isinstance(found, Object) or found.value is not func:
                self.state.source.syntax_error(
                    decorator, "a function in a kernel has no decorators", "Drop the line."
                )
        captured = node.captured
        assert isinstance(captured, Captured)
        names = [p.name for p in captured.parameters if p.default is not REQUIRED]
        defaults = map(self.evaluator.expression, node.defaults)
        return Object(InnerFunction(captured, self.state.scope, dict(zip(names, defaults, strict=True))))
