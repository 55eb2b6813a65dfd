"""Receipts: what was asked, what was answered, and digests of the logits, which anyone may compute anew on another device.

The chain begins with a digest of all that was asked. Each step's digest is SHA-256 over the last digest and the bytes of its
logits (f32, little-endian), so that a receipt can be checked from any step on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gpucore_worker.errors import InferenceError, ParameterError
from gpucore_worker.inference import Text
from gpucore_worker.model import Model
from gpucore_worker.network import Mode
from gpucore_worker.sampling import Sampler, Sampling

FORMAT = "gpucore-receipt-1"


class ReceiptError(InferenceError):
    """What a receipt says is not what was computed.

    Attributes
    ----------
    step : int | None
        The token at which it was found, from 0 on; None for what comes before the first.
    """

    def __init__(self, message: str = "", *, step: int | None = None) -> None:
        super().__init__(message)
        self.step = step


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class Receipt:
    """What was asked of a model, and what it answered.

    Attributes
    ----------
    model : str
        SHA-256 of its file.
    mode : str
    prompt : str
    prompt_tokens : list[int]
    max_tokens : int
    sampling : Sampling
    stop : list[str]
        Strings that end the text.
    tokens : list[int]
        The answer.
    digests : list[str]
        One a step: one for each token, and one for the step at which a token ended the text.
    finish : str
        Why it ended.
    path : str
        Where the model's file was; only the digest says which one it is.
    """

    model: str
    mode: Mode
    prompt: str
    prompt_tokens: list[int]
    max_tokens: int
    sampling: Sampling
    stop: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    finish: str = ""
    path: str = ""

    @classmethod
    def begin(
        cls, model: Model, prompt: str, max_tokens: int, sampling: Sampling, stop: Sequence[str] = ()
    ) -> Self:
        """The receipt of an inference that is about to start; give its :meth:`record` to it."""
        made = cls(
            file_digest(model.path),
            model.mode,
            prompt,
            model.prompt_tokens(prompt),
            max_tokens,
            sampling,
            list(stop),
        )
        made.path = str(model.path.resolve())
        return made

    def first_digest(self) -> str:
        """Of all that was asked."""
        asked = [
            FORMAT,
            self.model,
            self.mode,
            self.prompt,
            self.prompt_tokens,
            self.max_tokens,
            asdict(self.sampling),
            self.stop,
        ]
        return hashlib.sha256(json.dumps(asked, separators=(",", ":")).encode()).hexdigest()

    def digest(self, step: int, logits: npt.NDArray[np.float32]) -> str:
        """Of a step, after the one that is written for the step before."""
        before = self.digests[step - 1] if step else self.first_digest()
        return hashlib.sha256(bytes.fromhex(before) + logits.astype("<f4").tobytes()).hexdigest()

    def record(self, logits: npt.NDArray[np.float32]) -> None:
        """Add a step."""
        self.digests.append(self.digest(len(self.digests), logits))

    # --- files
    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read one.

        Raises
        ------
        ParameterError
            It is no receipt; the message says what is wrong.
        """
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ParameterError(f"{path}: no receipt: {error}") from error
        if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
            raise ParameterError(f"{path}: no receipt of the format {FORMAT!r}")
        try:
            made = cls(**{**found, "sampling": Sampling(**found["sampling"])})
        except (KeyError, TypeError) as error:
            raise ParameterError(f"{path}: the receipt is not whole: {error}") from error
        made._check(path)
        return made

    def _check(self, path: Path) -> None:
        def refuse(what: str) -> None:
            raise ParameterError(f"{path}: {what}")

        def are(values: object, kind: type) -> bool:
            return isinstance(values, list) and all(type(value) is kind for value in values)

        for name in ("model", "mode", "prompt", "finish", "path"):
            if not isinstance(getattr(self, name), str):
                refuse(f"{name!r} is no string")
        if self.finish not in ("stop", "length", "cancelled"):
            refuse(f"it ended by {self.finish!r}; 'stop', 'length' and 'cancelled' are known")
        if not are(self.prompt_tokens, int) or not are(self.tokens, int) or not self.prompt_tokens:
            refuse("tokens are no lists of whole numbers")
        if not are(self.stop, str) or not all(self.stop):
            refuse("'stop' is no list of strings that are not empty")
        if type(self.max_tokens) is not int:
            refuse("'max_tokens' is no whole number")
        if not are(self.digests, str) or any(not _is_digest(d) for d in self.digests):
            refuse("digests are no list of SHA-256")
        if self.mode not in ("exact", "quick"):
            refuse(f"the mode {self.mode!r} is not supported; 'exact' and 'quick' are")
        steps = len(self.tokens) + (self.finish == "stop" and len(self.digests) > len(self.tokens))
        if len(self.digests) != steps or not steps:
            refuse(f"{len(self.digests)} digests for {len(self.tokens)} tokens that ended by {self.finish!r}")


