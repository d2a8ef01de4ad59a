"""The command line of gradient variance: a fresh and a trained agent, the file, the figure, and bad input."""

import dataclasses
import math

import flax.linen as nn
import jax.numpy as jnp
import pytest

from common.attention.config import PolicyConfig, RetinaConfig
from common.attention.location_policies import GaussianPolicy
from common.policy_gradient import EstimatorConfig
from experiments import ram
from experiments.families.ram import PRESETS, RamExperiment
from experiments.plots.gradients import variance_figure
from experiments.studies import gradient_variance
from experiments.training.augmentation import AugmentationConfig
from experiments.training.config import DataConfig, TrainingConfig
from experiments.training.run_directory import read_json
from ram.config import AgentConfig, RamConfig

FEW = ["--images", "4", "--estimates", "5", "--reference-estimates", "6", "--replicates", "1", "2", "--sigma", "2px"]
SMALL = AgentConfig(num_glimpses=2, glimpse_hidden=4, location_hidden=4, glimpse_features=4, core="rnn", core_hidden=4)
TINY = RamExperiment(
    data=DataConfig(task="images", augmentation=AugmentationConfig(shift=1)),
    model=RamConfig(RetinaConfig(4, 1), SMALL, PolicyConfig(sigma="0.3"), estimator=EstimatorConfig(replicates=2)),
    training=TrainingConfig(steps=2, batch_size=4, log_every=1, evaluate_every=1, eval_batch_size=50, eval_episodes=1),
)


class Fixed(nn.Module):
    """A location network that takes no sigma."""

    @nn.compact
    def __call__(self, output):
        mean = nn.Dense(2)(output)
        return GaussianPolicy(mean, jnp.ones_like(mean))


@pytest.fixture
def preset(images, tmp_path, monkeypatch):
    """A tiny preset, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    experiment = dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, data=str(images)))

    def with_policy(**policy):
        model = dataclasses.replace(TINY.model, policy=PolicyConfig(sigma="0.3", **policy))
        return "", dataclasses.replace(TINY, model=model)

    others = {
        "random": with_policy(locations="random"),
        "learner": with_policy(learned_sigma="global"),
        "fixed": with_policy(location_policy=f"{__name__}:Fixed"),
    }
    before = dict(PRESETS)
    PRESETS.clear()
    PRESETS.update({"tiny": ("", experiment), **others})
    yield str(images)
    PRESETS.clear()  # Other tests compare the order too.
    PRESETS.update(before)


def test_fresh_agent(preset, tmp_path, capsys):
    gradient_variance.main(["tiny", "--data", preset, *FEW, "--output", "out.json", "--figure", "out.png"])
    out, err = capsys.readouterr()
    assert "M = 1: leave_one_out is left out" in err and "its learned baseline is untrained" in err
    record = read_json(tmp_path / "out.json")
    results = record["results"]
    # Of seven estimators two compare replicates.
    assert len(results) == 5 + 7 and record["trained_steps"] == 0 and record["reference_replicates"] == 2
    assert record["settings"]["estimates"] == 5 and "output" not in record["settings"]
    assert {each["objective"] for each in results} == {"expected return", "bound of M replicates"}
    assert all(each["variance"] > 0 and math.isfinite(each["snr"]) for each in results)
    assert all(name in out for name in gradient_variance.VarianceConfig("").estimators)
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    figure = variance_figure(record)
    lines = {line.get_label(): list(line.get_xdata()) for line in figure.axes[0].get_lines()}
    assert lines["plain_return"] == [1, 2] and lines["leave_one_out"] == [2] and len(lines) == 7


def test_functions_of_the_users_own_are_measured(preset, tmp_path, monkeypatch):
    (tmp_path / "my_estimators.py").write_text(
        "def half(rewards, episode):\n    return rewards / 2\n"
        "def half_loss(log_probs, behaviour_log_probs, advantages):\n"
        "    return -(log_probs * advantages).sum(axis=0).mean() / 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    names = ["plain_return", "my_estimators:half_loss", "gae+my_estimators:half_loss", "my_estimators:half"]
    few = [*FEW[:-1], "0.3", "--replicates", "2"]
    gradient_variance.main(["tiny", "--data", preset, *few, "--estimators", *names, "--output", "out.json"])
    results = {each["estimator"]: each for each in read_json(tmp_path / "out.json")["results"]}
    assert list(results) == names
    assert results[names[1]]["variance"] == pytest.approx(results[names[0]]["variance"] / 4, rel=1e-4)


@pytest.mark.slow
def test_trained_agent_with_a_fitted_value_network(preset, tmp_path, capsys):
    ram.main(["tiny", "--run-dir", "run", "--no-plots"])
    flags = ["--estimators", "learned_baseline", "moving_average", "--baseline-steps", "3", "--output", "out.json"]
    gradient_variance.main(["run", *FEW, *flags])
    record = read_json(tmp_path / "out.json")
    assert 1 <= record["trained_steps"] <= 2 and len(record["results"]) == 4
    assert "untrained" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ("nowhere", "agent 'nowhere': give the folder of a run, or a preset: tiny, random, learner, fixed"),
        (".", "holds no config.json"),
        (". --data x.npz", "a run has its own images"),
        ("learner", "agent 'learner' learns its sigma (global): none can be set"),
        (
            "fixed",
            f"agent 'fixed' has the location_policy '{__name__}:Fixed': no sigma",
        ),
        ("random", "agent 'random' draws no location from a learned policy"),
        ("tiny --estimators gea", "did you mean 'gae'?"),
        ("tiny --estimators leave_one_out --replicates 1", "no estimator is left to measure"),
        ("tiny --estimators math:pi", "surrogate 'math:pi': not a function"),
        ("tiny --estimators gae+ppo", "unknown surrogate 'ppo'"),
        ("tiny --estimators gae gae", "estimators 'gae': given twice"),
        ("tiny --replicates 0", "replicates 0: must be at least 1"),
        ("tiny --sigma wide", "sigma 'wide'"),
        ("tiny --sigma", "sigma"),
        ("tiny --reward corect", "did you mean 'correct'?"),
        ("tiny --estimates 2", "estimates 2: must be at least 3"),
        ("tiny --seed -1", "seed -1"),
        ("tiny --output gone/out.json", "must be a file in a folder that exists"),
        ("tiny --figure .", "must be a file in a folder that exists"),
        ("", "agent is not given"),
    ],
)
def test_bad_input_is_one_line(preset, flags, why, capsys):
    data = ["--data", preset] if flags.split()[:1] in (["tiny"], ["random"], ["learner"], ["fixed"]) else []
    with pytest.raises(SystemExit) as stop:
        gradient_variance.main([*flags.split(), *data])
    out, err = capsys.readouterr()
    *warnings, line = err.splitlines()
    assert stop.value.code == 2 and out == "" and line.startswith("error: ") and why in line
    assert all(message.startswith("images: ") or "is left out" in message for message in warnings)


def test_an_agent_that_does_not_exist_is_the_only_message(capsys):
    with pytest.raises(SystemExit):
        gradient_variance.main(["nowhere", "--estimators", "leave_one_out", "gae", "--replicates", "1"])
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_help_shows_units_and_defaults(capsys):
    with pytest.raises(SystemExit) as stop:
        gradient_variance.main(["--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and "2px 4px 8px" in out and "nats" in out and "default: 4000" in out
