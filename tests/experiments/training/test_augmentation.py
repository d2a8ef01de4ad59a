"""The augmentation of the configuration: its effect on training images, and on no others."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.data import Source, augmentation, load_task, sample_batch
from experiments import cnn
from experiments.training.augmentation import AugmentationConfig, make_augmentation, validate_augmentation_of
from experiments.training.metrics_file import read_metrics

KEY = jax.random.key(0)
STEPS = 2
CNN = (
    f"mnist28 --task images --network fc --units 8 --no-plots --shift 0 --batch-size 8 --steps {STEPS}"
    f" --log-every {STEPS} --evaluate-every {STEPS}"
).split()
# Each flag by itself, and what it stands for.
ALONE = {
    "shift": (2, partial(augmentation.random_shift, pixels=2)),
    "rotation": (30.0, partial(augmentation.random_rotation, degrees=30.0)),
    "zoom": (0.25, partial(augmentation.random_scale, low=0.75, high=1.25)),
    "mirror": (0.5, partial(augmentation.random_flip, probability=0.5)),
    "brightness": (0.3, partial(augmentation.random_brightness, amount=0.3)),
    "contrast": (0.5, partial(augmentation.random_contrast, low=0.5, high=1.5)),
    "saturation": (0.5, partial(augmentation.random_saturation, low=0.5, high=1.5)),
    "blur": (1.5, partial(augmentation.random_blur, low=0.01, high=1.5)),
    "noise": (0.1, partial(augmentation.random_noise, sigma=0.1)),
    "cutout": (3, partial(augmentation.random_cutout, size=3)),
}


@pytest.fixture
def photographs():
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (6, 9, 8, 3)).astype(np.uint8))


def test_every_field_of_the_augmentation_is_tested():
    assert set(ALONE) == {field.name for field in dataclasses.fields(AugmentationConfig)}


@pytest.mark.parametrize("name", ALONE)
def test_each_field_applies_its_function(name, photographs):
    amount, function = ALONE[name]
    made = make_augmentation(AugmentationConfig(**{name: amount}))(KEY, photographs)
    assert (made != photographs).any()
    np.testing.assert_array_equal(made, function(jax.random.fold_in(KEY, 0), photographs))


def test_shifts_come_before_colours_and_cutout_comes_last(photographs):
    made = make_augmentation(AugmentationConfig(cutout=3, contrast=0.5, shift=2))(KEY, photographs)
    for i, name in enumerate(("shift", "contrast", "cutout")):
        photographs = ALONE[name][1](jax.random.fold_in(KEY, i), photographs)
    np.testing.assert_array_equal(made, photographs)


def test_without_augmentation_the_drawn_images_are_unchanged():
    assert make_augmentation(AugmentationConfig()) is None
    data = load_task("mnist28")
    drawn = sample_batch(KEY, data.train, data.recipe, 4, make_augmentation(AugmentationConfig()))
    np.testing.assert_array_equal(drawn[0], sample_batch(KEY, data.train, data.recipe, 4)[0])


def test_a_run_is_trained_on_augmented_images(go):
    everything = [part for name in ALONE if name != "saturation" for part in (f"--{name}", str(ALONE[name][0]))]
    losses = []
    for run, flags in (("plain", []), ("augmented", everything)):
        go(cnn, CNN, "--run-dir", run, *flags)
        losses.append(read_metrics(Path(run))[0]["loss"])
    assert losses[0] != losses[1] and np.isfinite(losses).all()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shift", "-1"], ["shift -1", "at least 0"]),
        (["--shift", "12"], ["shift 12", "below 12 pixels"]),
        (["--cutout", "12"], ["cutout 12", "below 12 pixels"]),
        (["--rotation", "181"], ["rotation 181.0", "from 0 to 180"]),
        (["--zoom", "1"], ["zoom 1.0", "at least 0 and below 1"]),
        (["--mirror", "1.5"], ["mirror 1.5", "from 0 to 1"]),
        (["--brightness", "-0.1"], ["brightness -0.1", "from 0 to 1"]),
        (["--contrast", "2"], ["contrast 2.0", "from 0 to 1"]),
        (["--saturation", "0.5"], ["saturation 0.5", "no colours"]),
        (["--blur", "12"], ["blur 12.0", "below 12 pixels"]),
        (["--noise", "-1"], ["noise -1.0", "at least 0"]),
    ],
    ids=lambda value: "_".join(value) if value[0][:2] == "--" else "",
)
def test_bad_values_are_one_line(refused, flags, message):
    line = refused(cnn, CNN, *flags)
    assert all(part in line for part in message) and not Path("run").exists()


def test_mirroring_digits_or_sequences_is_refused():
    data = load_task("mnist28")
    with pytest.raises(ValueError, match="^mirror 0.5: must be 0, since a mirrored digit"):
        validate_augmentation_of(AugmentationConfig(mirror=0.5), data, own=False)
    validate_augmentation_of(AugmentationConfig(mirror=0.5), data, own=True)
    sequences = dataclasses.replace(data, train=Source(data.train.images, data.train.labels[:, None]))
    with pytest.raises(ValueError, match="^mirror 0.5: must be 0, since a mirrored sequence"):
        validate_augmentation_of(AugmentationConfig(mirror=0.5), sequences, own=True)
