"""The figures of differentiable attention show things where they are and as bright as they are."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.data import Dataset, Plain, Source
from common.data.array_cache import read_arrays
from common.geometry.grids import regular_grid
from common.training.step import Model
from experiments.families.stn import StnExperiment, build
from experiments.plots.attention_sheets import attention_sheet, transformer_sheet
from experiments.plots.differentiable_attention import _verdicts
from experiments.plots.style import RIGHT, WRONG
from stn.config import NetworkConfig, StnConfig, TransformerConfig
from stn.soft_attention.config import PoolingConfig, SoftAttentionConfig
from stn.soft_attention.model import make_soft_attention

IMAGES = np.zeros((2, 20, 30, 1), np.uint8)


def test_grids_lie_on_the_image_and_outputs_keep_their_brightness():
    whole = np.tile(regular_grid(4, 6)[None], (2, 1, 1, 1))
    outputs = np.stack([np.full((4, 6, 1), 0.5), np.full((4, 6, 1), 1.2)])
    figure = transformer_sheet(IMAGES, [whole / 2], [outputs])
    drawn = np.concatenate([line.get_xydata() for line in figure.axes[0].lines])
    # From centre to centre of the outermost of six columns and four rows of the image's middle half.
    np.testing.assert_allclose([drawn.min(axis=0), drawn.max(axis=0)], [[8.75, 6.25], [21.25, 13.75]])
    below = [axes.images[0].get_array() for axes in figure.axes[2:]]
    np.testing.assert_allclose(below[0], 0.5, atol=1 / 255)
    assert (below[1] == 1).all()


def test_the_grid_of_a_second_transformer_lies_on_the_image_too(tmp_path):
    """Each looks at the middle half of what is before it; the second then sees a quarter of the image."""
    transformer = TransformerConfig(
        sequence=2, transform="attention", localisation="dense", localisation_units=2, padding="border"
    )
    built = build(StnExperiment(model=StnConfig(transformer, NetworkConfig("fcn", units=2))), blank(1))
    params = jax.jit(built.model.init)(jax.random.key(0))
    for step in range(2):
        last = params[f"transformer_0_{step}"]["localisation"]["regression"]["parameters"]
        last["bias"] = jnp.array([-0.5, 0.0, 0.0])
    built.observe(params, 3, tmp_path)
    kept = read_arrays(tmp_path / "history" / "3.npz")
    for number, part in ((0, 1 / 2), (1, 1 / 4)):
        # From centre to centre of the outermost of sixteen pixels.
        np.testing.assert_allclose(np.abs(kept[f"grid_{number}"]).max((1, 2, 3)), part * 15 / 16, atol=1e-5)


def test_above_each_image_stands_what_is_made_of_it_and_true_boxes_are_where_they_are():
    whole = np.tile(regular_grid(4, 6)[None], (2, 1, 1, 1))
    titles = [("✓ 3", RIGHT), ("✗ 3, taken for 5", WRONG)]
    boxes = np.array([[2.0, 3.0, 12.0, 9.0], [0.0, 0.0, 30.0, 20.0]])
    figure = transformer_sheet(IMAGES, [whole], [np.zeros((2, 4, 6, 1))], verdicts=titles, boxes=boxes)
    for axes, (words, colour), box in zip(figure.axes[:2], titles, boxes, strict=True):
        assert (axes.get_title(), axes.title.get_color()) == (words, colour)
        (drawn,) = axes.patches
        np.testing.assert_array_equal(drawn.get_bbox().extents, box)
    assert [axes.get_title() for axes in figure.axes[2:]] == ["", ""] and not figure.axes[2].patches
    above = attention_sheet(IMAGES, np.ones((2, 1, 20, 30)), 1, verdicts=titles).axes
    assert [axes.get_title() for axes in above] == [*(words for words, _ in titles), "", ""]


@pytest.mark.parametrize("labels", [[0, 1, 2, 2], [[0, 2], [1, 0], [2, 2], [1, 2]]], ids=["classes", "sequences"])
def test_the_verdict_is_that_of_the_labels(labels):
    """Classes a, b and c, of which the last ends sequences; class b, or a sequence of it, is always predicted."""
    labels = np.array(labels, np.int32)
    source = Source(np.zeros((4, 8, 8, 1), np.uint8), labels)
    dataset = Dataset("toy", source, source, source, Plain(), tuple("abc"))
    scores = jax.nn.one_hot(jnp.array([1, 2])[: labels.ndim], 3)
    each = scores if labels.ndim == 2 else scores[0]

    def predict(params, key, images, kind):
        return params + jnp.tile(each, (4, *[1] * each.ndim))

    titles = _verdicts(Model(None, None, predict), 0.0, dataset)
    right = [False, True, False, False] if labels.ndim == 1 else [False, False, False, True]
    assert [colour == RIGHT for _, colour in titles] == right
    assert titles[right.index(True)][0] == "✓ b"


def test_maps_lie_on_the_pixels_that_they_are_of():
    maps = np.zeros((2, 1, 3, 4))
    maps[:, 0, 2, 3] = 1
    figure = attention_sheet(IMAGES, maps, 8)
    axes = figure.axes[2]
    assert axes.images[1].get_extent() == [0, 32, 24, 0] and axes.images[1].get_clim() == (0, 1)
    assert [text.get_text() for text in axes.texts] == ["12.0x"] and axes.get_ylabel() == "head 1"
    assert axes.get_xlim() == (0, 30) and axes.get_ylim() == (20, 0)


def test_what_each_glimpse_saw_lies_below_its_weights():
    maps = np.full((2, 3, 20, 30), 1 / 600)
    patches = np.arange(1.0, 7)[:, None, None].repeat(5, 1).repeat(5, 2).reshape(3, 2, 5, 5, 1)
    patches[:, :, 0] = 0
    axes = np.reshape(attention_sheet(IMAGES, maps, 1, patches).axes, (7, 2))
    labels = ["input", "glimpse 1", "patch", "glimpse 2", "patch", "glimpse 3", "patch"]
    assert [row[0].get_ylabel() for row in axes] == labels
    for row in axes[2::2]:
        for each in row:
            seen = each.images[0].get_array()
            assert seen.shape == (5, 5, 3) and (seen[0] == 0).all() and (seen[1:] == 1).all()


def test_places_of_a_feature_map_are_those_of_its_pixels():
    """The features tell where they are, also where squares of pixels do not fill the image."""
    config = SoftAttentionConfig("pooling", PoolingConfig(filters=1, layers=2, hidden=2))
    made = make_soft_attention(config, 20, 30, 1, 3)
    seen = []

    def watch(next_call, args, kwargs, context):
        if context.module.name == "pooling" and context.method_name == "__call__":
            seen.append(args[0])
        return next_call(*args, **kwargs)

    params = jax.jit(made.model.init)(jax.random.key(0))
    with nn.intercept_methods(watch):
        attended = made.attend(params, jnp.asarray(IMAGES))
    assert made.cell == 4 and attended.maps.shape == (2, 1, 5, 8)
    places = np.asarray(seen[0])[0, :, -2:].reshape(5, 8, 2)
    pixels = (places + 1) / 2 * [30, 20]
    np.testing.assert_allclose(pixels[1, 7], [30, 6], atol=1e-5)
    np.testing.assert_allclose(pixels[4, 0], [2, 18], atol=1e-5)


def blank(channels):
    source = Source(np.zeros((4, 16, 16, channels), np.uint8), np.arange(4, dtype=np.int32))
    return Dataset("toy", jax.tree.map(jnp.asarray, source), source, source, Plain(), tuple("abcd"))


@pytest.mark.parametrize("place, on_image, on_features", [("none", 0, 0), ("input", 2, 0), ("multi", 2, 3)])
def test_transformers_are_shown_with_images_as_bright_as_they_are(place, on_image, on_features, tmp_path):
    """Three filters make a feature map that could be taken for a colour image."""
    transformer = TransformerConfig(
        place, parallel=2, localisation="dense", localisation_units=2, localisation_layers=1, padding="border"
    )
    network = NetworkConfig("cnn11", width=1 / 24, input_mean=0.5, input_std=0.25)
    built = build(StnExperiment(model=StnConfig(transformer, network)), blank(3))
    built.observe(jax.jit(built.model.init)(jax.random.key(0)), 7, tmp_path)
    shown = on_image + on_features
    kept = read_arrays(tmp_path / "history" / "7.npz") if shown else {"images": None}
    assert set(kept) == {"images"} | {f"{name}_{i}" for i in range(shown) for name in ("grid", "output")}
    for number in range(on_image):
        np.testing.assert_allclose(kept[f"output_{number}"], 0, atol=1e-6)
    for number, side in zip(range(on_image, shown), (8, 8, 4), strict=False):
        output = kept[f"output_{number}"]
        assert output.shape == (4, side, side, 1) and 0 <= output.min() <= output.max() < 1 + 1e-6
        # Transformers that do nothing read each place of a feature map where it lies on the image.
        middles = (np.arange(side) + 0.5) / side * 2 - 1
        np.testing.assert_allclose(kept[f"grid_{number}"][0], np.stack(np.meshgrid(middles, middles), -1), atol=0.07)
    assert shown or not (tmp_path / "history").exists()
