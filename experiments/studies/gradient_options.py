"""Settings of `experiments.studies.gradient_variance`, and the agent that it measures."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from common.attention.location_policies import LOCATION_POLICY, takes_sigma
from common.checks import Range, check_output, check_ranges, check_values, refuse, refuse_settings
from common.data import Dataset
from common.policy_gradient import REWARD, validate_estimator
from experiments.cli.console import print_warning
from experiments.families.ram import PRESETS as RAM_PRESETS
from experiments.families.ram import RamExperiment, build
from experiments.runs.restore import read_run
from experiments.studies.gradients import ESTIMATORS, configure
from experiments.training.config import load_dataset
from experiments.training.programs import make_initial_state


@dataclass(frozen=True)
class VarianceConfig:
    """Bias, variance and signal-to-noise ratio of policy-gradient estimators, in the location network alone."""

    agent: Annotated[str, tyro.conf.Positional]
    """A preset of experiments.ram, for a fresh agent with the parameters of its seed, or the folder of a run, for the
    parameters of its lowest validation error."""
    estimators: tuple[str, ...] = tuple(ESTIMATORS)
    """Estimators that are compared: these names, module:function of your own advantage or surrogate, or
    ADVANTAGE+SURROGATE. Those that a reward or a number of replicates does not allow are left out."""
    replicates: Annotated[tuple[int, ...], Range(1)] = (1, 2, 4, 8)
    """Numbers M of episodes of each image in an estimate."""
    sigma: tuple[str, ...] = ("2px", "4px", "8px")
    """Standard deviations of the location noise: normalised ('0.1', half the image is 1) or in pixels ('5px')."""
    reward: str = "log_probability"
    """Reward of all estimators, with discount 1: log_probability (nats), correct, signed, clipped_linear, gain, or
    module:function."""
    images: Annotated[int, Range(1)] = 64
    """Training images of the minibatch."""
    estimates: Annotated[int, Range(3)] = 200
    """Independent estimates N by each estimator, at each M and sigma."""
    reference_estimates: Annotated[int, Range(2)] = 4000
    """Estimates whose mean stands for the true gradient: by leave_one_out at the largest M (2 at least), and by
    multi_sample, which has another objective, at each M."""
    warm_up: Annotated[int, Range(1)] = 20
    """Steps of a stateful advantage, such as moving_average, before the first estimate."""
    baseline_steps: Annotated[int, Range(0)] = 0
    """Steps that train the value network alone, for this reward and sigma, before the first estimate. Without them that
    of a fresh agent is untrained, and that of a run was trained for the run's own reward, discount and sigma."""
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    """Seed of the minibatch and of the episodes."""
    data: str | None = None
    """Your own images for the preset: a folder with a subfolder per class, or a .npz file."""
    output: Path | None = None
    """JSON file for every number, overwritten."""
    figure: Path | None = None
    """PNG file for the curves, overwritten."""


class Subject(NamedTuple):
    """The agent that is measured."""

    experiment: RamExperiment
    dataset: Dataset
    params: Any
    trained_steps: int


def validate(config: VarianceConfig) -> None:
    """Check what does not depend on the agent's configuration.

    Raises:
      ValueError: a bad configuration.
    """
    if config.agent not in RAM_PRESETS and not Path(config.agent).is_dir():
        raise ValueError(f"agent {config.agent!r}: give the folder of a run, or a preset: {', '.join(RAM_PRESETS)}")
    check_ranges(config)
    for name in ("estimators", "replicates", "sigma"):
        check_values(name, getattr(config, name))
    for name in config.estimators:
        configure(name, config.reward, 1)
    REWARD.resolve(config.reward)
    for name in ("output", "figure"):
        check_output(name, getattr(config, name))


def load_subject(config: VarianceConfig) -> Subject:
    """Load the agent with its images.

    Raises:
      ValueError: there is no such agent, or it has no learned locations with a given sigma.
    """
    if config.agent in RAM_PRESETS:
        fresh = RAM_PRESETS[config.agent][1]
        fresh = dataclasses.replace(fresh, data=dataclasses.replace(fresh.data, data=config.data))
        dataset = load_dataset(fresh.data)
        state = make_initial_state(fresh, build(fresh, dataset).model)
        subject = Subject(fresh, dataset, state.params, 0)
    else:
        refuse_settings(config, ("data",), ": a run has its own images, so leave it out")
        run = read_run(Path(config.agent))
        experiment = run.experiment
        if not isinstance(experiment, RamExperiment):
            raise ValueError(f"agent {config.agent!r} is no run of experiments.ram: give one")
        subject = Subject(experiment, run.dataset, run.params(), run.step())
    model = subject.experiment.model
    policy, name = model.policy, f"agent {config.agent!r}"
    has_sigma = takes_sigma(LOCATION_POLICY.resolve(policy.location_policy))
    draws = policy.locations == "learned" and model.agent.num_glimpses > 1
    refuse(
        (
            (not draws, f"{name} draws no location from a learned policy"),
            (not has_sigma, f"{name} has the location_policy {policy.location_policy!r}: no sigma to set"),
            (policy.learned_sigma != "no", f"{name} learns its sigma ({policy.learned_sigma}): none can be set"),
        )
    )
    return subject


def allowed(config: VarianceConfig) -> dict[int, list[str]]:
    """Return the estimators that make sense for each number of replicates; warn of those that do not.

    Raises:
      ValueError: none does.
    """
    names: dict[int, list[str]] = {}
    for replicates in config.replicates:
        names[replicates] = []
        for name in config.estimators:
            try:
                validate_estimator(configure(name, config.reward, replicates))
                names[replicates].append(name)
            except ValueError as error:
                print_warning(f"M = {replicates}: {name} is left out ({error})")
    if not any(names.values()):
        raise ValueError("no estimator is left to measure")
    return names
