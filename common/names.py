"""Messages about names that people type."""

import difflib
from collections.abc import Collection, Iterable


def check_name(kind: str, name: str, known: Collection[str], instead: str = "") -> None:
    """Check that a name is known; the message says which known name comes closest.

    Args:
      kind: what the name stands for, such as ``core``.
      name: the name as it was typed.
      known: the known names, in the order in which they are listed.
      instead: what else may be given.

    Raises:
      ValueError: the name is unknown.
    """
    if name in known:
        return
    ways = [f"choose from {', '.join(known)}"] * bool(known) + [f"give {instead}"] * bool(instead)
    hint = closest(name, known).removeprefix(": ")
    hint = f"{hint} " if hint else ""
    raise ValueError(f"unknown {kind} {name!r}: {hint}{', or '.join(ways)}")


def closest(name: str, known: Iterable[str]) -> str:
    """Return ``: did you mean 'NAME'?`` for the known name that comes closest, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {close[0]!r}?" if close else ""
