"""Finds a reward, an advantage or a surrogate by its name or as ``module:function``."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common.names import unknown
from common.policy_gradient import advantages, rewards, surrogates
from common.policy_gradient.advantages import Stateful

REWARDS: dict[str, Callable] = {
    "correct": rewards.correct,
    "signed": rewards.signed,
    "log_probability": rewards.log_probability,
    "clipped_linear": rewards.clipped_linear,
    "gain": rewards.gain,
}
ADVANTAGES: dict[str, Callable | Stateful] = {
    "plain_return": advantages.plain_return,
    "moving_average": advantages.moving_average,
    "learned_baseline": advantages.learned_baseline,
    "leave_one_out": advantages.leave_one_out,
    "gae": advantages.gae,
    "vimco": advantages.vimco,
}
SURROGATES: dict[str, Callable] = {
    "score_function": surrogates.score_function,
    "ppo_clip": surrogates.ppo_clip,
    "pathwise": surrogates.pathwise,
    "multi_sample": surrogates.multi_sample,
}
# What each kind of function is called with, and what more it may name.
ARGUMENTS = {
    "reward": ("logits", "labels"),
    "advantage": ("rewards", "episode"),
    "surrogate": ("log_probs", "behaviour_log_probs", "advantages"),
}
KEYWORDS = ("discount", "gae_lambda", "average_decay", "clip_ratio")
MORE = {"reward": (), "advantage": (*KEYWORDS, "counted"), "surrogate": (*KEYWORDS, "rewards")}


def resolve(kind: str, name: str, table: Mapping[str, Any]) -> Any:
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
    if ":" in name:
        allowed = f"choose from {', '.join(table)}, or give module:function"
        module, _, function = name.partition(":")
        try:
            found = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{kind} {name!r}: {error}; {allowed}") from error
        if kind == "advantage" and isinstance(found, Stateful):
            _require_arguments(kind, name, found.init, ("num_glimpses",))
            _require_arguments(kind, name, found.update, (*ARGUMENTS[kind], "memory"))
            return found
        if not callable(found):
            raise ValueError(f"{kind} {name!r}: not a function; {allowed}")
        _require_arguments(kind, name, found, ARGUMENTS[kind])
        return found
    raise unknown(kind, name, table, "module:function")


def named(function: Callable, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that a function has an argument for, by name."""
    names = _signature(function).parameters
    return {name: value for name, value in values.items() if name in names}


def _signature(function: Callable) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except ValueError:  # Written in C, it tells nothing of itself, and may take whatever stands in order.
        return inspect.Signature([inspect.Parameter("arguments", inspect.Parameter.VAR_POSITIONAL)])


def _require_arguments(kind: str, name: str, function: Callable, arguments: Sequence[str]) -> None:
    keywords = MORE[kind]
    try:
        _signature(function).bind(*arguments, **named(function, dict.fromkeys(keywords)))
    except TypeError as error:
        more = f", and may name {', '.join(keywords)}" if keywords else ""
        raise ValueError(f"{kind} {name!r}: {error}; it is called with ({', '.join(arguments)}){more}") from error
