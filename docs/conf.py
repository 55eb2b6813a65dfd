"""How Sphinx builds the pages, the gallery and the notebooks; ``tox -e docs`` runs it with pinned versions."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path
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

# pictures are drawn to files, and the examples run on the device that every reader has
os.environ["MPLBACKEND"] = "agg"
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
autodoc_typehints = "none"  # types are in the signatures, in full
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


def read_page(app: Sphinx, name: str, source: list[str]) -> None:
    """Links to files outside of this folder go to their pages here; the start page lists every page that no other lists."""
    for path, page in ELSEWHERE.items():
        source[0] = re.sub(
            rf"\]\((?:\.\./)*{re.escape(path)}", f"]({'../' * name.count('/')}{page}", source[0]
        )
    if name == "index":
        listed = "\n".join(page.read_text("utf-8") for page in (DOCS / "index.md", *DOCS.glob("*/index.md")))
        others = sorted(page.stem for page in DOCS.glob("*.md") if page.stem != "index")
        missing = [
            page for page in others if not re.search(rf"^(\.\./)?{re.escape(page)}$", listed, re.MULTILINE)
        ]
        source[0] = source[0].replace("<other pages>", "\n".join(missing))


def setup(app: Sphinx) -> None:
    app.connect("source-read", read_page)
