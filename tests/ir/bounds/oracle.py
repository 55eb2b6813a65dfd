"""A second opinion on accesses, by the solver Z3: it shares neither code nor method with ``gpucore.ir.bounds``.

Kernels are executed symbolically: a value is a formula over extents, arguments and coordinates, and the solver is asked for
numbers that bring an index outside its array.  What wraps, and what memory holds, may be anything of its dtype.

Loops are looked at twice.  ``generic``: one iteration, of which nothing but the loop's own variable is known; no counterexample
there is a proof.  ``unrolled``: the first iterations as they are; a counterexample there is real.
"""

from __future__ import annotations

from typing import Any

import z3

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType

ROUNDS = 3
TIMEOUT = 3000  # ms for one question
FLIPPED = {"eq", "ne", "lt", "le", "gt", "ge"}


def limits(dtype: DType) -> tuple[int, int]:
    if dtype.kind == "uint":
        return 0, 2**dtype.bits - 1
    return -(2 ** (dtype.bits - 1)), 2 ** (dtype.bits - 1) - 1


def divided(op: str, a: Any, b: Any) -> Any:
    """Python's quotient or remainder, 0 for a zero divisor; Z3 rounds down where the divisor is positive."""
    quotient = z3.If(b > 0, a / b, z3.If(b < 0, (-a) / (-b), z3.IntVal(0)))
    return quotient if op == "floordiv" else z3.If(b == 0, z3.IntVal(0), a - b * quotient)