def _is_digest(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == 32
    except ValueError:
        return False


def _check_end(receipt: Receipt, model: Model) -> None:
    """Compare why a receipt's answer ended with the answer; what a token ended is seen when it is computed."""
    text = Text(model.vocabulary, receipt.stop)
    last = len(receipt.tokens) - 1
    by_token = len(receipt.digests) > len(receipt.tokens)
    for step, token in enumerate(receipt.tokens):
        text.add(token)
        if text.stopped and (step < last or by_token or receipt.finish != "stop"):
            raise ReceiptError(f"step {step}: a stop string ends the text here", step=step)
    if receipt.finish == "stop" and not by_token and not text.stopped:
        raise ReceiptError(f"step {last}: the text does not end here", step=last)
    if receipt.finish == "length" and len(receipt.tokens) != receipt.max_tokens:
        raise ReceiptError(
            f"{len(receipt.tokens)} tokens cannot have ended by their number: {receipt.max_tokens} were asked for"
        )


def verify(
    receipt: Receipt,
    model: Model,
    *,
    steps: Iterable[int] | None = None,
    progress: Callable[[int], Any] | None = None,
) -> int:
    """Compute anew what a receipt says.

    Parameters
    ----------
    receipt : Receipt
    model : Model
        On whatever device.
    steps : iterable of int, optional
        Which tokens, from 0 on; all by default.
    progress : callable, optional
        Is told each step that was right.

    Returns
    -------
    int
        How many steps were right.

    Raises
    ------
    ReceiptError
        Names the step at which something is not as the receipt says.
    """
    if file_digest(model.path) != receipt.model:
        raise ReceiptError(f"{model.path} is not the file of the receipt: their SHA-256 differ")
    if model.mode != receipt.mode:
        raise ParameterError(
            f"the receipt is of the mode {receipt.mode!r}, the model was loaded in {model.mode!r}"
        )
    if model.prompt_tokens(receipt.prompt) != receipt.prompt_tokens:
        raise ReceiptError("the prompt's tokens in the receipt are not those of its text")
    count = len(receipt.digests)
    chosen = sorted(set(range(count) if steps is None else steps))
    if not chosen or chosen[0] < 0 or chosen[-1] >= count:
        raise ParameterError(f"steps {chosen} were asked for; the receipt has steps 0 to {count - 1}")
    network = model.network
    size = network.architecture.vocabulary
    if not all(0 <= token < size for token in receipt.prompt_tokens + receipt.tokens):
        raise ReceiptError("the receipt has a token that the model has not")
    _check_end(receipt, model)
    sampler = Sampler(network.context, receipt.sampling, network.architecture.vocabulary)
    cache = network.new_cache()
    text = np.asarray(receipt.prompt_tokens + receipt.tokens, np.int32)
    try:
        for step in chosen:
            known = text[: len(receipt.prompt_tokens) + step]
            logits = network.advance(cache, known[cache.length :])[-1]
            if receipt.digest(step, logits) != receipt.digests[step]:
                raise ReceiptError(f"step {step}: the logits are not those of the receipt", step=step)
            token = sampler.choose(logits, step, known)
            if step < len(receipt.tokens):
                if token != receipt.tokens[step]:
                    raise ReceiptError(
                        f"step {step}: token {token} follows, the receipt has {receipt.tokens[step]}",
                        step=step,
                    )
            elif token not in model.vocabulary.ends:
                raise ReceiptError(f"step {step}: the text does not end here", step=step)
            if progress is not None:
                progress(step)
    finally:
        cache.free()
        sampler.free()
    return len(chosen)
