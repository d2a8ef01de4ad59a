"""Spatial transformers (Jaderberg et al. 2015) and soft attention: what is differentiable instead of learned by reward."""