class Oracle:
    """Finds for each access the formulas under which it leaves its array."""

    def __init__(
        self, module: ir.Module, *, is_range: bool, block: tuple[int, ...] | None, generic: bool
    ) -> None:
        self.module, self.is_range, self.block, self.generic = module, is_range, block, generic
        self.facts: list[Any] = []
        self.known: dict[Any, Any] = {}
        self.values: dict[str, Any] = {}
        self.variables: dict[str, Any] = {}
        self.breaks: list[list[tuple[Any, dict[str, Any]]]] = []
        self.continues: list[list[tuple[Any, dict[str, Any]]]] = []
        self.leaves: dict[int, list[Any]] = {}
        for p in module.kernel.params:
            if isinstance(p, ir.Value) and p.dtype.is_integer:
                self.values[p.name] = self.number(("scalar", p.name, 0), *limits(p.dtype))
        self.block_of(module.kernel.body, z3.BoolVal(True))

    # --- numbers
    def number(self, key: Any, low: Any, high: Any) -> Any:
        """The number that a key stands for; a new one for None."""
        if key is not None and key in self.known:
            return self.known[key]
        made = z3.FreshInt()
        self.facts += [made >= low, made <= high]
        if key is not None:
            self.known[key] = made
        return made

    def anything(self, dtype: DType) -> Any:
        return z3.FreshBool() if dtype.kind == "bool" else self.number(None, *limits(dtype))

    def wrapped(self, exact: Any, dtype: DType) -> Any:
        low, high = limits(dtype)
        return z3.If(z3.And(exact >= low, exact <= high), exact, self.anything(dtype))

    def extent(self, memory: ir.Memory, axis: int) -> Any:
        if memory.shape:
            return z3.IntVal(memory.shape[axis])
        return self.number(("extent", memory.name, axis), 0, 2**31 - 1)

    def coordinate(self, kind: str, axis: int) -> Any:
        if self.is_range:
            extent = self.number(("range", "", axis), 1, 2**31 - 1)
            return self.number(("global_id", axis), 0, extent - 1)
        size = z3.IntVal(self.block[axis]) if self.block else self.number(("block", "", axis), 1, 2**31 - 1)
        blocks = self.number(("grid", "", axis), 1, 2**31 - 1)
        if ("launch", axis) not in self.known:
            self.known["launch", axis] = True
            self.facts.append(size * blocks <= 2**31 - 1)
        if kind == "block_dim":
            return size
        if kind == "grid_dim":
            return blocks
        thread = self.number(("thread_id", axis), 0, size - 1)
        block = self.number(("block_id", axis), 0, blocks - 1)
        return {"thread_id": thread, "block_id": block, "global_id": block * size + thread}[kind]

    # --- statements
    def block_of(self, block: ir.Block, live: Any) -> Any:
        """Execute a block for the threads that ``live`` says; which of them reach its end."""
        for s in block:
            match s:
                case ir.If():
                    live = self.branch(s, live)
                case ir.For() | ir.While():
                    live = self.loop(s, live)
                case ir.Return():
                    return z3.BoolVal(False)
                case ir.Break() | ir.Continue():
                    (self.breaks if isinstance(s, ir.Break) else self.continues)[-1].append(
                        (live, dict(self.variables))
                    )
                    return z3.BoolVal(False)
                case _:
                    self.simple(s, live)
        return live

    def simple(self, s: ir.Stmt, live: Any) -> None:
        result = ir.result_of(s)
        match s:
            case ir.Const(value=value):
                if result.dtype.is_integer:
                    self.values[result.name] = z3.IntVal(int(value))
                elif result.dtype.kind == "bool":
                    self.values[result.name] = z3.BoolVal(bool(value))
            case ir.Op():
                self.values[result.name] = self.operation(s)
            case ir.GetVar(var=var):
                held = self.variables.get(var.name)
                self.values[result.name] = self.anything_of(result) if held is None else held
            case ir.SetVar(var=var, value=value):
                self.variables[var.name] = self.values.get(value.name)
            case ir.Extent(memory=memory, axis=axis):
                self.values[result.name] = self.extent(memory, axis)
            case ir.ThreadIndex(kind=kind, axis=axis):
                self.values[result.name] = self.coordinate(kind, axis)
            case ir.Load() | ir.Store() | ir.Atomic() | ir.AtomicCas():
                inside = []
                for axis, index in enumerate(s.indices):
                    value = self.values[index.name]
                    inside += [value >= 0, value < self.extent(s.memory, axis)]
                self.leaves.setdefault(id(s), []).append(z3.And(live, z3.Not(z3.And(inside))))
                if result is not None:
                    self.values[result.name] = self.anything_of(result)
            case _:
                if result is not None:
                    self.values[result.name] = self.anything_of(result)

    def anything_of(self, value: ir.Value) -> Any:
        return None if value.dtype.is_float else self.anything(value.dtype)

    def operation(self, s: ir.Op) -> Any:
        dtype, args = s.result.dtype, [self.values.get(a.name) for a in s.args]
        if dtype.is_float:
            return None
        if any(a is None for a in args):
            return self.anything(dtype)
        if s.op == "select":
            return z3.If(*args)
        if dtype.kind == "bool":
            return self.truth(s.op, args, s)
        if s.op == "cast":
            if s.args[0].dtype.kind == "bool":
                return z3.If(args[0], z3.IntVal(1), z3.IntVal(0))
            return self.wrapped(args[0], dtype)
        match s.op:
            case "add" | "sub" | "mul":
                a, b = args
                return self.wrapped(a + b if s.op == "add" else a - b if s.op == "sub" else a * b, dtype)
            case "neg":
                return self.wrapped(-args[0], dtype)
            case "abs":
                return self.wrapped(z3.If(args[0] < 0, -args[0], args[0]), dtype)
            case "min":
                return z3.If(args[0] < args[1], args[0], args[1])
            case "max":
                return z3.If(args[0] > args[1], args[0], args[1])
            case "floordiv" | "mod":
                return self.wrapped(divided(s.op, *args), dtype)
        constant = z3.simplify(args[-1]) if len(args) == 2 else None
        if constant is not None and z3.is_int_value(constant):
            n = constant.as_long()
            if s.op == "and" and n >= 0 and n & (n + 1) == 0:
                return args[0] % (n + 1)
            if s.op == "shr" and 0 <= n < dtype.bits:
                return args[0] / 2**n
            if s.op == "shl" and 0 <= n < dtype.bits:
                return self.wrapped(args[0] * 2**n, dtype)
        return self.number(None, 0, 64) if s.op in ("popcount", "clz") else self.anything(dtype)

    def truth(self, op: str, args: list[Any], s: ir.Op) -> Any:
        if s.args[0].dtype.kind == "bool":
            known = {"and": z3.And, "or": z3.Or, "not": z3.Not, "xor": z3.Xor}.get(op)
            if known is not None:
                return known(*args)
            return args[0] == args[1] if op == "eq" else args[0] != args[1] if op == "ne" else z3.FreshBool()
        if not s.args[0].dtype.is_integer or op not in FLIPPED:
            return z3.FreshBool()
        a, b = args
        return {"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}[op]

    def branch(self, s: ir.If, live: Any) -> Any:
        condition, before = self.values[s.condition.name], dict(self.variables)
        first = self.block_of(s.then, z3.And(live, condition))
        after, self.variables = self.variables, before
        second = self.block_of(s.orelse, z3.And(live, z3.Not(condition)))
        self.variables = self.merged([(first, after), (second, self.variables)])
        return z3.Or(first, second)

    def merged(self, ways: list[tuple[Any, dict[str, Any]]]) -> dict[str, Any]:
        """What variables hold where threads of several ways meet."""
        result: dict[str, Any] = {}
        for name in set.intersection(*(set(env) for _, env in ways)) if ways else ():
            values = [env[name] for _, env in ways]
            if all(v is not None for v in values):
                made = values[-1]
                for (live, _), value in zip(ways[:-1], values[:-1], strict=True):
                    made = z3.If(live, value, made)
                result[name] = made
        return result

    # --- loops
    def loop(self, s: ir.For | ir.While, live: Any) -> Any:
        blocks = (s.body,) if isinstance(s, ir.For) else (s.header, s.body)
        assigned = {x.var for block in blocks for x in ir.walk(block) if isinstance(x, ir.SetVar)}
        if self.generic:
            self.forget(assigned)
            self.iteration(s, live, self.number(None, 0, 2**62))
            self.forget(assigned)
            if isinstance(s, ir.While):
                return self.block_of(s.header, live)
            return live
        exits: list[tuple[Any, dict[str, Any]]] = []
        for n in range(ROUNDS):
            out, live, ways = self.iteration(s, live, z3.IntVal(n))
            exits += out
            self.variables = self.merged(ways)
        self.variables = self.merged(exits)
        return z3.Or([way for way, _ in exits])

    def forget(self, assigned: set[ir.Var]) -> None:
        for var in assigned:
            self.variables[var.name] = None if var.dtype.is_float else self.anything(var.dtype)

    def iteration(self, s: ir.For | ir.While, live: Any, n: Any) -> tuple[list[Any], Any, list[Any]]:
        """One iteration: the ways out of the loop, who goes on, and the ways to the next."""
        self.breaks.append([])
        self.continues.append([])
        if isinstance(s, ir.For):
            start, stop, step = (self.values[v.name] for v in (s.start, s.stop, s.step))
            at = start + step * n
            self.values[s.variable.name] = at
            condition = z3.Or(z3.And(step > 0, at < stop), z3.And(step < 0, at > stop))
        else:
            live = self.block_of(s.header, live)
            condition = self.values[s.condition.name]
        out = [(z3.And(live, z3.Not(condition)), dict(self.variables))]
        end = self.block_of(s.body, z3.And(live, condition))
        ways = [(end, self.variables), *self.continues.pop()]
        out += self.breaks.pop()
        return out, z3.Or([way for way, _ in ways]), ways

    # --- questions
    def needs(self, atoms: Any, alternatives: Any) -> Any:
        """The conditions of an access as a formula."""

        def poly(frozen: Any) -> Any:
            total: Any = z3.IntVal(0)
            for monomial, coefficient in frozen:
                term: Any = z3.IntVal(coefficient)
                for number in monomial:
                    term = term * atom(number)
                total = total + term
            return total

        def atom(number: int) -> Any:
            term = atoms[number].host
            if term.operands:
                a, b = map(poly, term.operands)
                if term.kind in ("min", "max"):
                    return z3.If(a < b, a, b) if term.kind == "min" else z3.If(a > b, a, b)
                return divided(term.kind, a, b)
            if term.kind in ("extent", "scalar"):
                low, high = (0, 2**31 - 1) if term.kind == "extent" else (-(2**63), 2**64)
                return self.number((term.kind, term.name, term.axis), low, high)
            return self.number((term.kind, "", term.axis), 1, 2**31 - 1)

        return z3.Or([z3.And([poly(p) >= 0 for p in s]) for s in alternatives])

    def ask(self, statement: int, needs: Any) -> str:
        """``holds``, ``fails`` or ``unknown``: whether no launch brings the access outside its array."""
        solver = z3.Solver()
        solver.set("timeout", TIMEOUT)
        solver.add(*self.facts, needs, z3.Or(self.leaves.get(statement, [z3.BoolVal(False)])))
        answer = solver.check()
        return "holds" if answer == z3.unsat else "fails" if answer == z3.sat else "unknown"


def judge(
    module: ir.Module, *, is_range: bool, block: tuple[int, ...] | None = None, conditions: bool = True
) -> dict[str, int]:
    """Ask again for each access that is proven, or inside on conditions.

    Parameters
    ----------
    conditions : bool
        Whether to ask for those on conditions, too; products of extents in them take the solver long.

    Returns
    -------
    dict
        How many were ``proved`` again, ``unrolled`` (no counterexample in the first iterations), or left open, ``unknown``; how
        many of them hold without a condition, ``proven``, and how many of those are left open, ``proven_unknown``.

    Raises
    ------
    AssertionError
        With the access that leaves its array all the same.
    """
    from gpucore.ir.bounds.analysis import analyse

    bounds = analyse(module, is_range=is_range, small=True, block=block)
    kinds = ("proven", "launch") if conditions else ("proven",)
    wanted = {key: access for key, access in bounds.accesses.items() if access.where in kinds}
    counts = dict.fromkeys(("proved", "unrolled", "unknown", "proven", "proven_unknown"), 0)
    counts["device"] = sum(access.where == "device" for access in bounds.accesses.values())
    if not wanted:
        return counts
    oracles = [Oracle(module, is_range=is_range, block=block, generic=generic) for generic in (True, False)]
    has_loops = any(isinstance(s, (ir.For, ir.While)) for s in ir.walk(module.kernel.body))
    for key, access in wanted.items():
        answers = []
        for oracle in oracles if has_loops else oracles[1:]:
            answers.append(oracle.ask(key, oracle.needs(bounds.atoms, access.needs)))
            if answers[-1] == "holds":
                break
        line = access.loc.line if access.loc else "?"
        assert answers[-1] != "fails", (
            f"line {line}: {access.kind} of {access.memory.name} is {access.where}, but leaves it\n{module}"
        )
        found = "proved" if answers[0] == "holds" else "unrolled" if answers[-1] == "holds" else "unknown"
        counts[found] += 1
        if access.where == "proven":
            counts["proven"] += 1
            counts["proven_unknown"] += found == "unknown"
    return counts
