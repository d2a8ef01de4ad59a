"""Readings: the target and the prediction of an episode, one class or a sequence of symbols."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer


class Reading(NamedTuple):
    """The target and the prediction of one episode.

    Attributes:
      label: the true class `[1]`, or the true symbols `[S]`.
      predicted: the class, or the symbols up to and including the first end symbol, each after its last glimpse.
      glimpses_per_target: how many glimpses each of them has.
      end: the end symbol; None where the label is one class.
    """

    label: tuple[int, ...]
    predicted: tuple[int, ...]
    glimpses_per_target: int
    end: int | None

    @property
    def num_taken(self) -> int:
        """Return how many glimpses the episode takes; those after the predicted end do not count."""
        return len(self.predicted) * self.glimpses_per_target

    @property
    def is_correct(self) -> bool:
        """Return True if the whole prediction is correct."""
        return _symbols_before_end(self.label, self.end) == _symbols_before_end(self.predicted, self.end)

    def is_correct_at(self, place: int) -> bool:
        """Return True if the symbol predicted at a place is the true one; past the true end none is."""
        return self.has_target(place) and self.predicted[place] == self.label[place]

    def has_target(self, place: int) -> bool:
        """Return True if a place comes no later than the true end."""
        return self.end is None or self.end not in self.label[:place]

    def target_at(self, step: int) -> int:
        """Return the place of the symbol that glimpse `step` belongs to, both from 0."""
        return step // self.glimpses_per_target

    def ends_target(self, step: int) -> bool:
        """Return True if a symbol is predicted after this glimpse."""
        return (step + 1) % self.glimpses_per_target == 0

    def predicted_by(self, step: int) -> tuple[int, ...]:
        """Return the symbols predicted up to and including glimpse `step`."""
        return self.predicted[: (step + 1) // self.glimpses_per_target]

    def text(self, symbols: Sequence[int], names: Sequence[str]) -> str:
        """Return symbols as text, without the end symbol."""
        return " ".join(names[symbol] for symbol in _symbols_before_end(symbols, self.end)) or "nothing"


def _symbols_before_end(symbols: Sequence[int], end: int | None) -> tuple[int, ...]:
    symbols = tuple(symbols)
    return symbols[: symbols.index(end)] if end is not None and end in symbols else symbols


def read_episode(label: Integer[np.ndarray, "*S"], beliefs: Float[np.ndarray, "T classes"]) -> Reading:
    """Return the target and the prediction of one episode.

    Args:
      label: the true class, or symbols of which the last class is the end symbol.
      beliefs: after each glimpse; each of S symbols has as many glimpses.
    """
    targets = np.atleast_1d(label)
    end = beliefs.shape[-1] - 1 if np.ndim(label) else None
    each = len(beliefs) // len(targets)
    return Reading(tuple(map(int, targets)), predicted_symbols(beliefs, len(targets), end), each, end)


def predicted_symbols(beliefs: Float[np.ndarray, "T classes"], targets: int, end: int | None) -> tuple[int, ...]:
    """Return the class, or the symbols up to and including the first end symbol, each after its last glimpse.

    Args:
      beliefs: after each glimpse; each target has as many glimpses.
      targets: number of symbols of a label; 1 for a class.
      end: the end symbol; None for a class.
    """
    each = len(beliefs) // targets
    best = tuple(map(int, beliefs[each - 1 :: each].argmax(axis=-1)))
    return best[: best.index(end) + 1] if end is not None and end in best else best


def glimpses_taken(
    labels: Integer[np.ndarray, " N *S"], beliefs: Float[np.ndarray, "T N classes"]
) -> Integer[np.ndarray, " N"]:
    """Return how many glimpses each of N episodes takes."""
    return np.array([read_episode(np.asarray(label), beliefs[:, i]).num_taken for i, label in enumerate(labels)])
