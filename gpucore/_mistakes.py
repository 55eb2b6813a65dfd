"""Mistakes of the user's: what is shown is the user's line, not how core came upon it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from gpucore.errors import KernelSyntaxError, KernelTypeError, LaunchError

__all__ = ["MISTAKES", "without_internals"]

MISTAKES = (KernelSyntaxError, KernelTypeError, LaunchError)

F = TypeVar("F", bound=Callable[..., Any])


def without_internals(method: F) -> F:
    """Raise mistakes of the user's from here, without the frames below."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except MISTAKES as error:
            raise error.with_traceback(None) from None

    return cast(F, call)
