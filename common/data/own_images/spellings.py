"""The names of splits as people write them."""

import difflib

SPELLINGS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
# How alike a mistyped name and the name of a split are, from 0 to 1: "vall" counts, "text" does not.
ALIKE = 0.8


def split_of(name: str) -> str | None:
    """Return the split that a name stands for, in upper or lower case; None for any other name."""
    return next((split for split, spellings in SPELLINGS.items() if name.lower() in spellings), None)


def is_mistyped(name: str) -> bool:
    """Return True for a name that is none of a split, but nearly one."""
    known = [spelling for spellings in SPELLINGS.values() for spelling in spellings]
    return split_of(name) is None and bool(difflib.get_close_matches(name.lower(), known, n=1, cutoff=ALIKE))
