"""Whole functions: the kernel, device functions as IR functions, and device functions inlined."""

from __future__ import annotations

import ast
from typing import Any

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_
from gpucore.ir.naming import rename_values
from gpucore.lang.capture import Captured, DeviceFunction
from gpucore.lang.diagnostics import did_you_mean, plural
from gpucore.lang.emitter import as_constant, describe
from gpucore.lang.expressions import wrap_python
from gpucore.lang.library import Impure, Library, first_store, is_small, needs_flag
from gpucore.lang.loops import Loops
from gpucore.lang.names import Names, analyse
from gpucore.lang.operands import Array, Items, Literal, Object, Operand, Slot, Typed
from gpucore.lang.scopes import Returns, Scope
from gpucore.lang.types import Type, strong

__all__ = ["Builder", "Library"]

MOST_PASSES = 24


class Builder(Loops):
    """Lowers one IR function, by passes over the syntax until the variables' types are stable."""

    def __init__(self, captured: Captured, library: Library, ndim: int, pure: bool, name: str) -> None:
        super().__init__()
        self.captured = captured
        self.library = library
        self.ndim = ndim
        self.pure = pure
        self.function_name = name
        self.types = {}
        self.changed = False
        self.result: Type | None = None
        self.reset()

    def reset(self) -> None:
        """Begin a pass."""
        self.blocks = [[]]
        self.counter = 0
        self.names = {}
        self.hints = {}
        self.variables = {}
        self.memories: list[ir.Memory] = []
        self.tables: dict[Any, ir.Memory] = {}
        self.changed = False
        self.grew = False
        self.loose = False  # whether a name of one assignment holds what literals alone gave
        self.failures = 0
        self.inlined = 0
        self.source = self.captured.source
        self.location = None

    def run(self, bindings: dict[str, Operand], result: DType | None = None) -> tuple[ir.Block, Names]:
        """Lower the body with the parameters bound.

        Passes first let variables that hold literals alone stay weak, so that ``n = 0; n += x[i]`` takes the type
        of ``x``, and pass over mistakes that a later type may mend.  Once the types are stable, what is weak still
        becomes i32 or f32; a last pass, where one is needed, reports what is wrong.
        """
        definition = self.captured.definition
        names = analyse(definition)
        self.weak_reads = self.tentative = True
        for _ in range(MOST_PASSES):
            self.one_pass(bindings, names, result)
            if self.changed or (self.failures and self.grew):
                continue
            if self.weak_reads and (self.loose or any(isinstance(t, str) for t in self.types.values())):
                self.weak_reads = False
                self.types = {key: strong(t) for key, t in self.types.items()}
                continue
            if self.failures:
                self.weak_reads = self.tentative = False
                self.types = {key: strong(t) for key, t in self.types.items()}
                self.one_pass(bindings, names, result)
                if self.changed:
                    break
            called = {old: self.unique(name) for old, name in self.hints.items()}
            return rename_values(tuple(self.blocks[0]), called), names
        self.source.type_error(
            definition,
            "the types of the variables do not settle",
            "Cast the variables where they are assigned.",
        )

    def one_pass(self, bindings: dict[str, Operand], names: Names, result: DType | None) -> None:
        """Lower the body once, with the variables' types as known so far."""
        self.reset()
        self.scope = Scope(self.captured, names)
        for name in bindings:
            self.names[name] = 1
        self.bind(bindings, self.captured.definition)
        self.annotation = result
        self.body(self.captured.definition.body)

    def bind(self, bindings: dict[str, Operand], definition: ast.FunctionDef) -> None:
        """Parameters: values as they are, or variables where the body assigns to them."""
        for name, operand in bindings.items():
            if name in self.scope.names.stored:
                if isinstance(operand, (Array, Object, Items)):
                    self.source.syntax_error(
                        first_store(definition, name),
                        f"the parameter {name} is {describe(operand)}, which cannot be assigned to",
                        f"Write {name}[i] = ... for an element, or use another name."
                        if isinstance(operand, Array)
                        else "Use another name.",
                    )
                self.at(definition)
                self.write_slot(self.slot(name), operand, definition)
                assert self.scope.assigned is not None
                self.scope.assigned.add(name)
            else:
                self.scope.bindings[0][name] = operand

    # --- doors that the other rooms call
    def impure(self, node: ast.AST, what: str) -> None:
        if self.pure:
            raise Impure(what)

    def depth(self) -> int:
        return len(self.blocks)

    def memory(self, space: str, dtype: DType, shape: tuple[int, ...], node: ast.Call) -> ir.Memory:
        prefix = f"{self.function_name}." if self.pure else ""
        memory = ir.Memory(prefix + self.unique(space), dtype, space, len(shape), shape)  # type: ignore[arg-type]
        self.memories.append(memory)
        return memory

    def constant_memory(
        self, dtype: DType, values: tuple[Any, ...], hint: str, shape: tuple[int, ...]
    ) -> ir.Memory:
        key = (dtype, shape, repr(values))
        found = self.tables.get(key)
        if found is None:
            prefix = f"{self.function_name}." if self.pure else ""
            stem = "".join(c if c.isalnum() or c == "_" else "_" for c in hint) or "table"
            found = ir.Memory(prefix + self.unique(stem), dtype, "const", len(shape), shape, values)
            self.tables[key] = found
            self.memories.append(found)
        return found

    def renamed(self, operand: Array, name: str) -> Array:
        """A shared or local array takes the name it is first assigned to."""
        old = operand.memory
        if (
            old.name.rpartition(".")[2] not in ("shared", "local")
            and not old.name.rpartition(".")[2].isdigit()
        ):
            return operand
        prefix = f"{self.function_name}." if self.pure else ""
        new = ir.Memory(prefix + self.unique(name), old.dtype, old.space, old.rank, old.shape)
        self.memories[self.memories.index(old)] = new
        block = self.blocks[-1]
        if block and isinstance(block[-1], ir.InitLocal) and block[-1].memory == old:
            block[-1] = ir.InitLocal(new, block[-1].loc)
        return Array(new)

    # --- return
    def do_Return(self, node: ast.Return) -> None:
        scope = self.scope
        if scope.returns is not None:
            self.inline_return(node, scope.returns)
        elif self.pure:
            if node.value is None:
                raise Impure("nothing to return")
            operand = self.expression(node.value)
            if not isinstance(operand, (Typed, Literal)):
                raise Impure("a tuple to return")
            self.pure_return(operand, node)
        else:
            if node.value is not None and not (
                isinstance(node.value, ast.Constant) and node.value.value is None
            ):
                self.source.syntax_error(
                    node,
                    "a kernel returns no value",
                    "Write it to an array; only @gc.func functions return values.",
                )
            self.emit(ir.Return(None, self.location))
        self.scope.assigned = None

    def pure_return(self, operand: Operand, node: ast.Return) -> None:
        key = ("<result>",)
        if self.annotation is not None:
            value = self.stored(operand, self.annotation, node)
            self.types[key] = self.annotation
        else:
            value = self.joined(key, operand, node)
        self.emit(ir.Return(value, self.location))

    def joined(self, key: tuple[Any, ...], operand: Operand, node: ast.AST) -> ir.Value:
        """The operand in the type that all returns join to."""
        from gpucore.lang.types import join

        kind = self.type_of(operand, node)
        known = self.types.get(key)
        found = kind if known is None else join(known, kind)
        if found is None:
            self.source.type_error(
                node, f"{known} is returned on one path and {kind} on another", "Cast one of them."
            )
        if found != known:
            self.types[key] = found
            self.grew = True
            self.changed = self.changed or known is not None
        return self.to(operand, strong(found), node)

    def inline_return(self, node: ast.Return, returns: Returns) -> None:
        operand: Operand = Object(None) if node.value is None else self.expression(node.value)
        if isinstance(operand, (Typed, Literal)):
            # of the same type as where the function is called and not inlined
            dtype = self.annotation or self.strong_type(operand, node)
            if returns.direct or self.annotation is not None:
                operand = Typed(self.stored(operand, dtype, node))
        if returns.direct:
            returns.operand = operand
            return
        items = operand.items if isinstance(operand, Items) else () if node.value is None else (operand,)
        shape = len(items) if isinstance(operand, Items) else -1 if node.value is None else 0
        if returns.shape is not None and returns.shape != shape:
            self.source.type_error(
                node, "this function returns different numbers of values", "Return the same on every path."
            )
        returns.shape = shape
        for k, item in enumerate(items):
            self.write_slot(Slot((*self.scope.key, f"<result {k}>")), item, node)
        if returns.flag:
            true = self.constant(True, bool_)
            self.emit(ir.SetVar(self.flag(), true, self.location))
        if self.scope.loops:
            self.emit(ir.Break(self.location))
            self.scope.loops[-1].append(set(self.scope.assigned or ()))

    # --- device functions
    def call_function(self, function: DeviceFunction, node: ast.Call) -> Operand:
        if function in self.library.calling:
            self.source.syntax_error(
                node,
                f"{function.__name__} calls itself; recursion is not part of the kernel language",
                "Write a loop.",
            )
        operands = self.match(function, node)
        location = self.location
        self.library.calling.append(function)
        self.library.deepest = max(self.library.deepest, len(self.library.calling))
        try:
            if not self.library.inline:
                result = self.as_function(function, operands, node)
                if result is not None:
                    return result
            self.location = location
            return self.inline(function, operands, node)
        finally:
            self.library.calling.pop()

    def match(self, function: DeviceFunction, node: ast.Call) -> dict[str, Operand]:
        """Arguments by parameter, converted to the annotated dtypes."""
        captured = function.captured
        parameters = captured.parameters
        definition = captured.definition.args
        given: dict[str, tuple[Operand, ast.AST]] = {}
        if len(node.args) > len(parameters):
            self.source.type_error(
                node,
                f"{function.__name__} takes {plural(len(parameters), 'argument')}, not {len(node.args)}",
                f"It takes ({', '.join(p.name for p in parameters)}).",
            )
        if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
            self.source.syntax_error(
                node, "unpacking with * is not part of the kernel language", "Name each argument."
            )
        for parameter, argument in zip(parameters, node.args, strict=False):
            given[parameter.name] = self.expression(argument), argument
        for keyword in node.keywords:
            assert keyword.arg is not None
            if keyword.arg not in {p.name for p in parameters} or keyword.arg in given:
                free = [p.name for p in parameters if p.name not in given]
                self.source.type_error(
                    keyword.value,
                    f"{function.__name__} has no free parameter {keyword.arg!r}",
                    did_you_mean(keyword.arg, free) or f"It takes ({', '.join(p.name for p in parameters)}).",
                )
            given[keyword.arg] = self.expression(keyword.value), keyword.value
        defaults = dict(
            zip([p.name for p in parameters][len(parameters) - len(definition.defaults) :],
                captured.function.__defaults__ or (), strict=True)
        )  # fmt: skip
        result: dict[str, Operand] = {}
        for parameter in parameters:
            if parameter.name not in given:
                if parameter.name not in defaults:
                    self.source.type_error(
                        node,
                        f"{function.__name__} wants an argument for {parameter.name}",
                        f"It takes ({', '.join(p.name for p in parameters)}).",
                    )
                given[parameter.name] = self.settle(wrap_python(defaults[parameter.name])), node
            operand, at = given[parameter.name]
            result[parameter.name] = self.argument(function, parameter, operand, at)
        return result

    def argument(self, function: DeviceFunction, parameter: Any, operand: Operand, node: ast.AST) -> Operand:
        what = f"the parameter {parameter.name} of {function.__name__}"
        if parameter.kind == "constexpr":
            value = as_constant(operand)
            if value is NotImplemented:
                self.source.type_error(
                    node, f"{what} is known when the kernel is compiled", "Pass a constant."
                )
            return wrap_python(value)
        if parameter.kind == "scalar":
            return Typed(
                self.stored(
                    operand,
                    parameter.dtype,
                    node,
                    f"{what}, an" if parameter.dtype.name[0] in "fi" else f"{what}, a",
                )
            )
        if isinstance(operand, Typed):
            # nothing but the dtype, as where the function is called and not inlined
            return Typed(operand.value)
        if parameter.kind == "array":
            if not isinstance(operand, Array):
                self.source.type_error(
                    node, f"{what} is an array, not {describe(operand)}", "Pass the whole array."
                )
            memory = operand.memory
            if parameter.dtype not in (None, memory.dtype) or parameter.rank not in (None, memory.rank):
                self.source.type_error(
                    node,
                    f"{what} is gc.Array[gc.{parameter.dtype}, {parameter.rank}]; "
                    f"{memory.name} holds {memory.dtype} on {memory.rank} axes",
                    "Pass such an array.",
                )
        return operand

    def as_function(
        self, function: DeviceFunction, operands: dict[str, Operand], node: ast.Call
    ) -> Operand | None:
        """A call of an IR function, where the device function only computes on scalars."""
        if any(isinstance(o, (Array, Items)) for o in operands.values()) or is_small(function):
            return None
        typed = {n: o for n, o in operands.items() if isinstance(o, Typed)}
        fixed: dict[str, Operand] = {n: o for n, o in operands.items() if not isinstance(o, Typed)}
        key = (function, tuple((n, o.dtype) for n, o in typed.items()), repr(fixed))
        if key not in self.library.built:
            self.library.built[key] = self.build_pure(function, typed, fixed)
        found = self.library.built[key]
        if found is None:
            return None
        assert found.result is not None
        result = self.value(found.result)
        self.emit(ir.Call(result, found.name, tuple(o.value for o in typed.values()), self.location))
        return Typed(result)

    def build_pure(
        self, function: DeviceFunction, typed: dict[str, Typed], fixed: dict[str, Operand]
    ) -> ir.Function | None:
        name = self.library.name(function, tuple(o.dtype for o in typed.values()))
        try:
            found = build_pure(function, {n: o.dtype for n, o in typed.items()}, fixed, self.library, name)
        except Impure:
            return None
        self.library.order.append(found)
        return found

    def inline(self, function: DeviceFunction, operands: dict[str, Operand], node: ast.Call) -> Operand:
        """The function's body in place of the call; returns become variables."""
        captured = function.captured
        definition = captured.definition
        outer_scope, outer_source, outer_annotation = self.scope, self.source, self.annotation
        self.inlined += 1
        returning = [n for n in ast.walk(definition) if isinstance(n, ast.Return)]
        direct = not returning or (len(returning) == 1 and returning[0] is definition.body[-1])
        returns = Returns(direct=direct, flag=not direct and needs_flag(definition.body))
        self.scope = Scope(
            captured, analyse(definition), (*outer_scope.key, self.inlined), outer_scope, returns
        )
        self.source = captured.source
        self.library.inlined.append(captured)
        self.annotation = captured.result
        try:
            if returns.flag:
                self.emit(ir.SetVar(self.flag(), self.constant(False, bool_), self.location))
            self.bind(operands, definition)
            self.body(definition.body)
            falls_off = self.scope.assigned is not None
            return self.inline_result(function, returns, falls_off, definition)
        finally:
            self.scope, self.source, self.annotation = outer_scope, outer_source, outer_annotation

    def inline_result(
        self, function: DeviceFunction, returns: Returns, falls_off: bool, definition: ast.FunctionDef
    ) -> Operand:
        if returns.direct:
            return returns.operand if returns.operand is not None else Object(None)
        if returns.shape is None or returns.shape == -1:
            return Object(None)
        if not returns.flag and falls_off:
            self.source.syntax_error(
                definition, f"{function.__name__} may end without a return", "Return a value on every path."
            )
        count = returns.shape or 1
        items = []
        for k in range(count):
            key = (*self.scope.key, f"<result {k}>")
            var = self.variable(key, "result")
            if returns.flag:
                # set on a path that the flag excludes otherwise: define it for the verifier, before the body
                self.predefine(var)
            items.append(Typed(self.read(var)))
        return Items(tuple(items)) if returns.shape else items[0]

    def predefine(self, var: ir.Var) -> None:
        """Set a result variable to zero at the function's start, since only flags say that it is set later."""
        zero = ir.Value(self.unique("zero"), var.dtype)
        first: list[ir.Stmt] = [
            ir.Const(zero, False if var.dtype is bool_ else 0.0 if var.dtype.is_float else 0, None),
            ir.SetVar(var, zero, None),
        ]
        self.blocks[0][:0] = first


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
    builder = Builder(captured, library, 0, True, name)
    params = {n: ir.Value(n, dtypes[n]) for n in dtypes}
    order = [p.name for p in captured.parameters]
    bindings: dict[str, Operand] = {n: Typed(params[n]) if n in params else fixed[n] for n in order}
    body, _ = builder.run(bindings, captured.result)
    if ("<result>",) not in builder.types:
        raise Impure("no value is returned")
    if builder.scope.assigned is not None:
        captured.source.syntax_error(
            captured.definition,
            f"{function.__name__} may end without a return",
            "Return a value on every path.",
        )
    return ir.Function(
        name,
        tuple(params[n] for n in order if n in params),
        strong(builder.types[("<result>",)]),
        tuple(builder.variables.values()),
        tuple(builder.memories),
        body,
    )


__all__ += ["Impure", "Literal", "build_pure"]
