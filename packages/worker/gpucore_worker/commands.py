"""``gpucore generate``, ``gpucore chat``, ``gpucore verify``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from gpucore_worker.inference import Inference, Text
    from gpucore_worker.network import Mode

F = TypeVar("F", bound=Callable[..., Any])
_ENDS = {
    "stop": "the answer ends there",
    "length": "the answer has as many tokens as were asked for",
    "cancelled": "the answer was cancelled: what would have followed is not known",
}
"""How an answer ended, as its receipt says."""


def _options(function: F) -> F:
    """The options of commands that write text."""
    for option in reversed(
        (
            click.option("--max-tokens", "-n", type=click.IntRange(1), default=128, show_default=True),
            click.option("--temperature", "-t", type=click.FloatRange(0), default=0.0, show_default=True,
                         help="0: the likeliest token."),
            click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True),
            click.option("--top-k", type=click.IntRange(0), default=0, help="Draw among that many of the likeliest."),
            click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0,
                         help="Draw among the likeliest that together have this chance."),
            click.option("--min-p", type=click.FloatRange(0, 1), default=0.0,
                         help="Draw among those with this share of the largest chance."),
            click.option("--repetition-penalty", type=click.FloatRange(0, 10, min_open=True), default=1.0,
                         help="Above 1: fewer repetitions."),
            click.option("--stop", multiple=True, metavar="TEXT", help="Ends the answer; may be repeated."),
            click.option("--mode", type=click.Choice(["exact", "quick"]), default="exact", show_default=True,
                         help="quick: activations of 8 bits."),
            click.option("--backend", "-b", default=None, help="A selector, as in GPUCORE_BACKEND."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


class _Clock:
    """Times of an answer."""

    def __init__(self) -> None:
        self.begin = time.perf_counter()
        self.first: float | None = None

    def show(self, pieces: Iterator[str]) -> str:
        """Write pieces as they come; the whole text."""
        found: list[str] = []
        for piece in pieces:
            self.first = self.first or time.perf_counter()
            click.echo(piece, nl=False)
            found.append(piece)
        click.echo()
        return "".join(found)

    def figures(self, inference: Inference) -> str:
        """What is said at the end."""
        end = time.perf_counter()
        count = len(inference.tokens)
        first = self.first or end
        rate = f", {(count - 1) / (end - first):.1f} tokens/s" if count > 1 and end > first else ""
        return (
            f"first text after {first - self.begin:.1f} s, {count} tokens{rate}, ended by {inference.finish}"
        )


def _stream(inference: Inference, text: Text) -> Iterator[str]:
    from gpucore_worker.inference import stream

    return stream(inference, text)


@click.command()
@click.argument("model")
@click.argument("prompt")
@_options
@click.option(
    "--receipt",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a receipt for 'gpucore verify'.",
)
def generate(
    model: str, prompt: str, max_tokens: int, temperature: float, seed: int, top_k: int, top_p: float, min_p: float,
    repetition_penalty: float, stop: tuple[str, ...], mode: Mode, backend: str | None, receipt: Path | None,
) -> None:  # fmt: skip
    """Continue PROMPT with MODEL: the path of a GGUF file, or the name of an installed distribution that brings one.

    The text goes to stdout as it comes, figures to stderr.
    """
    from gpucore_worker.find import find_model
    from gpucore_worker.inference import Text
    from gpucore_worker.model import load_model
    from gpucore_worker.receipts import Receipt
    from gpucore_worker.sampling import Sampling

    begin = time.perf_counter()
    sampling = Sampling(temperature, seed, top_k, top_p, min_p, repetition_penalty)
    if receipt is not None and not receipt.absolute().parent.is_dir():
        # before there is an answer, whose receipt would be lost
        raise click.BadParameter(f"there is no folder {receipt.parent}", param_hint="--receipt")
    with load_model(find_model(model), backend, mode=mode) as loaded:
        text = Text(loaded.vocabulary, stop)
        record = Receipt.begin(loaded, prompt, max_tokens, sampling, stop) if receipt is not None else None
        clock = _Clock()
        inference = loaded.start(
            prompt, max_tokens, sampling, observe=record.record if record is not None else None
        )
        clock.show(_stream(inference, text))
        if record is not None and receipt is not None:
            record.tokens, record.finish = inference.tokens, inference.finish or ""
            record.save(receipt)
        click.echo(
            f"{loaded.context.device.name}: loaded in {clock.begin - begin:.1f} s, {clock.figures(inference)}",
            err=True,
        )


@click.command()
@click.argument("model")
@_options
@click.option(
    "--chat-template",
    default=None,
    metavar="NAME",
    help="In place of the file's own: chatml, gemma, or a file in Jinja.",
)
@click.option(
    "--system", default=None, metavar="TEXT", help="A message of the role 'system' before all others."
)
def chat(
    model: str, max_tokens: int, temperature: float, seed: int, top_k: int, top_p: float, min_p: float,
    repetition_penalty: float, stop: tuple[str, ...], mode: Mode, backend: str | None, system: str | None,
    chat_template: str | None,
) -> None:  # fmt: skip
    """Talk with MODEL, a line at a time; an empty line or the end of the input ends it.

    MODEL is the path of a GGUF file, or the name of an installed distribution that brings one. The file's own chat template is
    used, unless another is given.
    """
    from gpucore_worker.chat import use_template
    from gpucore_worker.find import find_model
    from gpucore_worker.inference import Text
    from gpucore_worker.model import load_model
    from gpucore_worker.sampling import Sampling

    sampling = Sampling(temperature, seed, top_k, top_p, min_p, repetition_penalty)
    with load_model(find_model(model), backend, mode=mode) as loaded:
        if chat_template is not None:
            use_template(loaded.vocabulary, chat_template)
        messages = [{"role": "system", "content": system}] if system is not None else []
        if loaded.vocabulary.chat_template is None:
            # before the user has written anything
            loaded.chat_prompt(messages)
        while True:
            try:
                line = click.prompt("you", prompt_suffix="> ", default="", show_default=False)
            except click.Abort:
                click.echo()
                return
            if not line.strip():
                return
            messages.append({"role": "user", "content": line})
            clock = _Clock()
            inference = loaded.start(loaded.chat_prompt(messages), max_tokens, sampling)
            answer = clock.show(_stream(inference, Text(loaded.vocabulary, stop)))
            messages.append({"role": "assistant", "content": answer})
            click.echo(f"[{clock.figures(inference)}]", err=True)


@click.command()
@click.argument("receipt", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--model",
    "-m",
    default=None,
    help="Its file, or a distribution that brings it (default: the receipt's path).",
)
@click.option("--step", "steps", type=click.IntRange(0), multiple=True, help="Which tokens (default: all).")
@click.option("--backend", "-b", default=None, help="A selector, as in GPUCORE_BACKEND.")
def verify(receipt: Path, model: str | None, steps: tuple[int, ...], backend: str | None) -> None:
    """Compute anew what RECEIPT says, on any device.  Exit status 1, and the step, where it is not so."""
    from gpucore_worker.find import find_model
    from gpucore_worker.model import load_model
    from gpucore_worker.receipts import Receipt
    from gpucore_worker.receipts import verify as check

    found = Receipt.load(receipt)
    with load_model(find_model(found.path if model is None else model), backend, mode=found.mode) as loaded:
        count = check(found, loaded, steps=steps or None)
        click.echo(
            f"{count} of {len(found.digests)} steps are right, bit for bit, on {loaded.context.device.name}; "
            f"{_ENDS[found.finish]}"
        )
