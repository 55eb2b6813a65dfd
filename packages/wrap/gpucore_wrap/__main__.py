"""`python -m gpucore_wrap`: the command without gpucore's command line."""

from gpucore_wrap.cli import wrap

if __name__ == "__main__":
    wrap(prog_name="python -m gpucore_wrap")
