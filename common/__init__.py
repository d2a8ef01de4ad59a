"""The parts that every model uses: attention, networks, policy gradients, training, data."""

from jaxtyping import Array, Float

# A number, or one that is an argument of a compiled program.
Scalar = float | Float[Array, ""]

# Near the end of single precision, in which everything is computed: larger settings would be infinite.
LARGEST = 1e38
