"""The command lines of differentiable attention, from their flags to their pictures."""

import dataclasses
import io
import shutil
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from PIL import Image

from common.data import load_task
from common.data.array_cache import read_arrays
from common.data.blank import blank_task
from experiments import colocalisation, evaluate, soft_attention, stn
from experiments.evaluation.overlap import true_boxes
from experiments.families.cnn import PRESETS as CNN_PRESETS
from experiments.families.colocalisation import PRESETS as COLOCALISATION_PRESETS
from experiments.families.dram import PRESETS as DRAM_PRESETS
from experiments.families.soft_attention import PRESETS as SOFT_PRESETS
from experiments.families.stn import PRESETS as STN_PRESETS
from experiments.training.restore import read_run
from experiments.training.run_directory import read_json, read_metrics
from stn.colocalisation import ENCODER
from stn.config import NetworkConfig
from tests.experiments.family_of import build

LOOP = "--task images --steps 4 --batch-size 8 --log-every 2 --evaluate-every 2 --seed 5"


@pytest.mark.parametrize(
    "module, line, picture",
    [
        (stn, "RTS_st_fcn --units 8 --localisation-units 4 --downsample 1", "transformers.png"),
        (stn, "RTS_fcn --units 8", None),
        (soft_attention, "cluttered60 --units 8 --core-hidden 8 --num-glimpses 2", "attention.png"),
        (soft_attention, "cluttered60_additive --filters 2 --layers 2 --hidden 8", "attention.png"),
    ],
)
def test_run_from_flags_to_pictures(go, capsys, module, line, picture):
    go(module, [*line.split(), *LOOP.split()])
    results = read_json(Path("run/results.json"))
    assert results["family"] == module.__name__.rpartition(".")[2] and results["seed"] == 5
    assert set(results["test"]) == {"greedy"} and results["test"]["greedy"]["n"] == 15
    validated = [set(record) for record in read_metrics(Path("run")) if "validation_error" in record]
    assert len(validated) == 2 and not any("validation_greedy_error" in record for record in validated)
    drawn = {path.name for path in Path("run/plots").iterdir()}
    moving = {"training.gif"} if picture == "transformers.png" else set()
    assert drawn == {"learning_curves.png", "confusion.png"} | ({picture} if picture else set()) | moving
    printed = capsys.readouterr()
    assert "test accuracy: " in printed.out and Path("run/report.html").is_file()
    assert f"{optax.tree.size(read_run(Path('run')).params()):,} parameters" in printed.err


def test_the_animation_goes_on_where_training_does(go):
    flags = [*["RTS_st_fcn", "--units", "8", "--localisation-units", "4", "--downsample", "1"], *LOOP.split()]
    go(stn, flags)
    whole = Path("run/plots/training.gif").read_bytes()
    frames = Image.open(io.BytesIO(whole))
    assert frames.n_frames == 3, "before the first step, and at two validations"
    then = [read_arrays(f"run/history/{step}.npz") for step in (0, 2, 4)]
    np.testing.assert_allclose(then[0]["output_0"], then[0]["images"] / np.float32(255), rtol=1e-6)
    assert not np.array_equal(then[1]["grid_0"], then[2]["grid_0"])
    shutil.rmtree("run/checkpoints/4")
    go(stn, flags, "--resume")
    assert Path("run/plots/training.gif").read_bytes() == whole


@pytest.mark.parametrize(
    "module, line, said",
    [
        (stn, "RTS --downsample 0", "downsample 0: must be at least 1"),
        (stn, "RTX", "unknown preset 'RTX': did you mean 'RTS'?"),
        (stn, "R", "network 'cnn' on 12x12 images: needs at least 21x21"),
        (soft_attention, "cluttered60 --num-glimpses 0", "num_glimpses 0: must be from 1 to 200"),
        (soft_attention, "cluttered60_additive --layers 9", "layers 9: 12x12 images can be halved 3 times at most"),
        (soft_attention, "cluttered60 --heads 4", "heads 4 with attention 'filter_bank': is for 'pooling'"),
        (
            soft_attention,
            "cluttered60_additive --core gru",
            "core 'gru' with attention 'pooling': is for 'filter_bank'",
        ),
        (
            soft_attention,
            "cluttered100 --glimpse-network dense --conv-channels 8",
            "conv_channels 8 with glimpse_network",
        ),
        (stn, "RTS --control-points 9", "control_points 9 with transform 'affine': only 'tps' has any"),
    ],
)
def test_bad_input_is_one_line(refused, module, line, said):
    assert said in refused(module, [*line.split(), *LOOP.split()])


