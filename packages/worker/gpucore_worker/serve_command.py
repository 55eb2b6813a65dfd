"""``gpucore serve``."""

from __future__ import annotations

import contextlib
import ipaddress
import signal
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gpucore_worker.network import Mode


def is_local(host: str) -> bool:
    """Whether only this machine reaches a server there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@click.command()
@click.argument("model")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Anything but this machine wants an API key."
)
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True)
@click.option(
    "--api-key",
    envvar="GPUCORE_WORKER_API_KEY",
    default=None,
    help="What requests must carry.",
    show_envvar=True,
)
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME[:PORT]",
    help="What requests without an API key may name as Host beside this machine. Several times for several.",
)
@click.option("--name", default=None, help="The model's name in requests (default: its file's).")
@click.option(
    "--queue",
    type=click.IntRange(0),
    default=8,
    show_default=True,
    help="Requests that may wait; more get 429.",
)
@click.option(
    "--max-tokens",
    "-n",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="The most of an answer.",
)
@click.option(
    "--mode",
    type=click.Choice(["exact", "quick"]),
    default="exact",
    show_default=True,
    help="quick: activations of 8 bits.",
)
@click.option(
    "--chat-template",
    default=None,
    metavar="NAME",
    help="In place of the file's own: chatml, gemma, or a file in Jinja.",
)
@click.option("--backend", "-b", default=None, help="A selector, as in GPUCORE_BACKEND.")
def serve(
    model: str,
    host: str,
    port: int,
    api_key: str | None,
    allow_host: tuple[str, ...],
    name: str | None,
    queue: int,
    max_tokens: int,
    mode: Mode,
    backend: str | None,
    chat_template: str | None,
) -> None:
    """Serve MODEL over HTTP by OpenAI's protocol: /v1/models, /v1/completions, /v1/chat/completions, /health, /metrics.

    Requests are answered in turn. Ctrl-C or SIGTERM ends it when the answers that were asked for are done, within 30 seconds; a
    second one at once.
    """
    if not is_local(host) and not api_key:
        raise click.UsageError(f"{host} can be reached by others: give --api-key, or serve on 127.0.0.1")
    try:
        import uvicorn

        from gpucore_worker.ending import EndingServer
        from gpucore_worker.server import Limits, Server
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"'gpucore serve' wants {error.name}: pip install 'gpucore-worker[serve]' "
            "(in a checkout: pip install -e 'packages/worker[serve]')"
        ) from error
    from gpucore_worker.chat import use_template
    from gpucore_worker.find import find_model
    from gpucore_worker.model import load_model

    with load_model(find_model(model), backend, mode=mode) as loaded:
        if chat_template is not None:
            use_template(loaded.vocabulary, chat_template)
        server = Server(
            loaded,
            name or loaded.path.stem,
            api_key=api_key or None,
            limits=Limits(queue=queue, max_tokens=max_tokens),
            # 127.0.0.2 is this machine, too
            hosts=(*allow_host, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"),
        )
        # uvicorn ends its work at the signal and then raises it again, which by default would end the process before the model
        # is closed, and with an error
        before = signal.signal(signal.SIGTERM, lambda number, frame: None)
        try:
            running = EndingServer(
                uvicorn.Config(
                    server.app(), host=host, port=port, log_level="info", timeout_graceful_shutdown=30
                )
            )
            # Ctrl-C, which uvicorn raises again at its end
            with contextlib.suppress(KeyboardInterrupt):
                running.run()
            if not running.started:
                raise SystemExit(1)
        finally:
            signal.signal(signal.SIGTERM, before)
