"""Benchmarks: PyTorch's RAM computes the same as the JAX agent, and results are measured and summarised."""

import dataclasses
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.attention.config import LossConfig, PolicyConfig, RetinaConfig, make_retina
from common.attention.glimpse import glimpse, summed_area_table
from common.policy_gradient import EstimatorConfig
from common.training.optimizers import OptimizerConfig
from common.training.step import StepInput
from experiments.benchmarks import convolution_speed, training_speed
from experiments.benchmarks.arithmetic import matrix_products
from experiments.benchmarks.training_speed import SpeedConfig, make_experiment, make_table, measure_rate, summarise
from ram.agent import make_ram
from ram.config import AgentConfig, RamConfig

ROOT = Path(__file__).parents[3]
# Neither square nor with one channel, so that swapped axes are detected.
HEIGHT, WIDTH, CHANNELS, CLASSES, BATCH, REPLICATES = 40, 30, 2, 5, 12, 2
CONFIG = RamConfig(
    RetinaConfig(glimpse_size=6, num_scales=3),
    AgentConfig(num_glimpses=3, glimpse_hidden=16, location_hidden=12, glimpse_features=24, core_hidden=20),
    PolicyConfig(sigma="8px"),
    LossConfig(classification_weight=0.9, policy_weight=0.7, value_weight=1.3),
    EstimatorConfig(replicates=REPLICATES),
)
TINY = SpeedConfig(
    task="mnist28",
    batch_size=8,
    replicates=(2,),
    glimpse_size=4,
    num_scales=2,
    num_glimpses=2,
    core_hidden=8,
    seconds=0.1,
    rounds=2,
    chunk_steps=2,
    pool=16,
    product_size=32,
)
HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture
def torch():
    """PyTorch on one thread: several are slow where other programs keep the cores busy."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(before)


@pytest.fixture
def torch_ram(torch):
    from experiments.benchmarks import torch_ram

    return torch_ram


def to_torch(tree):
    """Flax parameters, or gradients, under the names and in the layout of `TorchRam`.

    Flax's LSTM has one bias, PyTorch's has two, on the input and on the hidden state. Their gradients are the same.
    """
    networks = {
        "glimpse": tree["glimpse_network"]["what"],
        "glimpse_out": tree["glimpse_network"]["what_out"],
        "location": tree["glimpse_network"]["where"],
        "location_out": tree["glimpse_network"]["where_out"],
        "mean": tree["location_network"]["mean"],
        "logits": tree["action_network"]["logits"],
        "value": tree["baseline_network"]["value"],
    }
    arrays = {}
    for name, dense in networks.items():
        arrays |= {f"{name}.weight": dense["kernel"].T, f"{name}.bias": dense["bias"]}
    cell = tree["core"]["cell"]
    for torch_name, flax_name in (("ih", "i"), ("hh", "h")):
        kernels = [cell[flax_name + gate]["kernel"].T for gate in "ifgo"]
        arrays[f"core.weight_{torch_name}"] = np.concatenate(kernels)
    arrays["core.bias_hh"] = np.concatenate([cell[f"h{gate}"]["bias"] for gate in "ifgo"])
    return {name: np.array(array) for name, array in arrays.items()}


def channels_first(torch, images, replicates=1):
    """Convert uint8 ``[B, H, W, C]`` to floats in [0, 1], ``[M * B, C, H, W]``."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).repeat(replicates, 1, 1, 1)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (BATCH, HEIGHT, WIDTH, CHANNELS), dtype=np.uint8)


