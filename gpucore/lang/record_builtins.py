"""Functions of vectors and complex numbers: placeholders as those of ``builtins``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from gpucore.lang.outside import outside

__all__ = ["RECORD_TABLE", "conj", "cross", "dot", "length"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Vector(Protocol[T_co]):
    """A vector as type checkers see it here."""

    @property
    def x(self) -> T_co: ...


def dot(a: Vector[T], b: Vector[T]) -> T:
    """``a.x * b.x + a.y * b.y + ...``, added from the left."""
    outside("dot")


def cross(a: T, b: T) -> T:
    """The cross product of two vectors of three elements."""
    outside("cross")


def length(v: Vector[T]) -> T:
    """``sqrt(dot(v, v))``."""
    outside("length")


def conj(z: complex) -> complex:
    """The conjugate of a complex number."""
    outside("conj")


RECORD_TABLE: dict[Callable[..., Any], str] = {f: f.__name__ for f in (dot, cross, length, conj)}
