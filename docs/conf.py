"""How Sphinx builds the pages, the gallery and the notebooks; ``tox -e docs`` runs it with pinned versions."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).parent
# pages whose address is not theirs here: outside of this folder, where Sphinx does not look
ELSEWHERE = {
    "../CONTRIBUTING.md": "contributing.md",
    "../CHANGELOG.md": "changelog.md",
    "../README.md": "index.md",
}

# sphinx-gallery draws to files by itself; a backend named here would keep notebooks from showing their pictures
os.environ.pop("MPLBACKEND", None)
# the examples run on the device that every reader has
os.environ.setdefault("GPUCORE_BACKEND", "cpu")

project = "gpucore"
author = "The gpucore authors"
copyright = author
release = runpy.run_path(str(DOCS.parent / "gpucore" / "_version.py"))["__version__"]
version = release

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = [
    "_build",
    "jupyter_execute",
    "measured",
    "**/GALLERY_HEADER.rst",
    "gallery/**.ipynb",
    "gallery/**.json",
    "gallery/**.zip",
]


# --- pages -------------------------------------------------------------------------------------------
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_execution_show_tb = True
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True

# --- API reference -----------------------------------------------------------------------------------
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say them, with shapes and units
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 96
python_use_unqualified_type_names = True
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False
intersphinx_mapping: dict[str, tuple[str, None]] = {}

# --- gallery -----------------------------------------------------------------------------------------
sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "subsection_order": [
        f"../examples/gallery/{part}"
        for part in ("mathematics", "images", "data", "simulation", "streams", "devices")
    ],
    "filename_pattern": r"\.py$",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "notebook_images": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "min_reported_time": 60,
    "image_srcset": ["2x"],
    "plot_gallery": "True",
    "write_computation_times": False,
    "copyfile_regex": "",
}

# --- looks -------------------------------------------------------------------------------------------
html_theme = "furo"
html_title = f"gpucore {release}"
html_static_path = ["_static"]
html_css_files = ["gpucore.css"]
html_show_sourcelink = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
html_theme_options = {
    "top_of_page_buttons": [],
    "light_css_variables": {
        "color-brand-primary": "#0b6e63",
        "color-brand-content": "#0b6e63",
        "color-brand-visited": "#0b6e63",
    },
    "dark_css_variables": {
        "color-brand-primary": "#4fd1b5",
        "color-brand-content": "#4fd1b5",
        "color-brand-visited": "#4fd1b5",
    },
}

linkcheck_timeout = 20


def unlisted_pages() -> str:
    """The pages of this folder that no list of pages names."""
    listed = "\n".join(page.read_text("utf-8") for page in (DOCS / "index.md", *DOCS.glob("*/index.md")))
    names = sorted(page.stem for page in DOCS.glob("*.md") if page.stem != "index")
    return "\n".join(
        name for name in names if not re.search(rf"^(\.\./)?{re.escape(name)}$", listed, re.MULTILINE)
    )


def unlisted_names(in_kernels: bool) -> str:
    """Directives for the public names that no page of the reference has, words of the kernel language or others."""
    import gpucore

    listed = "\n".join(page.read_text("utf-8") for page in DOCS.glob("api/*.rst"))
    directives = []
    for name in gpucore.__all__:
        value = getattr(gpucore, name)
        word = getattr(value, "__module__", "") == "gpucore.lang.builtins"
        kind = "autoclass" if isinstance(value, type) else "autofunction"
        skipped = name.startswith("_") or not callable(value) or issubclass(type(value), ModuleType)
        error = isinstance(value, type) and issubclass(value, Exception)  # these have a page as a module
        if word is in_kernels and not skipped and not error and not re.search(rf"\b{name}\b", listed):
            directives.append(f".. {kind}:: gpucore.{name}\n" + "   :members:\n" * (kind == "autoclass"))
    return "\n".join(directives)


def read_page(app: Sphinx, name: str, source: list[str]) -> None:
    """Links to files outside of this folder go to their pages here; what is new has a place from the first day."""
    for path, page in ELSEWHERE.items():
        source[0] = re.sub(
            rf"\]\((?:\.\./)*{re.escape(path)}", f"]({'../' * name.count('/')}{page}", source[0]
        )
    if name == "index":
        source[0] = source[0].replace("<other pages>", unlisted_pages())
    elif name == "api/in_kernels":
        source[0] += "\n" + unlisted_names(in_kernels=True)
    elif name == "api/kernels":
        source[0] += "\n" + unlisted_names(in_kernels=False)


def forget_devices(app: Sphinx) -> None:
    """Programs of the gallery show the CPU as four devices; notebooks, which run after them, show what a reader has."""
    os.environ.pop("GPUCORE_CPU_DEVICES", None)


def setup(app: Sphinx) -> None:
    app.connect("source-read", read_page)
    app.connect("builder-inited", forget_devices, priority=900)  # after the gallery ran
