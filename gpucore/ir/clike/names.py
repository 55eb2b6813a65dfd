"""Identifiers that clash with nothing, and the types that hold values."""

from __future__ import annotations

import re

from gpucore.ir.dtypes import DType

_KEYWORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool true false
i8 i16 i32 i64 u8 u16 u32 u64 f16 bf16 f32 f64 size_t ptrdiff_t NULL INFINITY NAN HUGE_VAL main
"""
KEYWORDS: frozenset[str] = frozenset(_KEYWORDS.split())
"""What no identifier may be in any of these languages; a dialect reserves more."""


class Names:
    """Gives each IR name its own identifier, keeping the spelling where it can.

    Parameters
    ----------
    taken : Names | None
        Outer names that must not be hidden; what they reserve is reserved here too.
    reserved : frozenset[str]
        Identifiers that the language has already.
    """

    def __init__(self, taken: Names | None = None, reserved: frozenset[str] = frozenset()) -> None:
        self._used: set[str] = set(taken._used) if taken is not None else set()
        self._reserved: frozenset[str] = (
            KEYWORDS | reserved | (taken._reserved if taken is not None else reserved)
        )
        self._given: dict[tuple[str, str], str] = {}

    def __call__(self, kind: str, name: str) -> str:
        """The identifier of the IR entity ``name`` of a kind (``"value"``, ``"var"``, ``"memory"``, ...)."""
        key = (kind, name)
        found = self._given.get(key)
        if found is None:
            found = self._given[key] = self.fresh(name)
        return found

    def adopt(self, kind: str, name: str, identifier: str) -> None:
        """Give an IR entity an identifier that exists already."""
        self._given[kind, name] = identifier

    def fresh(self, name: str) -> str:
        """An identifier close to ``name`` that nothing else has."""
        base = re.sub(r"[^0-9A-Za-z_]", "_", name).lstrip("_") or "v"
        if base[0].isdigit():
            base = f"v{base}"
        if base in self._reserved or base.startswith("gc_"):
            base = f"{base}_"
        candidate, number = base, 1
        while candidate in self._used or "__" in candidate:
            if "__" in candidate:  # reserved for the implementation
                base = candidate = re.sub(r"_+", "_", candidate)
                continue
            number += 1
            candidate = f"{base.rstrip('_')}_{number}"
        self._used.add(candidate)
        return candidate


def is_narrow(dtype: DType) -> bool:
    """Whether values of the dtype are integers of less than 32 bits."""
    return dtype.is_integer and dtype.bits < 32


def held(dtype: DType) -> str:
    """The type of a value of the dtype in a variable.

    Narrow integers are held as 32 bits that always equal the value: C promotes them to ``int`` anyway, and 16-bit
    arithmetic is where compilers keep more bits than the type has.
    """
    if is_narrow(dtype):
        return "i32" if dtype.is_signed else "u32"
    return dtype.name


def unsigned(dtype: DType) -> str:
    """The unsigned type in which arithmetic of an integer dtype wraps without undefined behaviour."""
    return "u64" if dtype.bits == 64 else "u32"
