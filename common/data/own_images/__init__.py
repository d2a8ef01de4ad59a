"""Images of your own, from a folder or from arrays."""
