"""``gpucore generate``."""

from __future__ import annotations

import time

import click


@click.command()
@click.argument("model")
@click.argument("prompt")
@click.option("--max-tokens", "-n", type=click.IntRange(1), default=128, show_default=True)
@click.option(
    "--temperature",
    "-t",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="0: the likeliest token.",
)
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True)
@click.option("--stop", multiple=True, metavar="TEXT", help="Ends the answer; may be repeated.")
@click.option("--backend", "-b", default=None, help="A selector, as in GPUCORE_BACKEND.")
def generate(
    model: str,
    prompt: str,
    max_tokens: int,
    temperature: float,
    seed: int,
    stop: tuple[str, ...],
    backend: str | None,
) -> None:
    """Continue PROMPT with MODEL: the path of a GGUF file, or the name of an installed distribution that brings one.

    The text goes to stdout as it comes, figures to stderr.
    """
    from gpucore_worker.find import find_model
    from gpucore_worker.inference import Text, stream
    from gpucore_worker.model import load_model
    from gpucore_worker.sampling import Sampling

    begin = time.perf_counter()
    with load_model(find_model(model), backend) as loaded:
        ready = time.perf_counter()
        text = Text(loaded.vocabulary, stop)
        inference = loaded.start(prompt, max_tokens, Sampling(temperature, seed))
        first: float | None = None
        for piece in stream(inference, text):
            first = first or time.perf_counter()
            click.echo(piece, nl=False)
        click.echo()
        end = time.perf_counter()
        count = len(inference.tokens)
        rate = f", {(count - 1) / (end - first):.1f} tokens/s" if first is not None and count > 1 else ""
        click.echo(
            f"{loaded.context.device.name}: loaded in {ready - begin:.1f} s, first text after {(first or end) - ready:.1f} s, "
            f"{count} tokens{rate}, ended by {inference.finish}",
            err=True,
        )
