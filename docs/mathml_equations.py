"""Equations as MathML, which browsers show by themselves: no script and no network is needed."""

from docutils import nodes
from latex2mathml.converter import convert


def visit_inline(self, node):
    """Write an equation within a line."""
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def visit_block(self, node):
    """Write an equation of its own line."""
    # GitHub knows `aligned` and the converter `align*`. The padding keeps scroll bars away from tall equations.
    equation = node.astext().strip().replace("{aligned}", "{align*}")
    self.body.append(self.starttag(node, "div", CLASS="equation", style="padding: 0.4em 0"))
    self.body.append(convert(equation, display="block"))
    self.body.append("</div>")
    raise nodes.SkipNode


def setup(app):
    """Register the renderer under the name ``mathml``."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
