"""Configuration of the documentation site: ``make docs``. It builds without the network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import generate_reference

project = "Hard visual attention in JAX"
author = "The hard-attention maintainers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
html_theme = "alabaster"
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": False}
autodoc_typehints = "signature"
# Links to files of the repository that are no pages, such as sources and results; a test checks that the files exist.
suppress_warnings = ["myst.xref_missing", "ref.python", "docutils"]

generate_reference.write(Path(__file__).parent / "reference")
