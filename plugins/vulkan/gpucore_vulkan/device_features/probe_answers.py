"""What probing found of a device."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from gpucore.hookspecs import Target

__all__ = ["ProbeAnswers"]


@dataclass(frozen=True)
class ProbeAnswers:
    """What probing found of a device.

    Attributes
    ----------
    native : frozenset[str]
        Operation keys that are exact beyond the baseline.
    features : frozenset[str]
        The target's features: float controls to ask for and work-arounds for the driver's faults.
    wrong : tuple[str, ...]
        Keys of the baseline that are not exact, hence the lack of ``strict``.
    inexact_atomics : frozenset[str]
        Float atomics that lose bits (NVIDIA's flush denormals in global memory); core builds them of
        compare-and-swap instead.
    subgroups : bool
        Whether lanes are consecutive threads, as the language requires.
    loop_limit : int | None
        The iterations after which the driver ends a thread's loops without an error.
    """

    native: frozenset[str]
    features: frozenset[str]
    wrong: tuple[str, ...]
    inexact_atomics: frozenset[str]
    subgroups: bool
    loop_limit: int | None

    def target(self, advertised: Target) -> Target:
        """The target with what was proven."""
        return dataclasses.replace(
            advertised, native=advertised.native | self.native, features=self.features,
            atomics=advertised.atomics - self.inexact_atomics, loop_limit=self.loop_limit,
        )  # fmt: skip

    def to_json(self) -> bytes:
        """As text for a file."""
        fields = dataclasses.asdict(self)
        return json.dumps(
            {k: sorted(v) if isinstance(v, frozenset) else v for k, v in fields.items()}
        ).encode()

    @classmethod
    def from_json(cls, text: bytes) -> ProbeAnswers:
        """From the text of a file."""
        data = json.loads(text)
        return cls(
            frozenset(data["native"]), frozenset(data["features"]), tuple(data["wrong"]),
            frozenset(data["inexact_atomics"]), data["subgroups"], data["loop_limit"],
        )  # fmt: skip
