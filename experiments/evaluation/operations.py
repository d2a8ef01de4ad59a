"""Count the arithmetic operations of a program from its jaxpr, the same on every machine and with every version of XLA.

A multiply-add of a matrix product or a convolution counts as two operations, and none where a convolution multiplies
the zeros of its padding. Elsewhere each result of arithmetic counts as one operation, and a reduction as one for each
number that it reads. Comparisons, gathers, copies and random bits count as none.
"""

import math
from typing import Any

import numpy as np
from jax.extend.core import jaxprs_in_params

# fmt: off
# Primitives whose results cost one operation each, by name.
ARITHMETIC = frozenset((
    "abs", "acos", "add", "add_any", "asin", "atan", "atan2", "cbrt", "ceil", "clamp", "cos", "cosh", "cumlogsumexp",
    "cummax", "cummin", "cumprod", "cumsum", "digamma", "div", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1",
    "floor", "integer_pow", "lgamma", "log", "log1p", "logistic", "max", "min", "mul", "neg", "pow", "rem", "round",
    "rsqrt", "sign", "sin", "sinh", "sqrt", "square", "sub", "tan", "tanh",
))
REDUCTIONS = frozenset(("argmax", "argmin", "reduce_max", "reduce_min", "reduce_prod", "reduce_sum"))
# fmt: on


def count_operations(jitted: Any, *args: Any) -> int:
    """Return the number of operations of one call of a jitted function.

    A loop of known length counts with all its steps, another one with one step. Of branches the cheapest counts, which
    of code that depends on the platform is the one for accelerators: on a CPU it multiplies the padding too.

    Args:
      jitted: the function.
      args: its arguments, or their shapes.
    """
    return _count(jitted.trace(*args).jaxpr.jaxpr)


def _count(jaxpr: Any) -> int:
    return sum(map(_count_equation, jaxpr.eqns))


def _count_equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        terms = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        return 2 * terms * equation.outvars[0].aval.size
    if name == "conv_general_dilated":
        return _count_convolution(equation)
    if name in ARITHMETIC:
        return equation.outvars[0].aval.size
    if name in REDUCTIONS:
        return equation.invars[0].aval.size
    inner = [_count(getattr(jaxpr, "jaxpr", jaxpr)) for jaxpr in jaxprs_in_params(params)]
    if name == "cond":
        return min(inner)
    return sum(inner) * (params["length"] if name == "scan" else 1)


def _count_convolution(equation: Any) -> int:
    params = equation.params
    images, kernel, maps = (variable.aval.shape for variable in (*equation.invars, *equation.outvars))
    numbers = params["dimension_numbers"]
    products = maps[numbers.out_spec[0]] * maps[numbers.out_spec[1]] * kernel[numbers.rhs_spec[1]]
    for axis, (stride, (before, _), spread, gaps) in enumerate(
        zip(params["window_strides"], params["padding"], params["lhs_dilation"], params["rhs_dilation"], strict=True), 2
    ):
        outputs, taps = np.arange(maps[numbers.out_spec[axis]]), np.arange(kernel[numbers.rhs_spec[axis]])
        place = outputs[:, None] * stride + taps * gaps - before
        inside = (place >= 0) & (place < images[numbers.lhs_spec[axis]] * spread) & (place % spread == 0)
        products *= int(inside.sum())
    return 2 * products
