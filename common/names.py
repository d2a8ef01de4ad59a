"""Names that people type."""

import difflib
from collections.abc import Collection


def unknown(kind: str, name: str, known: Collection[str], instead: str = "") -> ValueError:
    """The error about a name that is not among those known: one line, with the name that may have been meant.

    Args:
      kind: what it should name.
      name: as it was typed.
      known: the names that there are, in the order in which they are listed.
      instead: what else may be given.
    """
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    more = f", or give {instead}" if instead else ""
    return ValueError(f"unknown {kind} {name!r}: {hint}choose from {', '.join(known)}{more}")
