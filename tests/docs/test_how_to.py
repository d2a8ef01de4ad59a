"""The code and the commands of the how-to pages run as they stand."""

import functools
import importlib
import itertools
import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.attention.base import LocationChoice
from common.attention.config import PolicyConfig, RetinaConfig, make_retina
from common.attention.glimpse import make_sensor
from common.attention.locations import centre_location
from common.attention.rollout import unroll
from common.policy_gradient import REWARDS, Estimator, EstimatorConfig, make_estimator, policy_loss
from common.policy_gradient.advantages import plain_return
from common.policy_gradient.estimator_checks import check_estimator
from common.policy_gradient.reward_checks import check_reward
from common.policy_gradient.surrogates import score_function
from dram.config import AgentConfig as DramAgentConfig
from dram.config import DramConfig
from dram.config import validate as validate_dram
from experiments import check_estimator as check_command
from experiments import ram
from experiments.training.metrics_file import read_metrics
from ram.agent import Ram, make_agent, make_ram
from ram.config import AgentConfig, RamConfig, validate

KEY = jax.random.key(3)
FOLDER = Path(__file__).parents[2] / "docs" / "how-to"
MODULES = {
    "add_an_estimator": "my_variants",
    "add_a_core": "my_core",
    "add_a_glimpse_network": "my_glimpse",
    "add_a_location_policy": "my_policy",
}
GRID = "add_a_location_policy"
SMALL = (
    "--task images --data images.npz --glimpse-size 9 --num-glimpses 2 --num-scales 1 --core-hidden 8 --steps 2"
    " --batch-size 4 --evaluate-every 2 --eval-episodes 1 --validation-episodes 1 --optimizer adam --no-plots"
    " --run-dir run"
)
SMALL_NETWORKS = {
    "add_an_estimator": "--core rnn --conv-channels 2",
    "add_a_core": "--conv-channels 2",
    "add_a_glimpse_network": "--core rnn",
    "add_a_location_policy": "--core rnn --conv-channels 2",
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty current folder with the modules of the pages and some images."""
    for page, module in MODULES.items():
        code = "\n".join(_code(page))
        (tmp_path / f"{module}.py").write_text(code)
        sys.modules.pop(module, None)
    np.savez(tmp_path / "images.npz", images=np.zeros((60, 12, 12), np.uint8), labels=np.arange(60) % 3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for module in MODULES.values():
        sys.modules.pop(module, None)


def _code(page):
    return re.findall(r"```python\n(.*?)```", (FOLDER / f"{page}.md").read_text(), flags=re.DOTALL)


def _commands(page):
    return re.findall(r"python -m experiments.ram (.*)", (FOLDER / f"{page}.md").read_text())


def _command(page):
    return _commands(page)[0]


@pytest.mark.parametrize("page", MODULES)
def test_an_example_is_short(page):
    for code in _code(page):
        assert len(code.splitlines()) < 40


def test_the_commands_of_the_pages_train_together(folder):
    """Each alone is a slow test. Faster tests below play the grid policy."""
    first, *others = (_command(page).split() for page in MODULES if page != GRID)
    assert all(other[0] == first[0] for other in others)
    ram.main([*first, *(flag for other in others for flag in other[1:]), *SMALL.split()])
    results = json.loads((folder / "run" / "results.json").read_text())
    assert np.isfinite(results["test"]["greedy"]["error"])
    assert results["config"]["model"]["agent"]["core"] == "my_core:MinimalGatedUnit"
    assert len(results["code"]) == len(MODULES) - 1


@pytest.mark.slow
@pytest.mark.parametrize("page", MODULES)
def test_the_command_of_a_page_trains(page, folder, capsys):
    ram.main([*_command(page).split(), *SMALL.split(), *SMALL_NETWORKS[page].split()])
    assert np.isfinite(json.loads((folder / "run" / "results.json").read_text())["test"]["greedy"]["error"])
    shown = any("sigma_px" in record for record in read_metrics(folder / "run"))
    assert shown == (", sigma " in capsys.readouterr().err) == (page != GRID), "the grid policy has no sigma"


@pytest.mark.slow
def test_the_command_of_the_core_with_a_cell_of_flax_trains(folder):
    ram.main([*_commands("add_a_core")[1].split(), *SMALL.split(), *SMALL_NETWORKS["add_a_core"].split()])
    results = json.loads((folder / "run" / "results.json").read_text())
    assert results["config"]["model"]["agent"]["core"] == "my_core:CellCore"
    assert np.isfinite(results["test"]["greedy"]["error"])


def test_the_core_with_a_cell_of_flax_has_orthogonal_kernels():
    core = importlib.import_module("my_core").CellCore(hidden=6, num_glimpses=2)
    state = core.initial_state((4, 3))
    assert state.shape == (4, 3, 6) and not np.any(state)
    (new, output), variables = core.init_with_output(KEY, state, jnp.ones((4, 3, 5)))
    np.testing.assert_array_equal(new, output)
    for name in ("hf", "hn"):
        kernel = variables["params"]["cell"][name]["kernel"]
        np.testing.assert_allclose(kernel.T @ kernel, np.eye(6), atol=1e-5)


def test_the_group_relative_advantage_needs_two_replicates(folder, capsys):
    with pytest.raises(SystemExit, match="2"):
        ram.main([*_command("add_an_estimator").split(), *SMALL.split(), "--replicates", "1"])
    assert "it compares replicates, so give at least 2" in capsys.readouterr().err
    assert not (folder / "run").exists()


def test_the_examples_of_estimators_pass_the_checks():
    module = importlib.import_module("my_variants")
    reward = REWARDS["log_probability"]
    numbers = {"discount": 0.9, "moving_average_decay": 0.9}
    # The next test but one checks the group-relative advantage.
    estimators = [
        Estimator(reward, module.scaled, score_function, numbers),
        Estimator(reward, plain_return, module.weighted_regression, numbers),
    ]
    for estimator in estimators:
        results = list(check_estimator(estimator))
        assert [each for each in results if each.outcome == "failed"] == []
        assert [each.outcome for each in results[:2]] == ["biased", "biased"]
    assert {each.outcome for each in check_reward(module.probability_gain)} == {"passed"}


def test_the_grid_policy_reads_sequences_with_any_unit_width(folder):
    policy = PolicyConfig(location_policy="my_policy:GridLocationNetwork")
    validate_dram(DramConfig(agent=DramAgentConfig(unit_width="20px"), policy=policy), 100, 100, 3)


def test_the_group_relative_advantage_by_hand():
    advantage = importlib.import_module("my_variants").group_relative
    rewards = jnp.array([1.0, 3.0, 2.0])[None, :, None]
    expected = np.array([-1, 1, 0]) * 1.5**0.5
    np.testing.assert_allclose(advantage(rewards, None, discount=1.0)[0, :, 0], expected, atol=1e-5)


def test_the_check_command_prints_a_table(capsys):
    check_command.main(["my_variants:group_relative"])
    out = capsys.readouterr().out
    assert "biased" in out and "declared" in out and "failed" not in out


def _grid_agent():
    config = RamConfig(
        RetinaConfig(4, 1),
        AgentConfig(num_glimpses=3, glimpse_hidden=5, location_hidden=5, glimpse_features=6, core="rnn", core_hidden=6),
        PolicyConfig(location_policy="my_policy:GridLocationNetwork"),
        estimator=EstimatorConfig("gain", "plain_return"),
    )
    validate(config, 12, 12)
    return config, make_agent(Ram(config, 3))


def test_the_score_function_of_the_grid_policy_is_unbiased():
    """All 25 x 25 pairs of locations of one image, each weighted by its probability."""
    config, agent = _grid_agent()
    places = importlib.import_module("my_policy").PLACES
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.integers(0, 256, (1, 12, 12, 1), dtype=np.uint8))
    see, label = make_sensor(image, make_retina(config.retina)), jnp.array([1])
    module = Ram(config, 3)
    shapes = jax.eval_shape(
        lambda key: module.init(key, jnp.zeros((1, 1, 4, 4, 1)), jnp.zeros((1, 2)), method=Ram.call_all_networks), KEY
    )["params"]
    leaves, tree = jax.tree.flatten(shapes)
    params = tree.unflatten([jnp.asarray(rng.normal(0, 0.7, leaf.shape), jnp.float32) for leaf in leaves])
    pairs = jnp.array(list(itertools.product(range(len(places)), repeat=2)))
    estimator = make_estimator(config.estimator)

    def play(network, pair):
        samples = jnp.concatenate([jnp.zeros((1, 1, 2)), places[pair][:, None]])
        choice = LocationChoice(centre_location, "replayed", samples=samples)
        arguments = {"batch_size": 1, "num_glimpses": 3, "choice": choice, "sigma": jnp.ones(2)}
        episode = unroll(agent, params | {"location_network": network}, see, KEY, **arguments)
        return jax.tree.map(lambda leaf: leaf[:, None], episode)

    def probability(network, pair):
        return jnp.exp(play(network, pair).log_probs.sum())

    @jax.jit
    def both(network):
        def loss(network, pair):
            return policy_loss(estimator, play(network, pair), label).loss

        def expected(network):
            rewards = jax.lax.map(lambda pair: REWARDS["gain"](play(network, pair).logits, label).sum(), pairs)
            return jax.lax.map(functools.partial(probability, network), pairs) @ rewards

        weights = jax.lax.map(functools.partial(probability, network), pairs)
        gradients = jax.lax.map(lambda pair: jax.grad(loss)(network, pair), pairs)
        estimate = jax.tree.map(lambda leaf: -jnp.tensordot(weights, leaf, 1), gradients)
        return weights.sum(), estimate, jax.grad(expected)(network)

    total, estimate, exact = both(params["location_network"])
    assert float(total) == pytest.approx(1, rel=1e-4)
    for one, other in zip(jax.tree.leaves(estimate), jax.tree.leaves(exact), strict=True):
        assert np.abs(other).max() > 1e-3
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_an_episode_of_the_grid_policy_has_no_sigma_and_its_mode_as_mean():
    config, _ = _grid_agent()
    made = make_ram(config, 12, 12, 1, 3)
    params = jax.jit(made.model.init)(KEY)
    images = jnp.zeros((5, 12, 12, 1), jnp.uint8)
    play = jax.jit(made.play, static_argnums=3)
    sampled, greedy = (play(params, KEY, images, kind) for kind in ("sampled", "greedy"))
    places = {tuple(place) for place in np.asarray(importlib.import_module("my_policy").PLACES).round(4)}
    for field in (sampled.locations, sampled.modes, greedy.locations):
        assert {tuple(place) for place in np.asarray(field[1:]).reshape(-1, 2).round(4)} <= places
    assert not np.any(sampled.sigmas) and np.all(np.asarray(sampled.entropies[1:]) > 0)
    np.testing.assert_array_equal(greedy.locations[1:], greedy.modes[1:])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--learned-sigma state", "learned_sigma 'state' with {policy}: it names no argument or field learned"),
        (
            "--location-network-hidden 4",
            "location_network_hidden 4 with {policy}: it names no argument or",
        ),
        ("--sigma 0.2", "sigma '0.2' with {policy}: its __call__ has no argument sigma"),
        ("--sigma-final 0.2", "sigma_final '0.2' with {policy}: its __call__ has no argument sigma"),
    ],
)
def test_settings_that_the_grid_policy_does_not_read_are_refused(folder, capsys, flags, message):
    with pytest.raises(SystemExit, match="2"):
        ram.main([*_command(GRID).split(), *SMALL.split(), *flags.split()])
    policy = "location_policy 'my_policy:GridLocationNetwork'"
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"error: {message.format(policy=policy)}" in line and ", so it has no effect; leave it at " in line
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        ({"replicates": 2, "antithetic": True, "advantage": "plain_return"}, "antithetic with location_policy"),
        ({"reward": "gain", "advantage": "plain_return", "surrogate": "pathwise"}, "reparameterised = True"),
    ],
)
def test_a_location_policy_must_declare_mirrored_and_reparameterised_samples(estimator, reason):
    config = RamConfig(
        policy=PolicyConfig(location_policy="my_policy:GridLocationNetwork"), estimator=EstimatorConfig(**estimator)
    )
    with pytest.raises(ValueError, match=reason):
        validate(config, 100, 100)
