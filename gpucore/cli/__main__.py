"""``python -m gpucore.cli``."""

from gpucore.cli import main

main()
