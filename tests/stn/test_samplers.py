"""Samplers against SciPy, PyTorch and finite differences, and maps that return the pixels to the last bit."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from scipy import ndimage

from common.attention.glimpse import Retina, bilinear_glimpse
from common.geometry.grids import regular_grid
from stn import grids
from stn.samplers import project, sample
from stn.transforms import make_transform

RNG = np.random.default_rng(0)
SHAPES = [(2, 8, 8, 1), (2, 7, 12, 3), (1, 1, 5, 2), (2, 4, 5, 6, 2)]
MODES = {"constant": "grid-constant", "border": "nearest"}
SAMPLE = jax.jit(sample, static_argnames=("interpolation", "padding", "align_corners"))


def _images(shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def _grids(shape, points=(5, 6), seed=1):
    """Draw points inside, at the edge of and outside images of a shape."""
    return np.random.default_rng(seed).uniform(-1.5, 1.5, (shape[0], *points, len(shape) - 2)).astype(np.float32)


def _scipy(images, points, padding, fill, align_corners, order=1):
    lengths = np.array(images.shape[1:-1])
    scale = lengths - 1 if align_corners else lengths
    index = points[..., ::-1].astype(np.float64) * scale / 2 + (lengths - 1) / 2
    return np.stack(
        [
            np.stack(
                [
                    ndimage.map_coordinates(
                        image[..., c], np.moveaxis(at, -1, 0), order=order, mode=MODES[padding], cval=fill
                    )
                    for c in range(images.shape[-1])
                ],
                axis=-1,
            )
            for image, at in zip(images.astype(np.float64), index, strict=True)
        ]
    )


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("padding", "fill"), [("constant", 0.0), ("constant", -0.42), ("border", 0.0)])
@pytest.mark.parametrize("shape", SHAPES)
def test_bilinear_equals_scipy(shape, padding, fill, align_corners):
    images, points = _images(shape), _grids(shape)
    actual = SAMPLE(images, points, padding=padding, fill=fill, align_corners=align_corners)
    np.testing.assert_allclose(actual, _scipy(images, points, padding, fill, align_corners), atol=1e-5)


@pytest.mark.parametrize(("side", "most"), [(60, 1e-5), (512, 1e-4)])
def test_rounding_of_coordinates_in_large_images_costs_little(side, most):
    shape = (1, side, side, 1)
    images, points = _images(shape), _grids(shape, (50, 50))
    np.testing.assert_allclose(SAMPLE(images, points), _scipy(images, points, "constant", 0.0, False), atol=most)


@pytest.mark.parametrize(("side", "most"), [(8, 1e-5), (60, 1e-4), (512, 1e-3)])
def test_snapping_to_pixel_centres_costs_little(side, most):
    """Points within a few rounding errors of all pixel centres, where indices are set to the centre."""
    noise = 4 * np.finfo(np.float32).eps * np.random.default_rng(2).uniform(-1, 1, (side, side, 2))
    images, points = _images((1, side, side, 1)), (regular_grid(side, side) + noise)[None].astype(np.float32)
    np.testing.assert_allclose(SAMPLE(images, points), _scipy(images, points, "border", 0.0, False), atol=most)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_half_precision_grids_are_read_as_float32(dtype, interpolation):
    """In half precision most points between pixels would be set to the centre of one."""
    images, points = _images((1, 60, 60, 1)), jnp.asarray(_grids((1, 60, 60, 1), (20, 20)), dtype)
    expected = SAMPLE(images, points.astype(jnp.float32), interpolation=interpolation)
    np.testing.assert_allclose(SAMPLE(images, points, interpolation=interpolation), expected, atol=1e-6)


@pytest.mark.parametrize(("padding", "outside"), [("constant", 9.0), ("border", 8.0)])
def test_nearest_goes_to_the_even_index_at_halves(padding, outside):
    row = jnp.arange(1.0, 9.0)[None, None, :, None]
    index = np.array([-0.5, 0.5, 1.5, 2.5, 6.5, 7.5])
    grid = np.stack([(2 * index + 1 - 8) / 8, np.zeros(6)], axis=-1)[None, None]
    actual = SAMPLE(row, jnp.asarray(grid, jnp.float32), interpolation="nearest", padding=padding, fill=9.0)
    np.testing.assert_array_equal(actual.ravel(), [1, 1, 3, 3, 7, outside])


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("padding", "theirs"), [("constant", "zeros"), ("border", "border")])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("shape", SHAPES[1:])
def test_equals_pytorch(shape, interpolation, padding, theirs, align_corners):
    torch = pytest.importorskip("torch")
    images, points = _images(shape), _grids(shape, (5,) * (len(shape) - 2))
    expected = torch.nn.functional.grid_sample(
        torch.from_numpy(np.moveaxis(images, -1, 1).copy()),
        torch.from_numpy(points),
        mode=interpolation,
        padding_mode=theirs,
        align_corners=align_corners,
    )
    actual = SAMPLE(images, points, interpolation=interpolation, padding=padding, align_corners=align_corners)
    np.testing.assert_allclose(actual, np.moveaxis(expected.numpy(), 1, -1), atol=1e-5)


def test_gradients_equal_pytorch():
    torch = pytest.importorskip("torch")
    images, theta = _images((2, 9, 8, 2)), np.eye(2, 3, dtype=np.float32) + 0.3 * _images((2, 2, 3), 3)
    weights = _images((2, 5, 6, 2), 4)

    def value(images, theta):
        points = jax.vmap(lambda t: grids.affine_grid(t, 5, 6))(theta)
        return (weights * sample(images, points)).sum()

    actual = jax.jit(jax.grad(value, (0, 1)))(images, theta)
    theirs = [torch.from_numpy(x.copy()).requires_grad_() for x in (np.moveaxis(images, -1, 1), theta)]
    points = torch.nn.functional.affine_grid(theirs[1], [2, 2, 5, 6], align_corners=False)
    seen = torch.nn.functional.grid_sample(theirs[0], points, align_corners=False)
    (seen * torch.from_numpy(np.moveaxis(weights, -1, 1).copy())).sum().backward()
    np.testing.assert_allclose(actual[0], np.moveaxis(theirs[0].grad.numpy(), 1, -1), atol=1e-5)
    np.testing.assert_allclose(actual[1], theirs[1].grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding", ["constant", "border"])
@pytest.mark.parametrize("side", [1, 28, 49, 60, 101])
def test_the_identity_is_the_identity_to_the_last_bit(side, padding, align_corners):
    images = _images((1, side, 31, 1), seed=side)
    theta = jnp.asarray(np.eye(2, 3, dtype=np.float32))

    @functools.partial(jax.jit, static_argnames="interpolation")
    def transform(images, interpolation):
        grid = grids.affine_grid(theta, side, 31, align_corners)[None]
        return sample(images, grid, interpolation=interpolation, padding=padding, align_corners=align_corners, fill=0.7)

    for interpolation in ("bilinear", "nearest"):
        np.testing.assert_array_equal(transform(images, interpolation), images)


def test_the_identity_of_volumes_is_exact():
    volumes = _images((1, 6, 7, 5, 2))
    grid = grids.affine_grid_3d(jnp.asarray(np.eye(3, 4, dtype=np.float32)), 6, 7, 5)
    np.testing.assert_array_equal(SAMPLE(volumes, grid[None]), volumes)


class SamplerVariants(chex.TestCase):
    """Sampling gives the same values compiled and op by op."""

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.product(interpolation=["bilinear", "nearest"], padding=["constant", "border"])
    def test_compiled_and_uncompiled_sampling_equals_scipy(self, interpolation, padding):
        images, points = map(jnp.asarray, (_images((2, 7, 12, 3)), _grids((2, 7, 12, 3))))
        read = self.variant(functools.partial(sample, interpolation=interpolation, padding=padding, fill=0.5))
        expected = _scipy(
            *map(np.asarray, (images, points)), padding, 0.5, False, order={"bilinear": 1, "nearest": 0}[interpolation]
        )
        chex.assert_trees_all_close(np.asarray(read(images, points), float), expected, atol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters("affine", "projective", "tps")
    def test_compiled_and_uncompiled_identities_are_exact(self, name):
        images, transform = jnp.asarray(_images((1, 20, 31, 2))), make_transform(name, 20, 31)
        theta = jnp.asarray(transform.identity, jnp.float32)
        read = self.variant(lambda images, theta: sample(images, transform.grid(theta)[None]))
        chex.assert_trees_all_equal(read(images, theta), images, strict=True)


def test_whole_pixels_flips_and_quarter_turns_move_pixels():
    image = _images((1, 28, 28, 1))
    cases = {
        "shift": ([[1, 0, 2 * 3 / 28], [0, 1, -2 * 5 / 28]], np.pad(image[0, :23, 3:], ((5, 0), (0, 3), (0, 0)))),
        "flip": ([[-1, 0, 0], [0, 1, 0]], image[0, :, ::-1]),
        # Row r, column c of the output is read at x = -y', y = x': at row c, column 27 - r.
        "turn": ([[0, -1, 0], [1, 0, 0]], np.stack([[image[0, c, 27 - r] for c in range(28)] for r in range(28)])),
    }
    for name, (theta, expected) in cases.items():
        grid = grids.affine_grid(jnp.asarray(theta, jnp.float32), 28, 28)[None]
        np.testing.assert_array_equal(SAMPLE(image, grid)[0], expected, err_msg=name)


def test_zooming_in_twice_by_hand():
    """Read the middle half of [0, 1, 2, 3] at twice the resolution, a quarter of a pixel beside the centres."""
    image = jnp.arange(4.0).reshape(1, 1, 4, 1)
    grid = grids.affine_grid(jnp.array([[0.5, 0, 0], [0, 1, 0]]), 1, 4)[None]
    np.testing.assert_allclose(SAMPLE(image, grid)[0, 0, :, 0], [0.75, 1.25, 1.75, 2.25], atol=1e-6)


def test_constant_padding_is_in_the_units_of_the_image():
    """Zooming out of a normalised image equals normalising after zooming out."""
    image = np.zeros((1, 20, 20, 1), np.float32)
    image[0, 6:14, 6:14] = RNG.uniform(size=(8, 8, 1))
    grid = grids.affine_grid(jnp.array([[1.7, 0.2, 0.3], [0.1, 1.6, 0.2]]), 20, 20)[None]
    mean, deviation = 0.13, 0.31
    expected = (SAMPLE(image, grid) - mean) / deviation
    normalised = (image - mean) / deviation
    actual = SAMPLE(normalised, grid, fill=(0 - mean) / deviation)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    # With zeros outside, the edge of the image stands out.
    assert np.abs(SAMPLE(normalised, grid) - expected).max() > 0.4


def test_padding_can_differ_by_channel():
    image, fill = _images((1, 4, 4, 3)), jnp.array([1.0, 2.0, 3.0])
    grid = jnp.array([[[[0.0, 5.0], [-7.0, 0.0], [0.0, 1.0]]]])
    seen = SAMPLE(image, grid, fill=fill)[0, 0]
    np.testing.assert_array_equal(seen[:2], [fill, fill])
    # At the lower edge, half a pixel from both the last row and the padding, and between two columns.
    np.testing.assert_allclose(seen[2], (image[0, 3, 1:3].mean(0) + fill) / 2, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 6, 5, 2), (1, 4, 3, 5, 1)])
def test_gradients_equal_finite_differences(shape, x64):
    images, points = _images(shape).astype(np.float64), _grids(shape, (7,)).astype(np.float64)
    weights = RNG.normal(size=(1, 7, shape[-1]))

    @jax.jit
    def value(images, points):
        return (weights * sample(images, points, fill=0.3)).sum()

    of_images, of_points = jax.jit(jax.grad(value, (0, 1)))(images, points)
    step = 1e-6
    for gradient, argument in ((of_images, 0), (of_points, 1)):
        numeric = np.zeros(gradient.size)
        for i in range(gradient.size):
            ends = []
            for sign in (1, -1):
                arguments = [images.copy(), points.copy()]
                arguments[argument].ravel()[i] += sign * step
                ends.append(float(value(*arguments)))
            numeric[i] = (ends[0] - ends[1]) / (2 * step)
        assert np.abs(numeric).max() > 1e-2
        np.testing.assert_allclose(np.ravel(gradient), numeric, atol=1e-7)


@pytest.mark.parametrize("padding", ["constant", "border"])
@pytest.mark.parametrize("far", [1e6, -1e30, 3e38, float("inf"), float("-inf"), float("nan")])
def test_points_far_outside_read_padding_and_have_no_gradient(far, padding):
    image = _images((1, 5, 4, 1))
    points = jnp.full((1, 1, 2), far)
    expected = {"constant": 0.25, "border": image[0, -1 if far > 0 else 0, -1 if far > 0 else 0, 0]}[padding]
    np.testing.assert_array_equal(SAMPLE(image, points, padding=padding, fill=0.25), np.full((1, 1, 1), expected))
    gradient = jax.grad(lambda p: sample(jnp.asarray(image), p, padding=padding).sum())(points)
    np.testing.assert_array_equal(gradient, 0)


def test_attention_equals_the_bilinear_retina():
    """Zooming in with a spatial transformer equals the finest patch of the differentiable retina."""
    image, retina = np.abs(_images((20, 24, 2))), Retina(6, 1)
    location = jnp.array([0.31, -0.52])
    theta = jnp.array([[6 / 24, 0, location[0]], [0, 6 / 20, location[1]]])
    seen = SAMPLE(image[None], grids.affine_grid(theta, 6, 6)[None])[0]
    np.testing.assert_allclose(seen, bilinear_glimpse(jnp.asarray(image), location, retina)[0], atol=1e-5)


def test_one_by_one_batched_and_mapped_agree():
    images, points = _images((3, 6, 7, 2)), _grids((3, 6, 7, 2))
    together = SAMPLE(images, points)
    single = np.concatenate([SAMPLE(images[i : i + 1], points[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(together, single, atol=1e-6)
    several = jnp.stack([points, points[::-1]])
    mapped = jax.jit(jax.vmap(sample, in_axes=(None, 0)))(images, several)
    np.testing.assert_allclose(mapped[0], together, atol=1e-6)
    np.testing.assert_allclose(mapped[1], SAMPLE(images, points[::-1]), atol=1e-6)


def test_projection_sums_along_an_axis():
    volume = _images((3, 4, 5, 2))
    for axis in range(3):
        np.testing.assert_allclose(project(jnp.asarray(volume), axis), volume.sum(axis=axis), atol=1e-6)
        both = project(jnp.stack([volume, -volume]), axis)
        np.testing.assert_allclose(both, [volume.sum(axis=axis), -volume.sum(axis=axis)], atol=1e-6)
    # A quarter turn about y, then along z, is a look along x.
    theta = jnp.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]])
    cube = _images((4, 4, 4, 1))
    turned = SAMPLE(cube[None], grids.affine_grid_3d(theta, 4, 4, 4)[None])[0]
    np.testing.assert_allclose(project(turned, 0), np.swapaxes(cube.sum(axis=2), 0, 1), atol=1e-5)


@pytest.mark.parametrize(
    "images, grids, names, message",
    [
        (jnp.ones((1, 4, 4, 1)), jnp.ones((1, 5, 3)), {}, "1 grids of 3 coordinates for 1 images of 2 axes"),
        (jnp.ones((2, 4, 4, 1)), jnp.ones((1, 5, 2)), {}, "1 grids of 2 coordinates for 2 images of 2 axes"),
        (jnp.ones((1, 4, 4, 1)), jnp.ones((3, 5, 2)), {}, "3 grids of 2 coordinates for 1 images of 2 axes"),
        (jnp.ones((1, 4, 4, 1), "uint8"), jnp.ones((1, 5, 2)), {}, "images of type uint8: must be floating"),
        (
            *(jnp.ones((1, 4, 4, 1)), jnp.ones((1, 5, 2)), {"padding": "zeros"}),
            "unknown padding 'zeros': choose from constant, border",
        ),
        (
            *(jnp.ones((1, 4, 4, 1)), jnp.ones((1, 5, 2)), {"interpolation": "bilinaer"}),
            "unknown interpolation 'bilinaer': did you mean 'bilinear'? choose from bilinear, nearest",
        ),
    ],
)
def test_errors_quote_the_bad_value(unchecked, images, grids, names, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        sample(images, grids, **names)
