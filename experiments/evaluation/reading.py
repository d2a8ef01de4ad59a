"""What an episode was to say and what it said: one class, or a sequence of symbols, each from glimpses of its own."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer


class Reading(NamedTuple):
    """One episode.

    Attributes:
      label: the true class ``[1]``, or the true symbols ``[S]``.
      said: the class, or the symbols up to the end symbol and with it, that were predicted after their last glimpse.
      glimpses: of each of these.
      end: the end symbol; None where the label is one class.
    """

    label: tuple[int, ...]
    said: tuple[int, ...]
    glimpses: int
    end: int | None

    @property
    def taken(self) -> int:
        """The glimpses of the episode; what comes after the predicted end does not count."""
        return len(self.said) * self.glimpses

    @property
    def right(self) -> bool:
        """Whether everything was read as it should be."""
        return _before_end(self.label, self.end) == _before_end(self.said, self.end)

    def right_at(self, place: int) -> bool:
        """Whether what was read at a place is what stands there; past the true end nothing does."""
        return self.within(place) and self.said[place] == self.label[place]

    def within(self, place: int) -> bool:
        """Whether a place comes no later than the true end."""
        return self.end is None or self.end not in self.label[:place]

    def target(self, step: int) -> int:
        """Which symbol glimpse ``step`` looks for, both from 0."""
        return step // self.glimpses

    def is_last(self, step: int) -> bool:
        """Whether a symbol is predicted after this glimpse."""
        return (step + 1) % self.glimpses == 0

    def so_far(self, step: int) -> tuple[int, ...]:
        """The symbols that were predicted until after glimpse ``step``."""
        return self.said[: (step + 1) // self.glimpses]

    def words(self, symbols: Sequence[int], names: Sequence[str]) -> str:
        """Symbols as people read them, without the end symbol."""
        return " ".join(names[symbol] for symbol in _before_end(symbols, self.end)) or "nothing"


def _before_end(symbols: Sequence[int], end: int | None) -> tuple[int, ...]:
    symbols = tuple(symbols)
    return symbols[: symbols.index(end)] if end is not None and end in symbols else symbols


def read_episode(label: Integer[np.ndarray, "*S"], beliefs: Float[np.ndarray, "T classes"]) -> Reading:
    """What one episode said.

    Args:
      label: the true class, or symbols of which the last class is the end symbol.
      beliefs: after each glimpse; each of S symbols has as many glimpses.
    """
    targets = np.atleast_1d(label)
    glimpses = len(beliefs) // len(targets)
    best = beliefs[glimpses - 1 :: glimpses].argmax(axis=-1)
    if not np.ndim(label):
        return Reading((int(label),), (int(best[-1]),), glimpses, None)
    end = beliefs.shape[-1] - 1
    stop = int(np.argmax(best == end)) + 1 if (best == end).any() else len(best)
    return Reading(tuple(map(int, targets)), tuple(map(int, best[:stop])), glimpses, end)


def glimpses_taken(
    labels: Integer[np.ndarray, " N *S"], beliefs: Float[np.ndarray, "T N classes"]
) -> Integer[np.ndarray, " N"]:
    """How many glimpses each of N episodes took."""
    return np.array([read_episode(np.asarray(label), beliefs[:, index]).taken for index, label in enumerate(labels)])
