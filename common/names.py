"""Messages about names that people type."""

import difflib
from collections.abc import Collection, Iterable


def unknown(kind: str, name: str, known: Collection[str], instead: str = "") -> ValueError:
    """Return the error for an unknown name: one line, with the known name that comes closest.

    Args:
      kind: what the name stands for, such as ``core``.
      name: the name as it was typed.
      known: the known names, in the order in which they are listed.
      instead: what else may be given.
    """
    more = f", or give {instead}" if instead else ""
    hint = closest(name, known).removeprefix(": ")
    hint = f"{hint} " if hint else ""
    return ValueError(f"unknown {kind} {name!r}: {hint}choose from {', '.join(known)}{more}")


def closest(name: str, known: Iterable[str]) -> str:
    """Return ``: did you mean 'NAME'?`` for the known name that comes closest, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {close[0]!r}?" if close else ""
