"""Bias and variance of policy-gradient estimators: ``python -m experiments.studies.gradient_variance AGENT [flags]``.

A fixed agent, fresh or trained, plays many episodes on a fixed minibatch of training images. Each estimate is the
gradient of the policy loss alone in the location network, from M episodes of each image. All estimators have the same
reward and sigma, and the same episodes except the pathwise one, which needs the bilinear retina.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from common.attention.config import PolicyConfig
from common.attention.locations import parse_sigma
from common.attention.model import AttentionModel, make_hyper
from common.data import sample_batch
from common.policy_gradient import Estimator, make_estimator
from experiments.cli.command_line import computing, parse
from experiments.cli.console import console, print_line, print_warning
from experiments.output.json_files import write_json
from experiments.plots.gradients import variance_figure
from experiments.plots.pictures import draw_picture
from experiments.studies.gradient_options import Subject, VarianceConfig, allowed, load_subject, validate
from experiments.studies.gradients import (
    GradientInputs,
    Moments,
    Reference,
    configure,
    make_gradients,
    make_reference,
    make_value_fit,
    make_warm_up,
    summarise,
)
from experiments.training.augmentation import make_augmentation
from experiments.training.provenance import device, environment
from ram.agent import make_ram
from ram.config import RamConfig

VALUE_RATE = 0.01
# Estimates in one compiled call.
CALL = 20


class EstimatorGroup(NamedTuple):
    """Estimators that play the same episodes."""

    names: tuple[str, ...]
    replicates: int
    gradients: Callable[..., Any]
    warm_up: Callable[..., Any]


class MeasurementPlan(NamedTuple):
    """Everything that is compiled; it serves every sigma.

    Attributes:
      groups: the estimators.
      references: those whose means stand for the true gradients, with the names of the estimators that do.
      largest: number of replicates of the reference that has the expected return as its objective.
      fit: trains the value network (`make_value_fit`).
      draw: ``(key, source) -> (images, labels)``.
    """

    groups: list[EstimatorGroup]
    references: dict[EstimatorGroup, list[str]]
    largest: int
    fit: Callable[..., Any]
    draw: Callable[..., tuple[Any, Any]]

    def episodes(self, config: VarianceConfig) -> int:
        """Return the number of episodes of each image at one sigma."""
        estimates = sum(group.replicates for group in self.groups) * config.estimates
        return estimates + sum(group.replicates for group in self.references) * config.reference_estimates


def _model(subject: Subject, sigma: str, reward: str, replicates: int, name: str) -> RamConfig:
    policy = dataclasses.asdict(subject.experiment.model.policy)
    policy |= {"sigma": sigma, "sigma_final": None, "sigma_schedule": "constant"}
    estimator = configure(name, reward, replicates)
    return dataclasses.replace(subject.experiment.model, policy=PolicyConfig(**policy), estimator=estimator)


def _ram(subject: Subject, config: VarianceConfig, replicates: int, name: str) -> AttentionModel:
    model, dataset = _model(subject, config.sigma[0], config.reward, replicates, name), subject.dataset
    return make_ram(model, *dataset.image_shape, dataset.num_classes)


def make_groups(
    subject: Subject, config: VarianceConfig, replicates: int, names: Sequence[str]
) -> list[EstimatorGroup]:
    """Group the estimators into those that play the same episodes, and compile them."""
    glimpses, groups = subject.experiment.model.agent.num_glimpses, []
    estimators = {name: make_estimator(configure(name, config.reward, replicates)) for name in names}
    for pathwise in (False, True):
        group: dict[str, Estimator] = {name: each for name, each in estimators.items() if each.pathwise == pathwise}
        if group:
            ram, members = _ram(subject, config, replicates, next(iter(group))), list(group.values())
            groups.append(
                EstimatorGroup(
                    tuple(group), replicates, make_gradients(ram, members), make_warm_up(ram, members, glimpses)
                )
            )
    return groups


def _calls(group: EstimatorGroup, inputs: GradientInputs, states: Any, key: Any, count: int) -> Iterator[np.ndarray]:
    """Yield ``count`` estimates, ``[n, E, d]`` from each compiled call."""
    size = min(count, CALL)
    for start in range(0, count, size):
        keys = jax.random.split(jax.random.fold_in(key, start), size)
        yield np.asarray(group.gradients(inputs, states, keys))[: count - start]


def make_plan(subject: Subject, config: VarianceConfig, names: dict[int, list[str]]) -> MeasurementPlan:
    """Plan the measurement of the estimators ``{replicates: names}``."""
    dataset, augment = subject.dataset, make_augmentation(subject.experiment.data.augmentation)

    def draw(key: Any, source: Any) -> tuple[Any, Any]:
        return sample_batch(key, source, dataset.recipe, config.images, augment)

    largest = max(2, *config.replicates)
    groups = [group for replicates in names for group in make_groups(subject, config, replicates, names[replicates])]
    # A group that is measured anyway is not compiled again for the reference.
    references = {group: ["multi_sample"] for group in groups if "multi_sample" in group.names}
    of_return = next((p for p in groups if p.replicates == largest and "leave_one_out" in p.names), None)
    if of_return is None:
        (of_return,) = make_groups(subject, config, largest, ["leave_one_out"])
    references[of_return] = [*references.get(of_return, ()), "leave_one_out"]
    fit = make_value_fit(_ram(subject, config, largest, "plain_return"), draw, VALUE_RATE)
    return MeasurementPlan(groups, references, largest, fit, draw)


def measure_at(
    plan: MeasurementPlan,
    config: VarianceConfig,
    sigma: str,
    inputs: GradientInputs,
    advance: Callable[[str, int], None],
) -> Iterator[dict[str, Any]]:
    """Yield the summary of every estimator at one sigma.

    Args:
      plan: the compiled estimators.
      config: numbers of estimates.
      sigma: its name in the results; ``inputs`` has its value.
      inputs: the agent and its minibatch.
      advance: called with a description of the current measurement and the number of episodes of each image played.
    """
    warm_key, reference_key, key = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 1), 3)
    found: dict[tuple[str, int], Reference] = {}
    states = {}
    for group in {id(group): group for group in [*plan.groups, *plan.references]}.values():
        states[id(group)] = group.warm_up(inputs, jax.random.split(warm_key, config.warm_up))
    for group, names in plan.references.items():
        description = f"sigma {sigma}, M = {group.replicates}: reference"
        advance(description, 0)
        chosen = [group.names.index(name) for name in names]
        moments = [Moments(0, np.zeros(()), 0.0) for _ in names]
        for estimates in _calls(group, inputs, states[id(group)], reference_key, config.reference_estimates):
            moments = [each.add(estimates[:, index]) for index, each in zip(chosen, moments, strict=True)]
            advance(description, len(estimates) * group.replicates)
        found |= {(name, group.replicates): make_reference(m) for name, m in zip(names, moments, strict=True)}
    for group in plan.groups:
        description = f"sigma {sigma}, M = {group.replicates}: {group.names[0]}"
        advance(description, 0)
        calls = []
        for estimates in _calls(group, inputs, states[id(group)], key, config.estimates):
            calls.append(estimates)
            advance(description, len(estimates) * group.replicates)
        together = np.concatenate(calls)
        for index, name in enumerate(group.names):
            own = name == "multi_sample"
            reference = found[(name, group.replicates) if own else ("leave_one_out", plan.largest)]
            yield {
                "sigma": sigma,
                "estimator": name,
                "replicates": group.replicates,
                "objective": "bound of M replicates" if own else "expected return",
            } | summarise(together[:, index], reference)


def measure(config: VarianceConfig) -> dict[str, Any]:
    """Measure bias, variance and signal-to-noise ratio of all estimators at all sigmas.

    Returns:
      The record that is written as JSON.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    validate(config)
    names, subject = allowed(config), load_subject(config)
    size = (subject.dataset.height, subject.dataset.width)
    for sigma in config.sigma:
        parse_sigma(sigma, *size)
    around = environment()  # Before the measurement, during which the source may be edited.
    plan = make_plan(subject, config, names)
    image_key, fit_key = jax.random.split(jax.random.key(config.seed))
    images, labels = jax.jit(plan.draw)(image_key, subject.dataset.train)
    print_line(f"{subject.dataset.name}; {config.agent} after step {subject.trained_steps}; {device()}")
    if not subject.trained_steps and not config.baseline_steps and {"learned_baseline", "gae"} & {*config.estimators}:
        print_warning("the agent is fresh, so its learned baseline is untrained (--baseline-steps trains it)")
    columns = (TaskProgressColumn(), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    results: list[dict[str, Any]] = []
    with Progress(*columns, console=console, disable=not console.is_interactive) as bar:
        task = bar.add_task("", total=plan.episodes(config) * len(config.sigma))

        def advance(description: str, episodes: int) -> None:
            bar.update(task, advance=episodes, description=description)

        for sigma in config.sigma:
            hyper = make_hyper(_model(subject, sigma, config.reward, 1, "plain_return"), *size)
            inputs = GradientInputs(subject.params, images, labels, hyper)
            if config.baseline_steps:
                advance(f"sigma {sigma}: baseline", 0)
                keys = jax.random.split(fit_key, config.baseline_steps)
                inputs = inputs._replace(params=plan.fit(inputs, subject.dataset.train, keys))
            results += measure_at(plan, config, sigma, inputs, advance)
    settings = dataclasses.asdict(config)
    del settings["output"], settings["figure"]
    return {
        "settings": settings,
        "trained_steps": subject.trained_steps,
        "reference_replicates": plan.largest,
        **around,
        "results": results,
    }


def make_table(record: dict[str, Any], sigma: str) -> Table:
    """Return the results at one sigma as a table for people: a row for each estimator and number of replicates."""
    settings, reference = record["settings"], f"leave_one_out at M = {record['reference_replicates']}"
    table = Table(
        title=f"{settings['agent']}, sigma {sigma}: {settings['images']} images, {settings['estimates']} estimates",
        caption=f"bias against {settings['reference_estimates']} estimates by {reference}; multi_sample is "
        "compared with itself, since it has another objective. z: squared bias divided by its standard error; well "
        "above 4 there is a bias",
    )
    table.add_column("estimator", no_wrap=True)
    for name in ("M", "variance", "SNR", "bias", "bias, % of gradient", "z"):
        table.add_column(name, justify="right")
    rows = [row for row in record["results"] if row["sigma"] == sigma]
    order = {name: index for index, name in enumerate(settings["estimators"])}
    last = None
    for row in sorted(rows, key=lambda row: (order[row["estimator"]], row["replicates"])):
        if last not in (None, row["estimator"]):
            table.add_section()
        fraction = "-" if row["relative_bias"] is None else f"{row['relative_bias']:.1%}"
        numbers = (
            f"{row['variance']:.3g}",
            f"{row['snr']:.3g}",
            f"{row['bias']:.2g}",
            fraction,
            f"{row['bias_z']:.1f}",
        )
        table.add_row(row["estimator"] if row["estimator"] != last else "", str(row["replicates"]), *numbers)
        last = row["estimator"]
    return table


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(VarianceConfig, "python -m experiments.studies.gradient_variance", args)
    with computing("interrupted; nothing was written"):
        record = measure(config)
        if config.output is not None:
            write_json(config.output, record)
        if config.figure is not None:
            draw_picture(config.figure, lambda: variance_figure(record))
    for sigma in config.sigma:
        Console().print(make_table(record, sigma))


if __name__ == "__main__":
    main()
