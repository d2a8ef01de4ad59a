"""Check your own estimator: ``python -m experiments.check_estimator module:function [--kind KIND] [--biased]``.

The checks are those of the built-in estimators (`common.policy_gradient.estimator_checks`). A reward is checked alone,
an advantage with the surrogate score_function, a surrogate with the advantage plain_return.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from common.extensions import Extension
from common.policy_gradient import (
    ADVANTAGE,
    REWARD,
    SURROGATE,
    Estimator,
    EstimatorConfig,
    biased,
    hyperparameters,
)
from common.policy_gradient.estimator_checks import CheckResult, check_estimator
from common.policy_gradient.reward_checks import check_reward
from experiments.cli.command_line import computing, parse

KINDS: dict[str, Extension] = {kind.name: kind for kind in (REWARD, ADVANTAGE, SURROGATE)}
# A function of any kind.
FUNCTION = Extension("function", {name: value for kind in KINDS.values() for name, value in kind.built_in.items()})
COLOURS = {"passed": "green", "failed": "red", "biased": "yellow", "skipped": "dim"}


@dataclass(frozen=True)
class CheckConfig:
    """Check a reward, an advantage or a surrogate: bias, gradients, shapes, independence, jit and vmap."""

    function: Annotated[str, tyro.conf.Positional]
    """The function as module:function, or the name of a built-in one."""
    kind: Literal["reward", "advantage", "surrogate"] | None = None
    """Kind of the function; by default its arguments decide."""
    biased: bool = False
    """Measure a bias and report it instead of failing; the decorator `biased` does the same in the code."""


def find_kind(name: str, kind: str | None = None) -> tuple[Extension, Any]:
    """Return what kind of function a name stands for, and the function.

    Raises:
      ValueError: it cannot be imported, is none of the kinds, or could be several.
    """
    if kind is not None:
        return KINDS[kind], KINDS[kind].resolve(name)
    function = FUNCTION.resolve(name)
    misfits = {
        each.name: each.explain_misfit(function) for each in KINDS.values() if ":" in name or name in each.built_in
    }
    fits = [each for each, misfit in misfits.items() if misfit is None]
    if not fits:
        reasons = "; ".join(dict.fromkeys(f"no {each}: {misfit}" for each, misfit in misfits.items()))
        raise ValueError(f"function {name!r}: {reasons}")
    if len(fits) == 2 and "reward" in fits:
        # Rewards and advantages both take two arguments, so the name of the first one decides.
        first = next(iter(getattr(getattr(function, "__code__", None), "co_varnames", ())), "")
        fits = {"logits": ["reward"], "rewards": ["advantage"]}.get(first, fits)
    if len(fits) != 1:
        raise ValueError(f"function {name!r} could be a reward or an advantage: give --kind")
    return KINDS[fits[0]], function


def check(config: CheckConfig) -> list[CheckResult]:
    """Run the checks.

    Raises:
      ValueError: see `find_kind`.
    """
    kind, function = find_kind(config.function, config.kind)
    if config.biased and not getattr(function, "bias", None):
        function = biased("--biased")(function)
    if kind is REWARD:
        return list(check_reward(function))
    parts = {"reward": "log_probability", "advantage": "plain_return", "surrogate": "score_function"}
    if config.function in ("vimco", "multi_sample"):
        parts |= {"advantage": "vimco"}
    functions = {name: KINDS[name].resolve(part) for name, part in parts.items()} | {kind.name: function}
    # With lambda 1 generalised advantage estimation is unbiased.
    numbers = hyperparameters(EstimatorConfig(gae_lambda=1.0))
    return list(check_estimator(Estimator(**functions, hyperparameters=numbers)))


def make_table(function: str, results: Sequence[CheckResult]) -> Table:
    """Return the results as a table for people: a row for each check."""
    table = Table(title=function)
    for column in ("check", "outcome", "detail"):
        table.add_column(column, overflow="fold")
    for result in results:
        table.add_row(result.check, f"[{COLOURS[result.outcome]}]{result.outcome}", result.detail)
    return table


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; exits with status 1 if a check failed, and with 2 on bad input."""
    args = sys.argv[1:] if args is None else args
    config = parse(CheckConfig, "python -m experiments.check_estimator", args)
    with computing("interrupted", ValueError):
        results = check(config)
    Console().print(make_table(config.function, results))
    failed = sum(result.outcome == "failed" for result in results)
    if failed:
        print(f"{failed} of {len(results)} checks failed", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
