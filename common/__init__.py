"""The parts that every model uses: attention, networks, policy gradients, training, data."""

from jaxtyping import Array, Float

# A number, or one that is an argument of a compiled program.
Scalar = float | Float[Array, ""]
