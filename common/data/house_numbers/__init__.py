"""Rendered house numbers: fonts, signs, walls, camera, and pools of finished images."""
