"""Recipes: how the images and labels of a task are made from labelled images."""