def test_every_transformer_has_its_counterpart_without():
    """The same images, budget and network: what differs is the transformer."""

    def known(experiment):
        data, network = experiment.data, experiment.model.network
        return data, network, experiment.optimizer, experiment.training

    experiments = {name: e for name, (_, e) in STN_PRESETS.items()}
    alone = [known(e) for e in experiments.values() if e.model.transformer.place == "none"]
    for _, cnn in CNN_PRESETS.values():
        if cnn.model.network == "cnn11":
            network = NetworkConfig("cnn11", width=cnn.model.width, dropout=cnn.model.dropout, input_mean=0.5)
            alone.append((cnn.data, network, cnn.optimizer, cnn.training))
    assert [name for name, e in experiments.items() if known(e) not in alone] == []
    # Those on one image of distorted digits are all of one budget.
    distorted = [e for e in experiments.values() if e.data.task.startswith(("distorted", "tc60"))]
    assert len(distorted) == 15 and len({(e.training, e.optimizer) for e in distorted}) == 1


def test_all_kinds_of_soft_attention_have_presets():
    assert {e.model.attention for _, e in SOFT_PRESETS.values()} == {"pooling", "filter_bank"}


def test_presets_of_house_numbers_see_the_same_images():
    for task in ("house_numbers", "svhn_numbers"):
        presets = [e for presets in (CNN_PRESETS, STN_PRESETS, DRAM_PRESETS) for _, e in presets.values()]
        seen = {(e.data.resize, e.data.grayscale) for e in presets if e.data.task == task}
        assert seen <= {(None, True), (32, True)} and (None, True) in seen


def test_one_image_is_no_pair():
    experiment = COLOCALISATION_PRESETS["T84"][1]
    alone = dataclasses.replace(experiment, training=dataclasses.replace(experiment.training, batch_size=1))
    with pytest.raises(ValueError, match="batch_size 1: must be at least 2, since pairs are compared"):
        build(alone, blank_task("T84"))


SMALL_ENCODER = "mnist28_cnn --resize 22"
FINDER = "T84 --crop 22 --filters 2 --steps 2 --batch-size 8 --log-every 2 --evaluate-every 2 --encoder-from encoder"


def test_colocalisation_finds_with_the_eyes_of_another_run(go, capsys):
    go(stn, [*SMALL_ENCODER.split(), *LOOP.split()], "--no-plots", "--run-dir", "encoder")
    encoder = read_run(Path("encoder")).params()
    go(colocalisation, FINDER.split())
    results = read_json(Path("run/results.json"))
    assert results["family"] == "colocalisation" and set(results["test"]) == {"greedy"}
    assert set(results["overlap"]) == {"validation", "test"} and results["overlap"]["test"]["n"] == 15
    assert 0 < results["overlap"]["test"]["mean"] < 1
    assert {path.name for path in Path("run/plots").iterdir()} >= {
        "learning_curves.png",
        "transformers.png",
        "training.gif",
    }
    out = capsys.readouterr().out
    assert "overlap with the true boxes" in out and f"boxes found: {results['overlap']['test']['found']:.2f}% (" in out
    evaluate.main(["run", "--output", "again.json"])
    assert read_json(Path("again.json"))["overlap"] == results["overlap"]
    assert "overlap with the true boxes" in capsys.readouterr().out
    kept = read_run(Path("run")).params()[ENCODER]
    assert jax.tree.all(jax.tree.map(np.array_equal, kept, encoder)), "what it compares with stays as it is"


