"""Finds a reward, an advantage or a surrogate by its name or as ``module:function``."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping

from common.policy_gradient import advantages, rewards, surrogates

REWARDS: dict[str, Callable] = {
    "correct": rewards.correct,
    "log_probability": rewards.log_probability,
    "gain": rewards.gain,
}
ADVANTAGES: dict[str, Callable] = {
    "plain_return": advantages.plain_return,
    "learned_baseline": advantages.learned_baseline,
    "leave_one_out": advantages.leave_one_out,
}
SURROGATES: dict[str, Callable] = {
    "score_function": surrogates.score_function,
}
# What each kind of function is called with.
ARGUMENTS = {
    "reward": ("logits", "labels"),
    "advantage": ("rewards", "episode", "discount"),
    "surrogate": ("log_probs", "behaviour_log_probs", "advantages"),
}


def resolve(kind: str, name: str, table: Mapping[str, Callable]) -> Callable:
    """Looks up ``name`` in ``table``, or imports it when it is ``module:function``.

    Args:
      kind: what is looked up, for the error.
      name: a key of ``table``, or ``module:function``.
      table: the registered functions.

    Raises:
      ValueError: the name is unknown, or the function cannot be imported or does not take the arguments of its kind;
        quotes the name and says what is allowed.
    """
    if name in table:
        return table[name]
    allowed = f"choose from {', '.join(table)}, or give module:function"
    if ":" in name:
        module, _, function = name.partition(":")
        try:
            found = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{kind} {name!r}: {error}; {allowed}") from error
        if not callable(found):
            raise ValueError(f"{kind} {name!r}: not a function; {allowed}")
        _require_arguments(kind, name, found)
        return found
    close = difflib.get_close_matches(name, table, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(f"{kind} {name!r} is unknown: {hint}{allowed}")


def _require_arguments(kind: str, name: str, function: Callable) -> None:
    arguments = ARGUMENTS[kind]
    try:
        signature = inspect.signature(function)
    except ValueError:  # Written in C, it tells nothing of itself.
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise ValueError(f"{kind} {name!r}: {error}; it is called with ({', '.join(arguments)})") from error