@pytest.mark.parametrize("retina", [RetinaConfig(6, 3), RetinaConfig(5, 3), RetinaConfig(7, 1), RetinaConfig(4, 3, 3)])
def test_glimpses_equal_the_sensor(torch, torch_ram, images, retina):
    locations = np.random.default_rng(1).uniform(-1, 1, (BATCH, 2)).astype(np.float32)
    locations[:5] = [(0, 0), (-1, -1), (1, 1), (-1, 1), (1, -1)]
    ours = jax.vmap(lambda image, where: glimpse(summed_area_table(image), where, make_retina(retina)))(
        jnp.array(images), jnp.array(locations)
    )
    theirs, where = channels_first(torch, images), torch.from_numpy(locations)
    padded = torch.nn.functional.pad(theirs, (torch_ram.reach(retina),) * 4)
    for seen in (torch_ram.glimpse(theirs, where, retina), torch_ram.tuned_glimpse(padded, where, retina)):
        np.testing.assert_allclose(ours, seen.numpy(), rtol=0, atol=1e-6)


@pytest.fixture
def ours(images):
    """Compute the agent's parameters, labels, episodes ``[T, M, B]``, loss and gradients."""
    ram = make_ram(CONFIG, HEIGHT, WIDTH, CHANNELS, CLASSES)

    @jax.jit
    def everything(key, images):
        # Biases start at zero, which would hide a missing one.
        params = jax.tree.map(
            lambda leaf: leaf + 0.05 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), ram.model.init(key)
        )
        keys = jax.random.split(key, REPLICATES)
        episode = jax.vmap(lambda key: ram.play(params, key, images, "sampled"), out_axes=1)(keys)
        # Half of the labels are the first replicate's predictions, so that some are rewarded and some are not.
        predictions = episode.logits[-1, 0].argmax(-1)
        labels = (predictions + jnp.arange(BATCH) % 2) % CLASSES
        loss = jax.value_and_grad(ram.model.loss, has_aux=True)
        (value, (metrics, _)), grads = loss(params, key, images, labels, StepInput(jnp.zeros(()), ram.model.hyper))
        return params, labels, episode, value, metrics, grads

    return jax.device_get(everything(jax.random.key(1), jnp.array(images)))


@pytest.mark.parametrize("tuned", [False, True])
def test_episode_loss_and_gradients_equal_the_agent(torch, torch_ram, images, ours, tuned):
    params, labels, episode, value, metrics, grads = ours
    assert 0.1 < metrics["reward"] < 0.9
    model = torch_ram.TorchRam(CONFIG, HEIGHT, WIDTH, CHANNELS, CLASSES, tuned=tuned)
    weights = {name: torch.from_numpy(array) for name, array in to_torch(params).items()}
    weights["core.bias_ih"] = torch.zeros_like(weights["core.bias_hh"])
    model.load_state_dict(weights)
    samples = torch.tensor(episode.samples[1:].reshape(-1, REPLICATES * BATCH, 2))
    theirs = model(channels_first(torch, images, REPLICATES), samples)
    loss = torch_ram.hybrid_loss(CONFIG.loss, theirs, torch.tensor(labels).long().repeat(REPLICATES))
    loss.backward()

    for name, first in {"locations": 0, "logits": 0, "modes": 1, "log_probs": 1, "values": 1}.items():
        actual = getattr(theirs, name).detach().numpy()
        expected = getattr(episode, name)[first:].reshape(actual.shape)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(loss.item(), value, rtol=1e-5)
    gradients = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    expected = to_torch(grads)
    expected["core.bias_ih"] = expected["core.bias_hh"]
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        largest = np.abs(gradient).max()
        assert largest > 0, name
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-4, atol=1e-4 * largest, err_msg=name)


def test_locations_are_sampled_from_the_policy_by_default(torch, torch_ram, images):
    torch.manual_seed(0)
    model = torch_ram.TorchRam(CONFIG, HEIGHT, WIDTH, CHANNELS, CLASSES)
    episode = model(channels_first(torch, images, 100))
    moves = (episode.locations[1:] - episode.modes).detach()
    inside = (episode.locations[1:].abs() < 1).all(-1)
    assert episode.locations[0].abs().max() == 0
    assert inside.float().mean() < 1 and episode.locations.abs().max() <= 1
    # 8 px are 8/15 of half the width and 8/20 of half the height; less than that where ends are cut off.
    far = RamConfig(CONFIG.retina, CONFIG.agent, PolicyConfig(sigma="1px"), CONFIG.loss, CONFIG.estimator)
    model.sigma = torch_ram.TorchRam(far, HEIGHT, WIDTH, CHANNELS, CLASSES).sigma
    assert 0.3 < moves[..., 1].std() < 0.4 < moves[..., 0].std() < 8 / 15
    episode = model(channels_first(torch, images, 100))
    moves = (episode.locations[1:] - episode.modes).detach()
    np.testing.assert_allclose(moves.std((0, 1)).numpy(), [1 / 15, 1 / 20], rtol=0.05)


