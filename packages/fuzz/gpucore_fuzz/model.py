"""What a generator of programs offers to the command, and what it says of a program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Generator", "Outcome", "Runner", "Verdict"]

Outcome = Literal["right", "wrong", "refused", "hung"]


@dataclass(frozen=True)
class Verdict:
    """What came of the program of one seed.

    Attributes
    ----------
    seed : int
    outcome : str
        ``refused`` where the device cannot do the program and said so, ``hung`` where there was no answer in time.
    digest : str
        Of every bit of the results, NaNs canonical; empty where there are none.
    text : str
        What was found and how to see it again, for programs that are wrong.
    """

    seed: int
    outcome: Outcome
    digest: str = ""
    text: str = ""


class Runner(Protocol):
    """An open target."""

    @property
    def where(self) -> tuple[str, str]:
        """The name of the backend, and of its device."""

    def run(self, seed: int) -> Verdict:
        """Make the program of a seed, run it, compare."""

    def smaller(self, verdict: Verdict) -> Verdict:
        """The verdict of a program that was wrong, told by a smaller program.  This takes long, so it comes later."""

    def close(self) -> None:
        """Release the device."""


class Generator(Protocol):
    """A way to make programs from seeds."""

    @property
    def summary(self) -> str:
        """One line for the help text."""

    def text(self, seed: int) -> str:
        """The program of a seed, to read."""

    def check(self, target: str | None, checked: bool) -> None:
        """Raise ``click.ClickException`` for what :meth:`open` cannot take."""

    def open(self, target: str | None, *, checked: bool) -> Runner:
        """Open a target: a selector of a backend, or ``interpreter`` where the generator's reference is another.

        Parameters
        ----------
        checked : bool
            Every launch in checked mode.
        """
