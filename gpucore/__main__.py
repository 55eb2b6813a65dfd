"""``python -m gpucore`` is the ``gpucore`` command."""

from gpucore.cli import main

main()
