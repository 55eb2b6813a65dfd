"""The functions of the math library as the host sees them: placeholders as those of ``builtins``."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

from gpucore.errors import KernelTypeError


def outside(name: str) -> NoReturn:
    """Raise: the function works inside kernels."""
    raise KernelTypeError(
        f"gc.{name} works inside kernels only: call it in a function decorated with @gc.kernel or @gc.func"
    )


F = TypeVar("F", float, complex)


def sqrt(x: F) -> F:
    """Square root, correctly rounded."""
    outside("sqrt")


def rsqrt(x: float) -> float:
    """``1 / sqrt(x)``."""
    outside("rsqrt")


def exp(x: F) -> F:
    """``e**x``."""
    outside("exp")


def exp2(x: float) -> float:
    """``2**x``."""
    outside("exp2")


def log(x: F) -> F:
    """Natural logarithm."""
    outside("log")


def log2(x: float) -> float:
    """Logarithm to base 2."""
    outside("log2")


def log10(x: float) -> float:
    """Logarithm to base 10."""
    outside("log10")


def sin(x: F) -> F:
    """Sine of radians."""
    outside("sin")


def cos(x: F) -> F:
    """Cosine of radians."""
    outside("cos")


def tan(x: float) -> float:
    """Tangent of radians."""
    outside("tan")


def asin(x: float) -> float:
    """Arc sine in radians."""
    outside("asin")


def acos(x: float) -> float:
    """Arc cosine in radians."""
    outside("acos")


def atan(x: float) -> float:
    """Arc tangent in radians."""
    outside("atan")


def sinh(x: float) -> float:
    """Hyperbolic sine."""
    outside("sinh")


def cosh(x: float) -> float:
    """Hyperbolic cosine."""
    outside("cosh")


def tanh(x: float) -> float:
    """Hyperbolic tangent."""
    outside("tanh")


def atan2(y: float, x: float) -> float:
    """Angle of the point (x, y) in radians."""
    outside("atan2")


def pow(x: F, y: F) -> F:
    """``x ** y``."""
    outside("pow")


def exp10(x: float) -> float:
    """``10**x``."""
    outside("exp10")


def expm1(x: float) -> float:
    """``e**x - 1``, exact to the last digits near zero."""
    outside("expm1")


def log1p(x: float) -> float:
    """``log(1 + x)``, exact to the last digits near zero."""
    outside("log1p")


def asinh(x: float) -> float:
    """Inverse hyperbolic sine."""
    outside("asinh")


def acosh(x: float) -> float:
    """Inverse hyperbolic cosine; NaN below 1."""
    outside("acosh")


def atanh(x: float) -> float:
    """Inverse hyperbolic tangent; NaN past 1 and -1."""
    outside("atanh")


def erf(x: float) -> float:
    """The error function."""
    outside("erf")


def erfc(x: float) -> float:
    """``1 - erf(x)``, exact to the last digits where it is small."""
    outside("erfc")


def tgamma(x: float) -> float:
    """The gamma function."""
    outside("tgamma")


def lgamma(x: float) -> float:
    """The logarithm of the magnitude of the gamma function."""
    outside("lgamma")


def cbrt(x: float) -> float:
    """Cube root."""
    outside("cbrt")


def hypot(x: float, y: float) -> float:
    """``sqrt(x * x + y * y)`` without overflow on the way."""
    outside("hypot")


def copysign(x: float, y: float) -> float:
    """The magnitude of ``x`` with the sign of ``y``."""
    outside("copysign")


def fmod(x: float, y: float) -> float:
    """The remainder of ``x / y`` with the sign of ``x``, exact; ``%`` takes that of ``y``."""
    outside("fmod")


def remainder(x: float, y: float) -> float:
    """``x - n * y`` with the integer ``n`` nearest ``x / y``, exact."""
    outside("remainder")


def ldexp(x: float, n: int) -> float:
    """``x * 2**n``, rounded once."""
    outside("ldexp")


def frexp(x: float) -> tuple[float, int]:
    """``(f, e)`` with ``x = f * 2**e`` and ``1/2 <= |f| < 1``; ``e`` is an i32."""
    outside("frexp")


def nextafter(x: float, y: float) -> float:
    """The number that follows ``x`` in the direction of ``y``."""
    outside("nextafter")


def fmax(x: float, y: float) -> float:
    """The greater, of which NaN is none unless both are; -0 below +0."""
    outside("fmax")


def fmin(x: float, y: float) -> float:
    """The smaller, of which NaN is none unless both are; -0 below +0."""
    outside("fmin")


MATH_TABLE: dict[Callable[..., object], str] = {
    function: function.__name__
    for function in (
        sqrt,
        rsqrt,
        exp,
        exp2,
        log,
        log2,
        log10,
        sin,
        cos,
        tan,
        asin,
        acos,
        atan,
        sinh,
        cosh,
        tanh,
        atan2,
        pow,
        exp10,
        expm1,
        log1p,
        asinh,
        acosh,
        atanh,
        cbrt,
        erf,
        erfc,
        tgamma,
        lgamma,
        hypot,
        copysign,
        fmod,
        remainder,
        ldexp,
        frexp,
        nextafter,
        fmax,
        fmin,
    )
}
"""Each placeholder's name, by which the front end knows what to emit."""
