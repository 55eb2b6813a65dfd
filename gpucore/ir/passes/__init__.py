"""Passes: functions from module to module, from what a user means to what a device does."""

from gpucore.ir.passes.checks import RECORD_WORDS, Site, checks, decode
from gpucore.ir.passes.lower import Library, Lowered, LowerOptions, link, lower

__all__ = ["RECORD_WORDS", "Library", "LowerOptions", "Lowered", "Site", "checks", "decode", "link", "lower"]
