"""Differentiable attention learns: a co-localiser finds the shared object, soft attention reads it."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.scipy.ndimage import map_coordinates

from common.training.optimizers import OptimizerConfig, make_optimizer, make_schedule
from common.training.step import Hyper, init_state, make_chunk, train_step
from stn.colocalisation import ENCODER, ColocalisationConfig, bounding_boxes, make_colocaliser, overlap
from stn.config import NetworkConfig, StnConfig, TransformerConfig
from stn.models import make_stn
from stn.soft_attention.config import FilterBankConfig, PoolingConfig, SoftAttentionConfig
from stn.soft_attention.model import make_soft_attention

pytestmark = pytest.mark.slow

SIDE, CROP = 24, 12
"""Sides of the images and of the shared object, in pixels."""


def _sign(kind):
    """Draw a ring, a cross or a bar of 8x8 in the middle of 12x12 pixels, all of the same total brightness."""
    across, down = jnp.meshgrid(jnp.arange(CROP) - 5.5, jnp.arange(CROP) - 5.5)
    ring = jnp.abs(jnp.maximum(jnp.abs(across), jnp.abs(down)) - 3) < 1
    cross = (jnp.minimum(jnp.abs(across), jnp.abs(down)) < 1) & (jnp.maximum(jnp.abs(across), jnp.abs(down)) < 4)
    bar = (jnp.abs(down) < 2) & (jnp.abs(across) < 4)
    sign = jnp.stack([ring, cross, bar])[kind]
    return 255.0 * sign * (cross.sum() / sign.sum())


def _paint(kind, corner, side):
    """Draw a sign whose upper left corner is at (row, column), on a black image."""
    rows, columns = jnp.meshgrid(jnp.arange(side), jnp.arange(side), indexing="ij")
    return map_coordinates(_sign(kind), [rows - corner[0], columns - corner[1]], order=0, mode="constant")


def _draw(key, side, low, high, batch):
    one, other = jax.random.split(key)
    kinds = jax.random.randint(one, (batch,), 0, 3)
    corners = jax.random.randint(other, (batch, 2), low, high + 1)
    images = jax.vmap(lambda kind, corner: _paint(kind, corner, side))(kinds, corners)
    return images[..., None].astype(jnp.uint8), kinds, corners


def _train(model, steps, draw, params=None, rate=3e-3):
    """Return the parameters after ``steps`` steps of Adam; ``params`` maps fresh ones to initial ones."""
    config = OptimizerConfig(learning_rate=rate)
    optimizer, schedule = make_optimizer(config), functools.partial(make_schedule, config, steps, 1.0)
    step = train_step(model, optimizer, schedule, lambda key, source: draw(key)[:2], steps)
    state = init_state(model, optimizer, 0)
    if params is not None:
        state = state._replace(params=params(state.params))
    chunk = make_chunk(lambda state, source: step(state, source, Hyper(jnp.float32(rate), model.hyper)))
    return chunk(state, None, steps)[0].params


def test_a_colocaliser_finds_the_shared_object():
    encoder = make_stn(
        StnConfig(TransformerConfig(place="none"), NetworkConfig("fcn", units=64)), CROP, CROP, 1, num_classes=3
    )
    # Crops of whole signs, of parts of signs, and without signs.
    encoder_params = _train(encoder.model, 500, lambda key: _draw(key, CROP, -6, 6, 64))
    config = ColocalisationConfig(crop=CROP, filters=8, units=16, downsample=1)
    finder = make_colocaliser(config, encoder, SIDE, SIDE, 1)
    draw = functools.partial(_draw, side=SIDE, low=0, high=SIDE - CROP)
    params = _train(finder.model, 600, lambda key: draw(key, batch=48), lambda fresh: fresh | {ENCODER: encoder_params})
    images, _, corners = draw(jax.random.key(1), batch=300)
    true = jnp.concatenate([corners[:, ::-1], corners[:, ::-1] + CROP], axis=1).astype(float)
    overlaps_half = overlap(bounding_boxes(finder.find(params, images).grids, SIDE, SIDE), true) > 0.5
    assert overlaps_half.mean() > 0.9, float(overlaps_half.mean())


def _train_soft(config, side):
    """Train a model; return its attention in 300 images, their classes, and the middles of their signs in pixels."""
    net = make_soft_attention(config, side, side, 1, 3)
    draw = functools.partial(_draw, side=side, low=0, high=side - CROP)
    params = _train(net.model, 1500, lambda key: draw(key, batch=64))
    images, kinds, corners = draw(jax.random.key(1), batch=300)
    return jax.jit(net.attend)(params, images), kinds, corners + CROP / 2


def test_attention_pooling_learns_to_attend_to_the_sign():
    config = SoftAttentionConfig("pooling", PoolingConfig("additive", filters=8, layers=2, size=8, hidden=16))
    attended, kinds, middles = _train_soft(config, SIDE)
    assert (attended.logits[-1].argmax(-1) == kinds).mean() > 0.95
    look = attended.maps[:, 0]
    rows, columns = jnp.meshgrid(*(jnp.arange(length) for length in look.shape[1:]), indexing="ij")
    places = SIDE / look.shape[1] * (jnp.stack([rows, columns]) + 0.5)
    inside = (jnp.abs(places[None] - middles[:, :, None, None]) < CROP / 2).all(axis=1)
    on_sign = (look * inside).sum(axis=(1, 2)).mean()  # At most a quarter of all places are on the sign.
    assert on_sign > 0.5, float(on_sign)


def test_differentiable_ram_learns_to_move_to_the_sign():
    # The first window covers the whole image with a filter every eight pixels, too few to tell signs of eight apart.
    config = SoftAttentionConfig("filter_bank", filter_bank=FilterBankConfig(4, 6, units=64, core_hidden=64))
    attended, kinds, middles = _train_soft(config, 48)
    right = [(logits.argmax(-1) == kinds).mean() for logits in attended.logits]
    assert right[0] < 0.8 and right[-1] > 0.85, right
    places = jnp.arange(48) + 0.5
    centres = [attended.maps[:, 1].sum(2) @ places, attended.maps[:, 1].sum(1) @ places]
    follows = [jnp.corrcoef(centre, middle)[0, 1] for centre, middle in zip(centres, middles.T, strict=True)]
    assert min(follows) > 0.4, follows  # The first window is the same in all images.
