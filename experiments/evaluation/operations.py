"""Count the arithmetic operations of a program from its jaxpr, whatever the device and XLA make of it.

A multiply-add of a matrix product or a convolution counts as two operations, and none where a convolution multiplies
the zeros of its padding. Elsewhere each result of arithmetic, of integers too, counts as one operation, and a reduction
as one for each number that it reads. Comparisons, gathers, sorts, copies and random bits count as none.
"""

import math
from typing import Any

import numpy as np
from jax.extend.core import jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr

# fmt: off
# Primitives whose results cost one operation each, by name.
ARITHMETIC = frozenset((
    "abs", "acos", "acosh", "add", "add_any", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "clamp", "cos",
    "cosh", "cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum", "digamma", "div", "erf", "erf_inv", "erfc", "exp",
    "exp2", "expm1", "floor", "integer_pow", "lgamma", "log", "log1p", "logistic", "max", "min", "mul", "neg", "pow",
    "rem", "round", "rsqrt", "sign", "sin", "sinh", "sqrt", "square", "sub", "tan", "tanh",
))
# Primitives that cost one operation for each number of an input: its index, by name.
REDUCTIONS = {
    "argmax": 0, "argmin": 0, "reduce_max": 0, "reduce_min": 0, "reduce_prod": 0, "reduce_sum": 0, "scatter-add": 2,
}
# fmt: on


def count_operations(jitted: Any, *args: Any) -> int:
    """Return the number of operations of one call of a jitted function.

    A loop of known length counts with all its steps, another one with one step. Of the branches of a condition the
    dearest counts, and of code that depends on the platform the one for accelerators.

    Args:
      jitted: the function.
      args: its arguments, or their shapes.
    """
    jaxpr = jitted.trace(*args).jaxpr.jaxpr
    # What no result depends on is not computed.
    return _count(dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0])


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
        return equation.invars[REDUCTIONS[name]].aval.size
    if name.startswith("reduce_window_"):
        return equation.outvars[0].aval.size * math.prod(params["window_dimensions"])
    inner = [_count(getattr(jaxpr, "jaxpr", jaxpr)) for jaxpr in jaxprs_in_params(params)]
    if name == "cond":
        platforms = params.get("branches_platforms")
        return inner[platforms.index(None)] if platforms else max(inner)
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