def test_a_transformer_is_trained_further(go, refused, capsys):
    small = f"RTS_st_fcn --units 8 --localisation-units 4 --downsample 1 --no-plots {LOOP}".split()
    go(stn, small, "--run-dir", "former")
    capsys.readouterr()
    further = [*small, "--seed", "1", "--init-from", "former"]
    assert "give the model the same settings" in refused(stn, [*further, "--localisation-units", "3"])
    absent = "init_from: run directory 'absent' holds no config.json"
    assert absent in refused(stn, [*small, "--init-from", "absent"])
    # So small a rate leaves it as it was; a start of its own from another seed would be another.
    go(stn, further, "--learning-rate", "1e-12")
    first, second = (read_run(Path(folder)).params() for folder in ("former", "run"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8), first, second)


def test_a_localiser_is_trained_on_among_distractors(go, refused, capsys):
    go(stn, [*SMALL_ENCODER.split(), *LOOP.split()], "--no-plots", "--run-dir", "encoder")
    go(colocalisation, FINDER.split(), "--no-plots", "--run-dir", "found")
    capsys.readouterr()
    both = "init_from 'found' with encoder_from 'encoder': give one of them"
    assert both in refused(colocalisation, [*FINDER.split(), "--init-from", "found"])
    other = "init_from 'encoder' is no run of experiments.colocalisation"
    assert other in refused(colocalisation, ["T84", "--batch-size", "8", "--init-from", "encoder"])
    # So small a rate leaves it as it was.
    further = FINDER.replace("T84", "TC84").replace("--encoder-from encoder", "--init-from found --seed 1")
    go(colocalisation, further.split(), "--no-plots", "--learning-rate", "1e-12")
    first, second = (read_run(Path(folder)).params() for folder in ("found", "run"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8), first, second)


@pytest.mark.parametrize(
    "flags, said",
    [("--input-mean 0.13", "input_mean is 0.13, here 0.0"), ("--resize 44 --downsample 2", "downsample is 2, here 1")],
)
def test_eyes_that_expect_other_images_are_refused(go, refused, capsys, flags, said):
    """All shapes are the same."""
    flags = [*SMALL_ENCODER.split(), *LOOP.split(), *flags.split()]
    go(stn, flags, "--no-plots", "--run-dir", "encoder")
    capsys.readouterr()
    assert f"encoder_from 'encoder': its {said}" in refused(colocalisation, FINDER.split())


def test_the_labels_do_not_choose_the_localiser():
    assert not any(experiment.training.keep_best for _, experiment in COLOCALISATION_PRESETS.values())


@pytest.mark.parametrize(
    "flags, said",
    [
        ("T84", "encoder_from is not given: give the run directory of a classifier of crops"),
        ("T84 --encoder-from absent", "encoder_from: run directory 'absent' holds no config.json"),
        ("T84 --crop 90", "crop 90: must fit the 84x84 image"),
        ("T84 --crop 10", "crop 10: network 'cnn' on 10x10 images: needs at least 21x21"),
        ("T84 --background 2", "background 2.0: must be from 0 to 1"),
        ("T84 --task distorted/RTS", "task 'distorted/RTS': the places of its digits are not known"),
        ("T85", "unknown preset 'T85'"),
    ],
)
def test_colocalisation_of_bad_input(refused, flags, said):
    assert said in refused(colocalisation, [*flags.split(), "--batch-size", "8"])


@pytest.mark.parametrize("split", ["validation", "test"])
def test_true_boxes_hold_the_digits(split):
    dataset = load_task("T84")
    images, boxes = getattr(dataset, split).images, true_boxes(dataset, split)
    assert boxes.shape == (len(images), 4) and (boxes[:, 2:] - boxes[:, :2] == 28).all()
    for image, (left, top, right, bottom) in zip(images, boxes.astype(int), strict=True):
        assert image[top:bottom, left:right].sum() == image.sum() > 0
