"""The commands of differentiable attention, from their flags to their pictures."""

import contextlib
import dataclasses
import io
import json
import shutil
from pathlib import Path

import chex
import jax
import numpy as np
import optax
import pytest
from PIL import Image

from common.data import load_task
from common.data.array_cache import read_arrays
from common.data.blank import blank_task
from experiments import colocalisation, evaluate, soft_attention, stn
from experiments.cli.command_line import parse_preset
from experiments.evaluation.places import split_layouts, true_boxes
from experiments.families import FAMILIES
from experiments.families.cnn import PRESETS as CNN_PRESETS
from experiments.families.colocalisation import PRESETS as COLOCALISATION_PRESETS
from experiments.families.dram import PRESETS as DRAM_PRESETS
from experiments.families.soft_attention import PRESETS as SOFT_PRESETS
from experiments.families.stn import PRESETS as STN_PRESETS
from experiments.runs.restore import read_run
from experiments.runs.warm_start import begin
from experiments.training.config import load_dataset
from experiments.training.metrics_file import read_metrics
from experiments.training.run_directory import read_json
from stn.colocalisation import ENCODER
from stn.config import NetworkConfig
from tests.experiments.family_of import build

LOOP = "--task images --steps 4 --batch-size 8 --log-every 2 --evaluate-every 2 --seed 5"


TRANSFORMER = f"RTS_st_fcn --units 8 --localisation-units 4 --downsample 1 {LOOP}"
ENCODER_FLAGS = f"mnist28_cnn --resize 22 --no-plots {LOOP}"
FINDER = "T84 --crop 22 --filters 2 --steps 2 --batch-size 8 --log-every 2 --evaluate-every 2"


@pytest.fixture(scope="module")
def train(images, tmp_path_factory):
    """Trains a run in a folder of its own, which it returns with the output and the messages."""

    def call(module, line):
        folder, out, err = tmp_path_factory.mktemp("runs") / "run", io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            module.main([*line.split(), "--data", str(images), "--run-dir", str(folder)])
        return folder, out.getvalue(), err.getvalue()

    return call


@pytest.fixture(scope="module")
def transformer(train):
    return train(stn, TRANSFORMER)


@pytest.fixture(scope="module")
def encoder(train):
    """The folder of a classifier of crops."""
    return train(stn, ENCODER_FLAGS)[0]


@pytest.fixture(scope="module")
def localiser(train, encoder):
    return train(colocalisation, f"{FINDER} --encoder-from {encoder}")


def check_results_and_pictures(run, family, picture):
    folder, out, err = run
    results = read_json(folder / "results.json")
    assert results["family"] == family and results["seed"] == 5
    assert set(results["test"]) == {"greedy"} and results["test"]["greedy"]["n"] == 15
    validated = [set(record) for record in read_metrics(folder) if "validation_error" in record]
    assert len(validated) == 2 and not any("validation_greedy_error" in record for record in validated)
    drawn = {path.name for path in (folder / "plots").iterdir()}
    moving = {"training.gif"} if picture == "transformers.png" else set()
    assert drawn == {"learning_curves.png", "confusion.png"} | ({picture} if picture else set()) | moving
    assert "test accuracy: " in out and (folder / "report.html").is_file()
    assert f"{optax.tree.size(read_run(folder).params()):,} parameters" in err


def test_a_run_with_transformers_leaves_results_and_pictures(transformer):
    check_results_and_pictures(transformer, "stn", "transformers.png")


