"""Configured kernels that several contexts launch in turn.

At first a function finds the context's copy of the configured kernel and calls the copy's launch function.  Calling one more
Python function, and another one at each launch, takes a tenth of a launch.  So the launch functions of a few contexts are merged
into one, which looks at the signature of one array and at what :class:`Turns` keeps for its context.  Where an argument is of
another type, the first way is taken again.
"""

from __future__ import annotations

import ast
import functools
import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from gpucore._generated import compile_functions
from gpucore.errors import USER_ERRORS
from gpucore.lang.diagnostics import parsed
from gpucore.launch.configured import ConfiguredKernel, P
from gpucore.launch.launch_function import MISSING

if TYPE_CHECKING:
    from gpucore.launch.launcher import Launcher
    from gpucore.runtime.geometry import Signature

__all__ = ["LaunchInTurn", "Merged", "Turns", "launch_in_turn"]

_MOST_TURNS = 16
_MERGED = ("prepared0", "prepared1", "prepared2", "prepared3")
_ABSENT: Any = MISSING


class Turns:
    """One copy of a configured kernel for each of several contexts that launch it in turn.

    A configured kernel remembers one launch; each copy remembers that of its context.  They are told apart by the signature
    of one array, which is an object of the context.
    """

    __slots__ = ("by_signature", "copies", "count", "launch_class", "parameter", "repeated", *_MERGED)

    def __init__(self, parameter: int, count: int) -> None:
        self.parameter, self.count = parameter, count
        self.by_signature: dict[Signature, ConfiguredKernel[Any]] = {}
        self.launch_class = launch_in_turn(count, parameter)
        self.copies: tuple[ConfiguredKernel[Any], ...] = ()
        """Those whose launches the class of :meth:`merge` makes, in its order."""
        self.repeated = [False] * len(_MERGED)
        """Of each, whether the last launch had the arguments of the one before."""

    def add(self, configured: ConfiguredKernel[Any], signature: Signature) -> ConfiguredKernel[Any]:
        """A copy for launches with an array of this signature."""
        table = self.by_signature
        for old, other in list(table.items()):
            if len(table) >= _MOST_TURNS or (other._prepared and other._prepared[0].state.closed):
                table.pop(old, None)
        made: ConfiguredKernel[Any] = ConfiguredKernel(
            configured.kernel, configured.grid, configured.block, configured.shape
        )
        return table.setdefault(signature, made)

    def merge(self, configured: ConfiguredKernel[Any]) -> None:
        """Let one function make the launches of all contexts, where they are few."""
        copies = tuple(copy for copy in self.by_signature.values() if copy._prepared)
        launchers = tuple(copy._prepared[0] for copy in copies)
        kernel = configured.kernel
        few = 2 <= len(copies) <= len(_MERGED) and self.count == len(kernel.parameters)
        if few and not any(launcher.state.closed for launcher in launchers):
            self.copies = copies
            for name, copy in itertools.zip_longest(_MERGED, copies):
                setattr(self, name, copy._prepared if copy else ())
            configured.__class__ = kernel.launchers.merged(launchers, self).launch_class
        else:
            self.part(configured)

    def part(self, configured: ConfiguredKernel[Any]) -> None:
        """Let each copy make its launches."""
        configured.__class__ = self.launch_class
        for name in _MERGED:
            setattr(self, name, ())  # a thread within the merged function finds no launch there


class LaunchInTurn(ConfiguredKernel[P]):
    """A configured kernel that several contexts launch in turn; for each number of arguments there is a subclass."""

    __slots__ = ()

    def _launch_other(self, args: tuple[Any, ...], more: tuple[Any, ...], named: dict[str, Any]) -> None:
        """A launch whose context has no copy yet, or whose arguments are not all given by position."""
        given = tuple(arg for arg in args if arg is not _ABSENT) + more
        turns = self._turns
        assert turns is not None
        array = given[turns.parameter] if turns.parameter < len(given) else None
        signature = getattr(array, "_sig", None)
        if signature is None:
            # the array is not among those by position: a copy for this launch alone
            copy: ConfiguredKernel[Any] = ConfiguredKernel(self.kernel, self.grid, self.block, self.shape)
        else:
            known = turns.by_signature.get(signature)
            copy = known or turns.add(self, signature)
            copy(*given, **named)
            if known is None:
                turns.merge(self)
            return
        copy(*given, **named)


# the copy's launch function is called, not the copy: Python would pack the arguments for that once more
_IN_TURN = """\
def launch(self, {head}, /, *more, **named):
    try:
        try:
            if more or named or {last} is _ABSENT:
                raise LookupError
            launch = self._turns.by_signature[{array}._sig]
        except (LookupError, AttributeError, TypeError):
            return self._launch_other(({names},), more, named)
        launch.__class__.__call__(launch, {names})
    except USER_ERRORS as error:
        raise error.with_traceback(None) from None
"""


