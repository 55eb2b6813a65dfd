"""The one version of gpucore and of its own plugins, which are released in lockstep."""

__version__ = "0.1.0"
