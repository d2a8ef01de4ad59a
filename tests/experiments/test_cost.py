"""Counts of parameters and operations, against products counted by hand."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import pytest

from common.attention.config import RetinaConfig
from common.data import find_task
from common.networks.image_classifiers import ClassifierConfig
from dram.config import AgentConfig as DramAgentConfig
from dram.config import DramConfig
from experiments import cost
from experiments.cost import shapes_of
from experiments.families import FAMILIES
from experiments.families.cnn import PRESETS as CNN_PRESETS
from experiments.families.cnn import CnnExperiment
from experiments.families.dram import DramExperiment
from experiments.families.ram import RamExperiment
from experiments.output.json_files import write_json
from experiments.runs.cost import cost_of
from experiments.training.config import DataConfig, to_json
from ram.config import AgentConfig, RamConfig
from tests.experiments.family_of import build, family_of
from tests.experiments.results_maker import ERROR, results_of

DIGITS, NUMBERS = DataConfig("mnist28"), DataConfig("house_numbers")


def flops_of(experiment, size=None):
    return cost_of("x", family_of(experiment), experiment, shapes_of(experiment.data, size)).flops


def dense(*units):
    return sum(2 * a * b for a, b in zip(units[:-1], units[1:], strict=True))


def padded(side, kernel):
    """Count the products of a kernel that moves over a padded line of pixels, without those with padding."""
    return sum(min(at + kernel // 2, side - 1) - max(at - kernel // 2, 0) + 1 for at in range(side))


def test_operations_of_ram_match_a_count_by_hand():
    agent = AgentConfig(
        num_glimpses=3, glimpse_hidden=200, location_hidden=100, glimpse_features=300, core="rnn", core_hidden=150
    )
    flops = flops_of(RamExperiment(data=DIGITS, model=RamConfig(retina=RetinaConfig(8, 2), agent=agent)))
    glimpse = dense(2 * 8 * 8, 200, 300) + dense(2, 100, 300) + dense(150, 150) + dense(300, 150)
    products = 3 * (glimpse + dense(150, 10)) + 2 * dense(150, 2)
    # Biases, activations, and the sensor with its sums over the image.
    assert 0 < flops - products < 0.06 * products


@pytest.mark.parametrize("convolutions", [False, True])
def test_operations_of_dram_match_a_count_by_hand(convolutions):
    agent = DramAgentConfig(
        glimpses_per_target=1,
        glimpse_network="conv" if convolutions else "dense",
        conv_channels=32,
        glimpse_features=256,
        core="lstm",
        lower_hidden=128,
        upper_hidden=192,
        context=False,
    )
    flops = flops_of(DramExperiment(data=NUMBERS, model=DramConfig(retina=RetinaConfig(12, 2), agent=agent)))
    read = dense(12 * 12 * 6, 256)
    if convolutions:
        read = 2 * (8 * 8 * 25 * 6 * 32 + 6 * 6 * 9 * 32 * 32 + 4 * 4 * 9 * 32 * 64) + dense(4 * 4 * 64, 256)
    lower, upper = dense(256 + 128, 4 * 128), dense(128 + 192, 4 * 192)
    glimpse = read + dense(2, 256) + lower + upper + dense(128, 11)
    products = 6 * glimpse + 5 * dense(192, 2)
    assert 0 < flops - products < 0.06 * products


@pytest.mark.parametrize("sides", [(30, 15, 8, 4), (12, 6, 3, 2)])
def test_operations_of_convolutions_match_a_count_by_hand(sides):
    experiment = CnnExperiment(data=NUMBERS, model=ClassifierConfig("addition_cnn", width=0.25))
    products, channels = 0, 3
    for side in sides[:-1]:
        products += 2 * padded(side, 5) ** 2 * channels * 16
        channels = 16
    products += dense(sides[-1] ** 2 * 16, 128, 6 * 11)
    assert 0 < flops_of(experiment, sides[0]) - products < 0.04 * products


def test_operations_grow_linearly_with_the_number_of_glimpses():
    def flops(glimpses):
        return flops_of(RamExperiment(data=DIGITS, model=RamConfig(agent=AgentConfig(num_glimpses=glimpses))))

    two, three, five = map(flops, (2, 3, 5))
    assert five - three == pytest.approx(2 * (three - two), rel=0.01) and three > 1.4 * two


def test_glimpses_after_the_end_symbol_cost_nothing():
    experiment = DramExperiment(data=NUMBERS, model=DramConfig(agent=DramAgentConfig(2)))
    shapes = shapes_of(NUMBERS)
    family = family_of(experiment)
    counts = [cost_of("x", family, experiment, shapes, symbols).to_end for symbols in (1.0, 3.0, 3.5, 6.0)]
    # The count of an episode of so many symbols is that of data whose longest sequences have so many.
    for symbols, count in zip((1, 3, 6), (counts[0], counts[1], counts[3]), strict=True):
        split = shapes.validation._replace(labels=shapes.validation.labels[:, :symbols])
        alone = cost_of("x", family_of(experiment), experiment, dataclasses.replace(shapes, validation=split))
        assert alone.glimpses == symbols * experiment.model.agent.glimpses_per_target
        assert count == pytest.approx(alone.flops, rel=0.002)
    assert counts[2] == pytest.approx(counts[1] + (counts[3] - counts[1]) / 6)


def test_operations_match_those_of_the_compiled_program():
    experiment = CnnExperiment(data=NUMBERS, model=ClassifierConfig("addition_cnn", width=0.1))
    dataset = shapes_of(NUMBERS, 30)  # No map so small that a CPU would multiply its padding.
    model = build(experiment, dataset).model
    params = jax.eval_shape(model.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, 30, 30, 3), jnp.uint8)
    program = jax.jit(lambda params, image: model.predict(params, jax.random.key(0), image, "greedy"))
    compiled = (program.lower(params, image).compile().cost_analysis() or {}).get("flops")
    if not compiled:
        pytest.skip("this device reports no operations of compiled programs")
    assert flops_of(experiment, 30) == pytest.approx(compiled, rel=0.05)


@pytest.mark.parametrize("family", ["stn", "colocalisation", "soft_attention"])
def test_networks_that_see_the_whole_image_are_counted(family):
    _, experiment = next(iter(FAMILIES[family].presets.values()))
    counted = cost_of("x", family_of(experiment), experiment, shapes_of(experiment.data))
    assert counted.flops > counted.parameters > 0 and counted.glimpses is None


def test_operations_grow_with_the_image_for_a_cnn_but_not_for_an_agent():
    network = CnnExperiment(data=NUMBERS, model=ClassifierConfig("cnn10"))
    assert flops_of(network, 110) > 4 * flops_of(network, 54)
    agent = DramExperiment(data=NUMBERS, model=DramConfig(retina=RetinaConfig(12, 2)))
    assert flops_of(agent, 110) < 1.1 * flops_of(agent, 54)


@pytest.mark.parametrize("name", [name for name in CNN_PRESETS if name != "images"])
def test_networks_of_cnn_presets_fit_their_images(name):
    experiment = CNN_PRESETS[name][1]
    model = build(experiment, shapes_of(experiment.data)).model
    assert jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0)))


# -- The command. --


def rows(out):
    """Return the cells of a printed table, without its header."""
    lines = [line for line in out.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def test_the_table_has_a_row_for_each_run_and_preset(tmp_path, capsys):
    data = dataclasses.replace(NUMBERS, resize=16, grayscale=True)
    experiment = CnnExperiment(data=data, model=ClassifierConfig("fc", units=10))
    (tmp_path / "run").mkdir()
    identity = {"family": "cnn", "preset": "house_numbers", "config": to_json(experiment)}
    write_json(tmp_path / "run" / "config.json", identity)
    cost.main([str(tmp_path / "run"), "--preset", "ram/mnist28", "--episodes", "4"])
    network, agent = rows(capsys.readouterr().out)
    assert network[:5] == ["run (cnn)", "16x16x1", "", "256", f"{(257 * 10 + 11 * 10 + 11 * 66) / 1e6:.3f}"]
    assert network[5] != "" and network[6:] == ["", ""]
    assert agent[:4] == ["ram/mnist28 (ram)", "28x28x1", "7", f"{7 * 8 * 8}"]
    assert agent[6] == "" and float(agent[7]) == pytest.approx(4 * float(agent[5]), abs=2.1e-4)


def test_the_table_counts_operations_up_to_the_end_symbol_once_a_run_has_results(tmp_path, capsys):
    experiment = DramExperiment(data=NUMBERS, model=DramConfig(retina=RetinaConfig(12, 2)))
    identity = {"family": "dram", "preset": "house_numbers", "config": to_json(experiment)}
    write_json(tmp_path / "config.json", identity)
    cost.main([str(tmp_path)])
    (before,) = rows(capsys.readouterr().out)
    test = {"greedy": ERROR | {"n": 40, "symbol": ERROR | {"n": 80}}}
    write_json(tmp_path / "results.json", results_of(test=test))
    cost.main([str(tmp_path)])
    (after,) = rows(capsys.readouterr().out)
    assert before[6] == "" and before[:6] == after[:6]
    assert float(after[6]) == pytest.approx(float(after[5]) / 2, rel=0.1)  # Three symbols of six.
    # Three channels: 3 glimpses of each of 6 symbols, of 2 scales of 12x12 cells, and the coarse image of 16x16.
    assert after[3] == f"{3 * (18 * 2 * 144 + 256):,}"


def test_a_row_for_each_size(capsys):
    cost.main(["--preset", "cnn/mnist28", "--size", "54", "110"])
    assert [row[1] for row in rows(capsys.readouterr().out)] == ["54x54x1", "110x110x1"]


def test_shapes_of_own_images_are_those_of_their_file(images, capsys):
    assert shapes_of(DataConfig("images", data=str(images))).height == 12
    assert shapes_of(DataConfig("cluttered60", data=str(images))).num_classes == 3
    assert find_task("svhn_numbers").numbers and shapes_of(DataConfig("svhn_numbers", data="absent")).height == 54


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "no model to count: give folders of runs, or --preset FAMILY/PRESET"),
        (["--preset", "mnist28"], "preset 'mnist28': must be FAMILY/PRESET, such as cnn/house_numbers"),
        (["--preset", "cnn/mnist"], "unknown preset 'mnist': did you mean 'mnist28'"),
        (["--preset", "rum/mnist28"], "unknown family 'rum'"),
        (["--preset", "cnn/mnist28", "--size", "0"], "size 0: must be at least 1"),
        (["--preset", "cnn/mnist28", "--size", "9"], "network 'paper_cnn' on 9x9 images: needs at least 10x10"),
        (["--preset", "ram/mnist28", "--episodes", "0"], "episodes 0: must be at least 1"),
        (["absent"], "run directory 'absent' holds no config.json"),
        (["damaged"], "'damaged/config.json' is damaged"),
    ],
)
def test_bad_input_is_one_line(flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged").mkdir()
    write_json(tmp_path / "damaged" / "config.json", {"family": "cnn"})
    with pytest.raises(SystemExit, match="2"):
        cost.main(flags)
    out, err = capsys.readouterr()
    assert out == "" and re.fullmatch(r"error: .*\n", err) and message in err
