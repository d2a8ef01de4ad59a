"""Grids of points over an image, and splines through points."""
