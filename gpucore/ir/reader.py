"""Reading the text form of the IR; :mod:`gpucore.ir.text` describes and prints it."""

from __future__ import annotations

from typing import Any, cast

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType
from gpucore.ir.ops import ATOMIC_OPS, LIBRARY, OPS, SLICE_INDEX, SUBGROUP_OPS
from gpucore.ir.text import ParseError, Tokens

__all__ = ["ParseError", "parse"]

_THREAD_KINDS = ("global_id", "thread_id", "block_id", "block_dim", "grid_dim")


class _Scope:
    """The names of one function."""

    def __init__(self) -> None:
        self.values: dict[str, ir.Value] = {}
        self.variables: dict[str, ir.Var] = {}
        self.memories: dict[str, ir.Memory] = {}


class _Reader(Tokens):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.scope = _Scope()

    # --- names ---
    def define(self, name: str) -> ir.Value:
        self.expect(":")
        value = ir.Value(name, self.dtype())
        self.scope.values[name] = value
        return value

    def value(self) -> ir.Value:
        name = self.name("%")
        try:
            return self.scope.values[name]
        except KeyError:
            self.column -= 1
            self.fail("a value defined above")

    def values(self, closing: str = "") -> tuple[ir.Value, ...]:
        found: list[ir.Value] = []
        kind, text = self.peek()
        if kind == "end" or (closing and text == closing) or text == "loc":
            return ()
        found.append(self.value())
        while self.accept(","):
            found.append(self.value())
        return tuple(found)

    def var(self) -> ir.Var:
        name = self.name("!")
        try:
            return self.scope.variables[name]
        except KeyError:
            self.column -= 1
            self.fail("a variable declared at the head of the function")

    def memory(self) -> ir.Memory:
        name = self.name("&")
        try:
            return self.scope.memories[name]
        except KeyError:
            self.column -= 1
            self.fail("a memory declared at the head of the function")

    def access(self) -> tuple[ir.Memory, tuple[ir.Value, ...]]:
        memory = self.memory()
        self.expect("[")
        indices = self.values("]")
        self.expect("]")
        return memory, indices

    def bits(self) -> DType | None:
        return self.dtype() if self.accept("bits") else None

    def site(self) -> int:
        return self.integer() if self.accept("site") else 0

    def loc(self) -> ir.Loc | None:
        if not self.accept("loc"):
            return None
        self.expect("(")
        file = self.string()
        self.expect(",")
        line = self.integer()
        self.expect(",")
        column = self.integer()
        self.expect(")")
        return ir.Loc(file, line, column)

    # --- statements ---
    def block(self) -> ir.Block:
        """Statements up to the line that begins with a closing brace, which stays."""
        statements = []
        while self.peek()[1] != "}" or self.peek()[0] != "mark":
            if self.row >= len(self.lines):
                self.fail("a statement or '}'")
            statements.append(self.statement())
        return tuple(statements)

    def nested(self) -> ir.Block:
        self.expect("{")
        self.end_line()
        block = self.block()
        self.expect("}")
        return block

    def statement(self) -> ir.Stmt:
        kind, text = self.peek()
        if kind == "name" and text[0] == "%":
            found = self.assignment()
        elif kind == "word":
            self.column += 1
            reader = getattr(self, f"_s_{text}", None)
            if reader is None:
                self.column -= 1
                self.fail("a statement or '}'")
            found = cast(ir.Stmt, reader())
        else:
            self.fail("a statement or '}'")
        self.end_line()
        return found

    def assignment(self) -> ir.Stmt:
        name = self.name("%")
        self.expect(":")
        result = ir.Value(name, self.dtype())
        self.expect("=")
        kind, word = self.peek()
        if kind != "word":
            self.fail("an operation")
        self.column += 1
        fields: dict[str, Any] = {"result": result}
        node: Any
        if word in OPS or word in LIBRARY or word == SLICE_INDEX:
            node, fields["op"], fields["args"] = ir.Op, word, self.values()
        elif word == "const":
            node, fields["value"] = ir.Const, self.number(result.dtype)
        elif word == "call":
            node, fields["function"] = ir.Call, self.name("@")
            self.expect("(")
            fields["args"] = self.values(")")
            self.expect(")")
        elif word == "get":
            node, fields["var"] = ir.GetVar, self.var()
        elif word == "extent":
            node, fields["memory"] = ir.Extent, self.memory()
            self.expect(",")
            fields["axis"] = self.integer()
        elif word == "load":
            node = ir.Load
            fields["memory"], fields["indices"] = self.access()
        elif word == "atomic":
            node = self.atomic(fields)
        elif word in _THREAD_KINDS:
            node, fields["kind"], fields["axis"] = ir.ThreadIndex, word, self.integer()
        elif word == "subgroup":
            op = self.token("word", "a subgroup operation")
            if op not in SUBGROUP_OPS:
                self.column -= 1
                self.fail("a subgroup operation")
            node, fields["op"], fields["args"] = ir.Subgroup, op, self.values()
        else:
            self.column -= 1
            self.fail("an operation")
        self.scope.values[name] = result
        return cast(ir.Stmt, node(**fields, loc=self.loc()))

    def atomic(self, fields: dict[str, Any]) -> Any:
        op = self.token("word", "an atomic operation")
        if op != "cas" and op not in ATOMIC_OPS:
            self.column -= 1
            self.fail("an atomic operation")
        fields["memory"], fields["indices"] = self.access()
        self.expect(",")
        if op == "cas":
            fields["expected"] = self.value()
            self.expect(",")
            fields["desired"] = self.value()
        else:
            fields["op"] = op
            fields["value"] = self.value()
        fields["bits"] = self.bits()
        return ir.AtomicCas if op == "cas" else ir.Atomic

    def _s_set(self) -> ir.Stmt:
        var = self.var()
        self.expect(",")
        return ir.SetVar(var, self.value(), self.loc())

    def _s_store(self) -> ir.Stmt:
        memory, indices = self.access()
        self.expect(",")
        return ir.Store(memory, indices, self.value(), self.loc())

    def _s_init(self) -> ir.Stmt:
        return ir.InitLocal(self.memory(), self.loc())

    def _s_allocate(self) -> ir.Stmt:
        return ir.Allocate(*self.access(), self.loc())

    def _s_barrier(self) -> ir.Stmt:
        return ir.Barrier(self.loc())

    def _s_fence(self) -> ir.Stmt:
        return ir.Fence(self.loc())

    def _s_break(self) -> ir.Stmt:
        return ir.Break(self.loc())

    def _s_continue(self) -> ir.Stmt:
        return ir.Continue(self.loc())

    def _s_return(self) -> ir.Stmt:
        value = self.value() if self.peek()[0] == "name" else None
        return ir.Return(value, self.loc())

    def _s_assert(self) -> ir.Stmt:
        condition = self.value()
        self.expect(",")
        return ir.Assert(condition, self.string(), self.loc())

    def _s_print(self) -> ir.Stmt:
        text = self.string()
        return ir.Print(text, self.values(), self.loc())

    def _s_tile(self) -> ir.Stmt:
        factor = self.dtype()
        memories: list[ir.Memory] = []
        for _ in range(3):
            memories.append(self.memory())
            self.expect(",")
        shape: list[int] = []
        for axis in range(3):
            if axis:
                self.expect(",")
            shape.append(self.integer())
        total, left, right = memories
        m, n, k = shape
        return ir.TileProduct(total, left, right, factor, (m, n, k), self.loc())

    def _s_if(self) -> ir.Stmt:
        condition = self.value()
        loc = self.loc()
        then = self.nested()
        orelse = self.nested() if self.accept("else") else ()
        return ir.If(condition, then, orelse, loc)

    def _s_for(self) -> ir.Stmt:
        name = self.name("%")
        self.expect(":")
        variable = ir.Value(name, self.dtype())
        self.expect("=")
        start = self.value()
        self.expect("to")
        stop = self.value()
        self.expect("step")
        step = self.value()
        site = self.site()
        loc = self.loc()
        self.scope.values[name] = variable
        return ir.For(variable, start, stop, step, self.nested(), loc, site)

    def _s_while(self) -> ir.Stmt:
        site = self.site()
        loc = self.loc()
        header = self.nested()
        self.expect("do")
        condition = self.value()
        return ir.While(header, condition, self.nested(), loc, site)

    # --- containers ---
    def extents(self) -> tuple[int, tuple[int, ...]]:
        self.expect("[")
        found: list[int] = []
        rank = 0
        while not self.accept("]"):
            if rank:
                self.expect(",")
            rank += 1
            if not self.accept("?"):
                found.append(self.integer())
        return rank, tuple(found)

    def param(self) -> ir.Memory | ir.Value:
        if self.peek()[1][:1] == "%":
            return self.define(self.name("%"))
        name = self.name("&")
        self.expect(":")
        dtype = self.dtype()
        self.expect("[")
        rank = 0
        while not self.accept("]"):
            if rank:
                self.expect(",")
            self.expect("?")
            rank += 1
        layout: ir.Layout = (
            "rows" if self.accept("rows") else "strided" if self.accept("strided") else "contiguous"
        )
        memory = self.scope.memories[name] = ir.Memory(name, dtype, "global", rank, layout=layout)
        return memory

    def declared_memory(self) -> ir.Memory:
        name = self.name("&")
        self.expect(":")
        space = self.token("word", "shared, local or const")
        if space not in ("shared", "local", "const"):
            self.column -= 1
            self.fail("shared, local or const")
        dtype = self.dtype()
        rank, shape = self.extents()
        numbers: list[ir.Number] = []
        if space == "const":
            self.expect("=")
            self.expect("{")
            while not self.accept("}"):
                if numbers:
                    self.expect(",")
                numbers.append(self.number(dtype))
        memory = ir.Memory(name, dtype, space, rank, shape, tuple(numbers))  # type: ignore[arg-type]
        self.scope.memories[name] = memory
        self.end_line()
        return memory

    def function(self) -> ir.Function:
        self.scope = _Scope()
        name = self.name("@")
        self.expect("(")
        params: list[ir.Memory | ir.Value] = []
        while not self.accept(")"):
            if params:
                self.expect(",")
            params.append(self.param())
        result = self.dtype() if self.accept("->") else None
        self.expect("{")
        self.end_line()
        memories: list[ir.Memory] = []
        while self.accept("memory"):
            memories.append(self.declared_memory())
        variables: list[ir.Var] = []
        while self.accept("var"):
            var_name = self.name("!")
            self.expect(":")
            var = self.scope.variables[var_name] = ir.Var(var_name, self.dtype())
            variables.append(var)
            self.end_line()
        body = self.block()
        self.expect("}")
        self.end_line()
        return ir.Function(name, tuple(params), result, tuple(variables), tuple(memories), body)

    def module(self) -> ir.Module:
        self.expect("module")
        self.expect("ir")
        self.expect("=")
        if not 1 <= self.integer() <= ir.IR_VERSION:
            self.column -= 1
            self.fail(f"IR version {ir.IR_VERSION}")
        self.expect("ndim")
        self.expect("=")
        ndim = self.integer()
        self.expect("math")
        self.expect("=")
        math_mode = self.token("word", "strict or fast")
        if math_mode not in ("strict", "fast"):
            self.column -= 1
            self.fail("strict or fast")
        subgroup = None
        if self.accept("subgroup"):
            self.expect("=")
            subgroup = self.integer()
        noalias = self.accept("noalias")
        self.end_line()
        functions: list[ir.Function] = []
        while self.accept("func"):
            functions.append(self.function())
        self.expect("kernel")
        kernel = self.function()
        if self.row < len(self.lines):
            self.fail("the end of the text")
        return ir.Module(kernel, tuple(functions), ndim, math_mode, subgroup, noalias)  # type: ignore[arg-type]


def parse(text: str) -> ir.Module:
    """Read a module from its text form.

    Parameters
    ----------
    text : str
        As :func:`gpucore.ir.text.print_module` writes it, with or without locations; blank lines are ignored.

    Raises
    ------
    ParseError
        Naming the line and what was expected there.  The module is not verified.
    """
    return _Reader(text).module()
