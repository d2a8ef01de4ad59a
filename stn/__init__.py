"""Spatial transformers (Jaderberg et al. 2015) and soft attention: where to look, learned by gradient alone."""