def test_torch_trainer_learns(torch_ram):
    labels = np.arange(64) % 2
    images = np.broadcast_to((255 * labels).astype(np.uint8)[:, None, None, None], (64, HEIGHT, WIDTH, CHANNELS))
    optimizer = OptimizerConfig(learning_rate=1e-2, schedule="constant")
    trainer = torch_ram.TorchTrainer(CONFIG, optimizer, images, labels, num_classes=2, batch_size=16)
    losses = [trainer.step().item() for _ in range(60)]
    assert np.isfinite(losses).all()
    classification = CONFIG.loss.classification_weight * math.log(2)
    assert losses[0] > 0.8 * classification
    assert np.mean(losses[-10:]) < 0.3 * classification


def test_configurations_that_torch_does_not_support_are_refused(torch_ram):
    with pytest.raises(ValueError, match="core 'gru': the PyTorch implementation has only 'lstm'"):
        torch_ram.check_supported(RamConfig(agent=AgentConfig(core="gru")))
    torch_ram.check_supported(make_experiment(SpeedConfig(), 10).model)


def test_without_torch_the_error_is_one_line(monkeypatch, capsys):
    # The command line is parsed before, because the parser looks for torch among the modules.
    monkeypatch.setattr(training_speed, "parse", lambda *args: TINY)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "experiments.benchmarks.torch_ram", raising=False)
    with pytest.raises(SystemExit, match="2"):
        training_speed.main([])
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "pip install '.[benchmark]'" in error and "--no-torch" in error


def as_flags(config):
    """Return the flags of a configuration."""
    flags = []
    for name, value in dataclasses.asdict(config).items():
        name = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no-{name}")
        elif value is not None:
            flags += [f"--{name}", *map(str, value if isinstance(value, tuple) else [value])]
    return flags


@pytest.mark.parametrize("compared", [False, True])
def test_training_speed_writes_its_results(compared, tmp_path, capsys, monkeypatch, request):
    if compared:
        request.getfixturevalue("torch")
    elif HAS_TORCH:
        # With PyTorch installed, the other case measures the real one.
        monkeypatch.setattr(training_speed, "jax_training", lambda *_: ((lambda: 16.0), 1e6))
    config = dataclasses.replace(TINY, torch=compared, output=tmp_path / "speed.json")
    training_speed.main(as_flags(config))
    printed = capsys.readouterr().out
    assert "episodes/s" in printed and ("PyTorch" in printed) == compared
    record = json.loads((tmp_path / "speed.json").read_text())
    assert {"commit", "device", "versions", "settings", "load_before", "results"} <= record.keys()
    (result,) = record["results"]
    rates = result["episodes_per_second"]
    assert result["replicates"] == 2
    assert rates.keys() == ({"jax", "torch", "torch_tuned"} if compared else {"jax"})
    assert all(len(rate["rounds"]) == 2 and min(rate["rounds"]) > 0 for rate in rates.values())
    assert result["step_flops"] > 0
    assert (record["torch"] is not None) == compared


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--rounds", "0"], "rounds 0: must be at least 1"),
        (["--seconds", "0"], "seconds 0.0: must be above 0"),
        (["--batch-size", "0"], "batch_size 0: must be at least 1"),
        (["--replicates", "0"], "replicates 0: must be at least 1"),
        (["--replicates", "1", "0"], "replicates 0: must be at least 1"),
        (["--task", "images"], "task 'images': must be one made from MNIST"),
        (["--task", "mnist29"], "did you mean 'mnist28'"),
        (["--output", "missing/speed.json"], "output 'missing/speed.json': must be a file in a folder that exists"),
    ],
)
def test_bad_flags_are_one_line(flags, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0, 9.0, 9.0))  # A bad flag comes before the warning.
    with pytest.raises(SystemExit, match="2"):
        training_speed.main(["--no-torch", "--task", "mnist28", *flags])
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "loading" not in error


