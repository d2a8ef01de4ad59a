"""Training and evaluation of any model: steps, optimisers, checkpoints, error rates."""
