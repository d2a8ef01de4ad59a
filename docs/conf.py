"""Settings of the documentation, which Sphinx reads: ``make docs``. It needs no network."""

import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

import generate_reference  # noqa: E402

project = "Hard visual attention in JAX"
author = "The hard-attention maintainers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml_equations"]
exclude_patterns = ["_build", "**.jinja"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["equations.css"]
html_title = project
html_show_copyright = False
html_math_renderer = "mathml"
# Flags keep their two dashes.
smartquotes = False

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
# Names in docstrings are short, and some mean several things.
suppress_warnings = ["ref.python"]

# A name in single backticks links to its entry, if it has one.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
# Not needed to build the documentation.
autodoc_mock_imports = ["ray"]
napoleon_numpy_docstring = False
# Signatures have the types already.
napoleon_attr_annotations = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 100

generate_reference.write(DOCS)


def escape_docstring(app, what, name, obj, options, lines):
    """Escape what docstrings mean literally and reStructuredText does not: ``a * b``, ``|d|``, ``name_``."""
    for index, line in enumerate(lines):
        pieces = re.split(r"(``.*?``|`.*?`)", line)
        lines[index] = "".join(
            piece if piece.startswith("`") else re.sub(r"([*|]|(?<=\w)_(?=\W|$))", r"\\\1", piece) for piece in pieces
        )


def shorten_types(app, what, name, obj, options, signature, return_annotation):
    """Name arrays ``Array``, as the code does, and not by the class that implements them."""
    return tuple(part and re.sub(r"(jax\.)?jaxlib\._jax\.", "", part) for part in (signature, return_annotation))


def point_to_results(app, docname, source):
    """Point links to `results/`, which lies beside `docs/`, to its copy in the site."""
    up = "../" * docname.count("/")
    source[0] = source[0].replace(f"](../{up}results/", f"]({up}results/")


def skip_named_tuple_fields(app, what, name, obj, skip, options):
    """Leave out the fields of named tuples: their classes' docstrings describe them."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app):
    """Register the hooks."""
    app.connect("autodoc-process-docstring", escape_docstring, priority=400)
    app.connect("autodoc-process-signature", shorten_types)
    app.connect("source-read", point_to_results)
    app.connect("autodoc-skip-member", skip_named_tuple_fields)