@pytest.mark.parametrize(
    "module, line, picture",
    [
        (stn, "RTS_fcn --units 8", None),
        (soft_attention, "cluttered60 --units 8 --core rnn --core-hidden 8 --num-glimpses 2", "attention.png"),
        pytest.param(
            *(soft_attention, "cluttered60_additive --filters 2 --layers 2 --hidden 8", "attention.png"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_run_leaves_results_and_pictures(train, module, line, picture):
    family = module.__name__.rpartition(".")[2]
    check_results_and_pictures(train(module, f"{line} {LOOP}"), family, picture)


def test_a_resumed_run_has_the_same_animation(transformer, go):
    shutil.copytree(transformer[0], "run")
    whole = Path("run/plots/training.gif").read_bytes()
    frames = Image.open(io.BytesIO(whole))
    assert frames.n_frames == 3, "before the first step, and at two validations"
    then = [read_arrays(f"run/history/{step}.npz") for step in (0, 2, 4)]
    np.testing.assert_allclose(then[0]["output_0"], then[0]["images"] / np.float32(255), rtol=1e-6)
    assert not np.array_equal(then[1]["grid_0"], then[2]["grid_0"])
    shutil.rmtree("run/checkpoints/4")
    Path("run/plots/training.gif").unlink()
    go(stn, TRANSFORMER.split(), "--resume")
    assert Path("run/plots/training.gif").read_bytes() == whole


@pytest.mark.parametrize(
    "module, line, message",
    [
        (stn, "RTS --downsample 0", "downsample 0: must be at least 1"),
        (stn, "RTX", "unknown preset 'RTX': did you mean 'RTS'?"),
        (stn, "R", "network 'cnn' on 12x12 images: needs at least 21x21"),
        (soft_attention, "cluttered60 --num-glimpses 0", "num_glimpses 0: must be from 1 to 200"),
        (soft_attention, "cluttered60_additive --layers 9", "layers 9: 12x12 images can be halved 3 times"),
        (soft_attention, "cluttered60 --heads 4", "heads 4 with attention 'filter_bank': only 'pooling' reads it"),
        (
            soft_attention,
            "cluttered60_additive --core gru",
            "core 'gru' with attention 'pooling': only 'filter_bank' reads it",
        ),
        (
            soft_attention,
            "cluttered100 --glimpse-network dense --conv-channels 8",
            "conv_channels 8 with glimpse_network 'dense': only 'conv' reads it, so it has no effect; leave it at 16",
        ),
        (stn, "RTS_fcn --units 8 --parallel 2", "parallel 2 with place 'none', so it has no effect; leave it at 1"),
        (stn, "RTS_st_fcn --localisation-filters 9", "localisation_filters 9 with localisation 'dense': only"),
        (stn, "RTS_st_fcn --control-points 9", "control_points 9 with transform 'affine': only 'tps' reads it"),
        (stn, "RTS_st_fcn --width 0.5", "width 0.5 with network 'fcn': only 'cnn11' reads it"),
        (stn, "RTS_st_fcn --padding border --background 0.5", "background 0.5 with padding 'border': only 'constant'"),
        (stn, "RTS_st_fcn --downsample 1 --pooling max", "pooling 'max' with downsample 1, so it has no effect"),
    ],
)
def test_bad_input_is_one_line(refused, module, line, message):
    assert message in refused(module, [*line.split(), *LOOP.split()])


def test_every_transformer_has_a_counterpart_without_one():
    """The counterpart has the same images, budget and network."""

    def settings(experiment):
        data, network = experiment.data, experiment.model.network
        return data, network, experiment.optimizer, experiment.training

    experiments = {name: e for name, (_, e) in STN_PRESETS.items()}
    alone = [settings(e) for e in experiments.values() if e.model.transformer.place == "none"]
    for _, cnn in CNN_PRESETS.values():
        if cnn.model.network == "cnn11":
            network = NetworkConfig("cnn11", width=cnn.model.width, dropout=cnn.model.dropout, input_mean=0.5)
            alone.append((cnn.data, network, cnn.optimizer, cnn.training))
    assert [name for name, e in experiments.items() if settings(e) not in alone] == []
    # All presets on a single distorted digit have the same budget.
    distorted = [e for e in experiments.values() if e.data.task.startswith(("distorted", "tc60"))]
    assert len(distorted) == 15 and len({(e.training, e.optimizer) for e in distorted}) == 1


def test_both_kinds_of_soft_attention_have_presets():
    assert {e.model.attention for _, e in SOFT_PRESETS.values()} == {"pooling", "filter_bank"}


def test_presets_of_house_numbers_use_the_same_image_sizes():
    for task in ("house_numbers", "svhn_numbers"):
        presets = [e for presets in (CNN_PRESETS, STN_PRESETS, DRAM_PRESETS) for _, e in presets.values()]
        seen = {(e.data.resize, e.data.grayscale) for e in presets if e.data.task == task}
        assert seen <= {(None, True), (32, True)} and (None, True) in seen


def test_colocalisation_needs_batches_of_two():
    experiment = COLOCALISATION_PRESETS["T84"][1]
    alone = dataclasses.replace(experiment, training=dataclasses.replace(experiment.training, batch_size=1))
    with pytest.raises(ValueError, match="batch_size 1: must be at least 2, since pairs are compared"):
        build(alone, blank_task("T84"))


def test_colocalisation_compares_crops_with_the_frozen_encoder_of_another_run(encoder, localiser, tmp_path, capsys):
    folder, out, _ = localiser
    results = read_json(folder / "results.json")
    assert results["family"] == "colocalisation" and set(results["test"]) == {"greedy"}
    assert set(results["overlap"]) == {"validation", "test"} and results["overlap"]["test"]["n"] == 15
    assert 0 < results["overlap"]["test"]["mean"] < 1
    assert {path.name for path in (folder / "plots").iterdir()} >= {
        "learning_curves.png",
        "transformers.png",
        "training.gif",
    }
    assert "overlap with the true boxes" in out and f"boxes found: {results['overlap']['test']['found']:.2f}% (" in out
    evaluate.main([str(folder), "--output", str(tmp_path / "errors.json")])
    assert read_json(tmp_path / "errors.json")["overlap"] == results["overlap"]
    assert "overlap with the true boxes" in capsys.readouterr().out
    frozen = jax.tree.map(np.array_equal, read_run(folder).params()[ENCODER], read_run(encoder).params())
    assert jax.tree.all(frozen), "the encoder is frozen"


def first_params(name, flags, images):
    """Return the parameters that a run begins with."""
    _, experiment = parse_preset(name, "", FAMILIES[name].presets, [*flags, "--data", str(images)])
    model = FAMILIES[name].build(experiment, load_dataset(experiment.data)).model
    return begin(FAMILIES[name], experiment, model, False)[0].params


def test_a_transformer_starts_from_the_parameters_of_another_run(transformer, images, refused):
    further = [*TRANSFORMER.split(), "--no-plots", "--seed", "1", "--init-from", str(transformer[0])]
    assert "give the model the same settings" in refused(stn, [*further, "--localisation-units", "3"])
    absent = "init_from: run directory 'absent' holds no config.json"
    assert absent in refused(stn, [*further, "--init-from", "absent"])
    # Another seed would initialise them differently.
    chex.assert_trees_all_equal(first_params("stn", further, images), read_run(transformer[0]).params())


@pytest.mark.slow
def test_a_localiser_starts_from_the_parameters_of_another_run(encoder, localiser, images, refused):
    folder = localiser[0]
    both = f"init_from '{folder}' with encoder_from '{encoder}': give one of them"
    assert both in refused(
        colocalisation, [*FINDER.split(), "--encoder-from", str(encoder), "--init-from", str(folder)]
    )
    other = f"init_from '{encoder}' is no run of experiments.colocalisation"
    assert other in refused(colocalisation, ["T84", "--batch-size", "8", "--init-from", str(encoder)])
    further = f"{FINDER.replace('T84', 'TC84')} --init-from {folder} --seed 1"
    chex.assert_trees_all_equal(first_params("colocalisation", further.split(), images), read_run(folder).params())


@pytest.mark.parametrize(
    "part, changes, message",
    [
        ("network", {"input_mean": 0.13}, "input_mean is 0.13 in that run but 0.0 here"),
        ("transformer", {"downsample": 2}, "downsample is 2 in that run but 1 here"),
    ],
)
def test_an_encoder_that_expects_other_images_is_refused(encoder, refused, part, changes, message):
    """All shapes are the same, so the parameters would load."""
    shutil.copytree(encoder, "other")
    saved = read_json(Path("other/config.json"))
    saved["config"]["model"][part] |= changes
    if part == "transformer":
        saved["config"]["data"]["resize"] = 44  # Which downsampling halves.
        Path("other/images.json").unlink()
    Path("other/config.json").write_text(json.dumps(saved))
    assert f"encoder_from 'other': {message}" in refused(colocalisation, [*FINDER.split(), "--encoder-from", "other"])


def test_colocalisation_presets_do_not_select_parameters_by_labels():
    assert not any(experiment.training.keep_best for _, experiment in COLOCALISATION_PRESETS.values())


@pytest.mark.parametrize(
    "flags, message",
    [
        ("T84", "encoder_from is not given: give the run directory of a classifier of crops"),
        ("T84 --encoder-from absent", "encoder_from: run directory 'absent' holds no config.json"),
        ("T84 --crop 90", "crop 90: must fit the 84x84 image"),
        ("T84 --crop 10", "crop 10: network 'cnn' on 10x10 images: needs at least 21x21"),
        ("T84 --background 2", "background 2.0: must be from 0 to 1"),
        ("T84 --task distorted/RTS", "task 'distorted/RTS': the place of a single digit is not known"),
        ("T85", "unknown preset 'T85'"),
    ],
)
def test_bad_input_of_colocalisation_is_one_line(refused, flags, message):
    assert message in refused(colocalisation, [*flags.split(), "--batch-size", "8"])


@pytest.mark.parametrize("split", ["validation", "test"])
def test_true_boxes_contain_the_digits(split):
    dataset = load_task("T84")
    images, boxes = getattr(dataset, split).images, true_boxes(dataset, split_layouts(dataset, split))
    assert boxes.shape == (len(images), 4) and (boxes[:, 2:] - boxes[:, :2] == 28).all()
    for image, (left, top, right, bottom) in zip(images, boxes.astype(int), strict=True):
        assert image[top:bottom, left:right].sum() == image.sum() > 0
