"""Your own images: from a folder or an `.npz` file, resized, and split where they come without splits."""