def test_ctrl_c_prints_one_line():
    """A process that is measuring stops on Ctrl-C with one line."""
    flags = ["--no-torch", "--task", "mnist28", "--batch-size", "2", "--seconds", "1e6"]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.benchmarks.training_speed", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert any(line.startswith("loading mnist28") for line in process.stderr)
    process.send_signal(signal.SIGINT)
    err, out = process.stderr.read(), process.stdout.read()
    # A signal in the middle of a line's printing prints it twice.
    assert process.wait() == 130 and out == "" and "Traceback" not in err
    assert [line for line in err.splitlines() if not line.startswith("loading")] == ["interrupted; nothing was written"]


def test_summary_is_the_arithmetic_of_medians():
    rates = {
        "jax": [900.0, 1000.0, 1300.0],
        "torch": [100.0, 250.0, 200.0],
        "torch_tuned": [450.0, 500.0, 500.0],
        "product": [2e9, 1e9, 4e9],
        "images": [50.0, 100.0, 200.0],
        "sensor": [400.0, 100.0, 200.0],
    }
    summary = summarise(rates, batch=100, flops=150_000_000)
    assert summary["ratio"] == 5.0
    assert summary["ratio_rounds"] == [9.0, 4.0, 6.5]
    assert summary["ratio_tuned"] == 2.0
    assert summary["ratio_tuned_rounds"] == [2.0, 2.0, 2.6]
    assert summary["step_seconds"] == 0.1
    assert summary["arithmetic_share_of_product_rate"] == pytest.approx(1.5e9 / 2e9)
    assert summary["sensor_share_of_step"] == pytest.approx(0.005 / 0.1)
    assert summary["images_share_of_step"] == pytest.approx(0.01 / 0.1)
    settings = {"task": "mnist28", "batch_size": 100, "rounds": 3}
    facts = {"device": "a CPU", "torch": {"device": "CPU"}, "load_before": 3.0}
    table = make_table(facts | {"settings": settings, "results": [{"replicates": 1} | summary]})
    assert [list(column.cells)[0] for column in table.columns] == ["JAX", "1,000 images/s"]
    assert {"5.00 (4.00 to 9.00)", "2.00 (2.00 to 2.60)"} <= set(table.columns[1].cells)
    assert "the machine is busy (load 3.0)" in table.caption and "the ratio flatters JAX" in table.caption
    alone = make_table(facts | {"torch": None, "settings": settings, "results": [{"replicates": 1} | summary]})
    assert "the machine is busy (load 3.0)" in alone.caption and "ratio" not in alone.caption


def test_the_rate_counts_whole_calls():
    calls = []

    def work():
        calls.append(None)
        return 2.0

    rate = measure_rate(work, 0.01)
    assert rate <= 2 * len(calls) / 0.01


def test_matrix_products_count_their_operations():
    flops = matrix_products(16)()
    assert flops > 0 and flops % (2 * 16**3) == 0


def test_convolution_speed_writes_its_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        convolution_speed, "LAYERS", (convolution_speed.Layer(4, 2, 3), convolution_speed.Layer(4, 2, 0))
    )
    path = tmp_path / "speed.json"
    convolution_speed.main(["--batch-size", "2", "--steps", "1", "--rounds", "1", "--output", str(path)])
    layers = json.loads(path.read_text())["layers"]
    assert [layer["filters"] for layer in layers] == [3, 0] and all(layer["ours"] > 0 for layer in layers)
    assert "max-pooling of 2" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        convolution_speed.main(["--rounds", "0"])
    assert stop.value.code == 2 and "rounds 0: must be at least 1" in capsys.readouterr().err
