"""The command that reads large images twice: its crops, its file, its table, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.data import TASKS
from common.training.evaluation import make_scorer, over_batches, predicted
from dram.focus import focus, reading_glimpses
from experiments import focus as command
from experiments.evaluation.errors import TEST_SEED
from experiments.output.readouts import READOUTS
from experiments.runs.cost import forward_cost
from experiments.runs.restore import read_run
from experiments.training.config import DataConfig
from experiments.training.run_directory import read_json
from tests.experiments import numbers_maker
from tests.experiments.family_of import build

pytestmark = pytest.mark.usefixtures("small_numbers")


@pytest.fixture(scope="module")
def written(readers, tmp_path_factory):
    """Return the results of a run by its first pass: on whole images, or on downsampled ones."""
    results, folder = {}, tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        numbers_maker.stand_in(patch)
        for first_pass in ("whole", "downsampled"):
            path = folder / f"{first_pass}.json"
            flags = ["--task", "house_numbers_110", "--first-pass", first_pass, "--output", str(path)]
            command.main([str(readers / "forward"), *flags])
            results[first_pass] = read_json(path)
    return results


def test_the_file_holds_sizes_operations_and_errors_of_both_passes(written, readers):
    for first_pass, results in written.items():
        assert (results["image"], results["crop"], results["first_pass"]) == ([24, 24], [12, 12], first_pass)
        assert results["run"] == results["reader"] == str(readers / "forward") and results["episodes"] == 3
        assert results["task"] == "house_numbers_110" and results["parameters"] > 0
        assert {"commit", "device", "jax_version"} <= set(results)
        run = read_run(readers / "forward")
        second = forward_cost(run.built.model, run.dataset.image_shape)[1]
        first = results["operations"] - second
        assert first > 0 and results["operations_of_means"] == pytest.approx(first + 3 * second)
        for split in ("validation", "test"):
            assert list(results[split]) == ["first pass", "focused"]
            assert all(results[split]["focused"][method]["n"] == 40 for method in READOUTS)


@pytest.mark.parametrize("first_pass", ["whole", "downsampled"])
def test_crops_are_read_like_images_of_the_run(written, readers, first_pass):
    run = read_run(readers / "forward")
    large = numbers_maker.load_task("house_numbers_110")
    agent = build(run.experiment, large if first_pass == "whole" else run.dataset).attention
    params = run.params()

    resize = {"whole": lambda images: images, "downsampled": command.downsampler(12, 12)}[first_pass]

    @jax.jit
    def cut(key, images):
        episode = agent.play(params, key, resize(images), "greedy")
        return focus(images, episode.locations, reading_glimpses(agent.sequence, episode.logits), (12, 12))

    key = jax.random.key(TEST_SEED)
    crops = over_batches(cut, key, large.test.images, 40)
    scores = make_scorer(run.built.model.predict, 3, 500)(params, key, crops)
    for method, score in zip(READOUTS, scores, strict=True):
        wrong = (np.asarray(predicted(jnp.asarray(score))) != large.test.labels).any(axis=1)
        assert written[first_pass]["test"]["focused"][method]["error"] == pytest.approx(100 * wrong.mean())


@pytest.mark.slow
def test_a_run_on_large_images_can_crop_for_a_reader_of_small_ones(readers, tmp_path, capsys):
    path = tmp_path / "focus.json"
    command.main(
        [str(readers / "large"), "--reader", str(readers / "forward"), "--output", str(path), "--episodes", "1"]
    )
    results = read_json(path)
    assert (results["image"], results["crop"], results["episodes"]) == ([24, 24], [12, 12], 1)
    out = capsys.readouterr().out
    assert "first pass" in out and "focused" in out and "1 sampled episode" in out


@pytest.mark.parametrize(
    "flags, message",
    [
        (["{}/forward"], "task 'pairs100_sequence' has no enlarged variant 'pairs100_sequence_110'"),
        (
            ["{}/forward", "--task", "house_numbers"],
            "the 12x12 images of 'house_numbers' are not larger than the 12x12",
        ),
        (["{}/forward", "--reader", "{}/other_backward"], "read in opposite directions"),
        (["{}/single"], "reads no sequences: task 'pairs100' has one class for each image"),
        (
            ["{}/large", "--reader", "{}/forward", "--first-pass", "downsampled"],
            "reads images of 24x24, the size of these: there is nothing to resize; give whole",
        ),
        (["absent"], "holds no config.json"),
        (["{}/forward", "--reader", "absent"], "'absent' holds no config.json"),
        (["{}/forward", "--task", "house_numbrs"], "did you mean 'house_numbers'?"),
        (["{}/forward", "--batch-size", "0"], "batch_size 0: must be at least 1"),
        (["{}/forward", "--first-pass", "half"], "--first-pass"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_runs_that_do_not_fit_the_images_are_refused_before_images_are_made(
    readers, tmp_path, monkeypatch, capsys, flags, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "experiments.training.config.load_task", lambda *args, **options: pytest.fail("images were loaded")
    )
    with pytest.raises(SystemExit) as stop:
        command.main([flag.format(readers) for flag in flags])
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out == "" and err.startswith("error: ") and len(err.splitlines()) == 1
    assert message in err and list(tmp_path.iterdir()) == []


def test_enlarged_images_are_resized_in_proportion():
    large = TASKS["house_numbers_110"].recipe
    assert command.enlarged(DataConfig(task="house_numbers", resize=32), large) == 65
    assert command.enlarged(DataConfig(task="house_numbers"), large) is None


def test_downsampled_images_are_uint8_and_keep_a_flat_image():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
    small = np.asarray(command.downsampler(4, 4)(jnp.asarray(images)))
    assert small.dtype == np.uint8 and small.shape == (2, 4, 4, 1)
    flat = jnp.full((1, 8, 8, 1), 77, jnp.uint8)
    assert (np.asarray(command.downsampler(3, 5)(flat)) == 77).all()
