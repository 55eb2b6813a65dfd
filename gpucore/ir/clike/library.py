"""Helper functions of rendered code: only those that a module needs are put into its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Cast = Callable[[str, str], str]
"""``cast(type, text)``: the text of a conversion."""


@dataclass(frozen=True, slots=True)
class Helper:
    """A function's source and the helpers that it calls."""

    source: str
    needs: tuple[str, ...] = ()


class Library:
    """The helpers that one module uses, in an order in which each comes after those it calls.

    Parameters
    ----------
    find : callable
        A helper by its name.

    Raises
    ------
    KeyError
        From ``use``, as ``find`` raises it.
    """

    def __init__(self, find: Callable[[str], Helper]) -> None:
        self._find = find
        self._sources: dict[str, str] = {}

    def use(self, name: str) -> str:
        """Ask for a helper; gives its name back."""
        if name not in self._sources:
            self.add(name, self._find(name))
        return name

    def add(self, name: str, helper: Helper) -> str:
        """Put in a helper that is made for the occasion."""
        if name not in self._sources:
            for needed in helper.needs:
                self.use(needed)
            self._sources[name] = helper.source
        return name

    def __str__(self) -> str:
        return "\n".join(self._sources.values())

    def __bool__(self) -> bool:
        return bool(self._sources)


def plain_helpers(function: str, cast: Cast) -> dict[str, Helper]:
    """Every helper that :mod:`gpucore.ir.clike` itself uses, in the C that all its languages share.

    Parameters
    ----------
    function : str
        What stands before the result's type of a function, such as ``"static inline"``.
    cast : callable
        How the language writes a conversion.
    """
    return {
        **_wraps(function, cast),
        **_absolutes(function, cast),
        **_divisions(function, cast),
        **_trips(function, cast),
    }


def _wraps(function: str, cast: Cast) -> dict[str, Helper]:
    """``gc_wrap_i8`` and its like: the value of a narrow integer with the low bits of 32."""
    made: dict[str, Helper] = {}
    for bits in (8, 16):
        ones, sign = (1 << bits) - 1, 1 << (bits - 1)
        signed = cast("i32", f"(x & {ones:#x}u) ^ {sign:#x}u")
        made[f"gc_wrap_i{bits}"] = Helper(
            f"{function} i32 gc_wrap_i{bits}(u32 x) {{ return {signed} - {sign:#x}; }}"
        )
        made[f"gc_wrap_u{bits}"] = Helper(
            f"{function} u32 gc_wrap_u{bits}(u32 x) {{ return x & {ones:#x}u; }}"
        )
    return made


def _absolutes(function: str, cast: Cast) -> dict[str, Helper]:
    """``gc_abs_i32``, ``gc_abs_i64``: the minimum stays what it is."""
    made: dict[str, Helper] = {}
    for i, u in (("i32", "u32"), ("i64", "u64")):
        negative = cast(i, f"0u - {cast(u, 'x')}")
        made[f"gc_abs_{i}"] = Helper(
            f"{function} {i} gc_abs_{i}({i} x) {{\n  return x < 0 ? {negative} : x;\n}}"
        )
    return made


def _divisions(function: str, cast: Cast) -> dict[str, Helper]:
    """Python's ``//`` and ``%`` on integers: floor, sign of the divisor, 0 for a zero divisor, wrapping."""
    made: dict[str, Helper] = {}
    for bits in (32, 64):
        i, u = f"i{bits}", f"u{bits}"
        for name, operator in (("floordiv", "/"), ("mod", "%")):
            made[f"gc_{name}_{u}"] = Helper(
                f"{function} {u} gc_{name}_{u}({u} a, {u} b) {{ "
                f"return b == 0 ? {cast(u, '0')} : {cast(u, f'a {operator} b')}; }}"
            )
        negative = cast(i, f"{cast(u, '0')} - {cast(u, 'a')}")
        made[f"gc_floordiv_{i}"] = Helper(
            f"{function} {i} gc_floordiv_{i}({i} a, {i} b) {{\n"
            f"  if (b == 0) return 0;\n"
            f"  if (b == -1) return {negative};\n"
            f"  const {i} q = {cast(i, 'a / b')};\n"
            f"  return {cast(i, 'a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q')};\n}}"
        )
        made[f"gc_mod_{i}"] = Helper(
            f"{function} {i} gc_mod_{i}({i} a, {i} b) {{\n"
            f"  if (b == 0 || b == -1) return 0;\n"
            f"  const {i} r = {cast(i, 'a % b')};\n"
            f"  return {cast(i, 'r != 0 && (r < 0) != (b < 0) ? r + b : r')};\n}}"
        )
    return made


def _trips(function: str, cast: Cast) -> dict[str, Helper]:
    """The number of iterations of ``range(start, stop, step)``; a step of zero gives none."""
    made: dict[str, Helper] = {}
    for i, u in (("i32", "u32"), ("i64", "u64")):
        start, stop, step = (cast(u, name) for name in ("start", "stop", "step"))
        made[f"gc_trips_{i}"] = Helper(
            f"{function} {u} gc_trips_{i}({i} start, {i} stop, {i} step) {{\n"
            f"  if (step > 0) return start < stop ? ({stop} - {start} - 1u) / {step} + 1u : 0u;\n"
            f"  if (step < 0) return start > stop ? ({start} - {stop} - 1u) / (0u - {step}) + 1u : 0u;\n"
            f"  return 0u;\n}}"
        )
    return made