@functools.cache
def launch_in_turn(count: int, parameter: int) -> type[LaunchInTurn[Any]]:
    """The class of configured kernels with ``count`` arguments that several contexts launch in turn.

    Parameters
    ----------
    parameter : int
        The number of the argument, an array, that tells the contexts apart.
    """
    names = [f"argument{number}" for number in range(count)]
    text = _IN_TURN.format(
        head=", ".join(f"{name}=_ABSENT" for name in names),
        last=names[-1],
        array=names[parameter],
        names=", ".join(names),
    )
    values = {"_ABSENT": _ABSENT, "USER_ERRORS": USER_ERRORS}
    function = compile_functions(text, values, f"launches in turn with {count} arguments")["launch"]
    return type("LaunchInTurn", (LaunchInTurn,), {"__slots__": (), "__call__": function})


# --- one function for several contexts
class Merged:
    """The class of configured kernels that the contexts of some launchers launch in turn.

    Attributes
    ----------
    launch_class : type
    """

    __slots__ = ("__weakref__", "_apart", "_together", "launch_class", "launchers")

    def __init__(self, launchers: tuple[Launcher, ...], turns: Turns) -> None:
        self.launchers = launchers
        self._apart = turns.launch_class.__call__
        self._together = _merged_function(launchers, turns.parameter)
        members = {"__slots__": (), "merged": self}  # which lives as long as the class
        self.launch_class: type[Any] = type("LaunchInTurn", (turns.launch_class,), members)
        for launcher in launchers:
            launcher.merged.add(self)
        self.observe()

    def observe(self) -> None:
        """Leave launches that somebody looks at to each context's own launch function."""
        observed = any(launcher.state.observation.active for launcher in self.launchers)
        self.launch_class.__call__ = self._apart if observed else self._together


class _Numbered(ast.NodeTransformer):
    """Makes a launch function that of one of several contexts: its global names get a number, and it remembers its last launch
    in the configured kernel's :class:`Turns`.
    """

    def __init__(self, names: Iterable[str], array: str, number: int) -> None:
        self._names, self._array, self._number = names, array, number

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.value.id == "configured":
            kept = {"_prepared": _MERGED[self._number], "_repeated": f"repeated[{self._number}]"}.get(
                node.attr
            )
            if kept is not None:
                place = parsed(f"stream_launch._turns.{kept}").body[0].value  # type: ignore[attr-defined]
                assert isinstance(place, (ast.Attribute, ast.Subscript))
                place.ctx = node.ctx
                return place
        self.generic_visit(node)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.BoolOp:
        # the signature of this array was compared when the context was found
        found = f"{self._array}._sig is "
        node.values = [value for value in node.values if not ast.unparse(value).startswith(found)]
        self.generic_visit(node)
        return node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if node.id == "configured":
            node.id = "stream_launch"
        elif node.id in self._names:
            node.id = f"{node.id}_of_{self._number}"
        return node


def _missed(
    number: int,
    called: LaunchInTurn[Any],
    args: tuple[Any, ...],
    more: tuple[Any, ...],
    named: dict[str, Any],
) -> None:
    """A call that a context's launch function was not made for."""
    called._launch_other(args, more, named)
    turns, merged = called._turns, getattr(type(called), "merged", None)
    if turns is None or merged is None:
        return
    prepared = turns.copies[number]._prepared if number < len(turns.copies) else ()
    if prepared and prepared[0] is merged.launchers[number]:
        setattr(turns, _MERGED[number], prepared)
    else:
        turns.part(called)


def _merged_function(launchers: tuple[Launcher, ...], parameter: int) -> Callable[..., Any]:
    values: dict[str, Any] = {"MISSING": MISSING, "USER_ERRORS": USER_ERRORS}
    branches: list[ast.stmt] = []
    # from the last to the first: each is what the one before it does else
    for number, launcher in reversed(list(enumerate(launchers))):
        text, globals_ = launcher.text_and_values()
        values |= {f"{name}_of_{number}": value for name, value in globals_.items()}
        values |= {
            f"CACHE_MISS_of_{number}": functools.partial(_missed, number),
            f"SIGNATURE_of_{number}": launcher.signatures[parameter],
        }
        function, outer = _parsed(text)
        array = function.args.posonlyargs[1 + parameter].arg
        names = "".join(f"{arg.arg}, " for arg in function.args.posonlyargs[1:])
        if not branches:
            branches = parsed(f"return stream_launch._launch_other(({names}), more, named)").body
        numbered = _Numbered({*globals_, "CACHE_MISS"}, array, number)
        branch = parsed(f"if given is SIGNATURE_of_{number}: pass").body[0]
        assert isinstance(branch, ast.If)
        branch.body = [numbered.visit(statement) for statement in outer.body]
        branch.orelse = branches
        branches = [branch]
    function.args.posonlyargs[0].arg = "stream_launch"
    find = f"try:\n    given = {array}._sig\nexcept AttributeError:\n    given = None"
    outer.body = [*parsed(find).body, *branches]
    return launchers[0].compile(f"{ast.unparse(function)}\n", values, "in turn")


def _parsed(text: str) -> tuple[ast.FunctionDef, ast.Try]:
    """A launch function, and its outer statement, which shortens tracebacks."""
    function = parsed(text).body[0]
    assert isinstance(function, ast.FunctionDef)
    outer = function.body[0]
    assert isinstance(outer, ast.Try)
    return function, outer
