"""Training and evaluation of any model: training steps, optimisers, checkpoints, error rates."""
