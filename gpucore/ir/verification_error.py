"""What the verifier raises."""

from __future__ import annotations

from gpucore.errors import GpucoreError

__all__ = ["VerificationError"]


class VerificationError(GpucoreError):
    """A module breaks a rule of the IR: a mistake of a pass or of the front end, not of a kernel's author.

    Attributes
    ----------
    function : str
        The function's name.
    statement : str | None
        As text, or None where the rule is about a declaration.
    rule : str
    """

    def __init__(self, rule: str = "", *, function: str = "", statement: str | None = None) -> None:
        where = f"@{function}: " if function else ""
        what = f"`{statement}`: " if statement else ""
        super().__init__(f"{where}{what}{rule}")
        self.function = function
        self.statement = statement
        self.rule = rule

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.rule, self.function, self.statement))


def _rebuild(rule: str, function: str, statement: str | None) -> VerificationError:
    return VerificationError(rule, function=function, statement=statement)
