"""Rendered house numbers: the same for the same key, boxes on the ink, labels as in SVHN."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image
from scipy import stats

from common.data.house_numbers import renderer
from common.data.house_numbers.camera import take_photograph
from common.data.house_numbers.fonts import (
    CHARACTERS,
    FACES,
    GLYPH_HEIGHT,
    NEW_FACES,
    Face,
    find_font,
    fonts_digest,
    load_glyphs,
)
from common.data.house_numbers.renderer import DIGITS, LENGTHS, RENDERER, RENDERER_PILLOW, draw_digits, draw_scene
from common.data.house_numbers.textures import WallPoints, draw_noise, draw_wall

ROOT = Path(__file__).parents[4]

# First characters of the digests of the font files, and of scenes by size and growth.
PINNED_FONTS = "e369e6b641289b19"
PINNED = {
    (38, 1.3): "94744e09f0202a7c",
    (38, 2.6): "10b0a876ddb1a04c",
    (64, 1.3): "55daca2e66fcb64b",
    (64, 2.6): "02de4930e92174c9",
}


def _sha(scenes):
    sha = hashlib.sha256()
    for scene in scenes:
        sha.update(scene.image.tobytes() + bytes(scene.digits) + scene.boxes.tobytes())
    return sha.hexdigest()


def test_scene_depends_only_on_its_key():
    keys = [(0, 0, 5), (0, 0, 6), (0, 1, 5), (1, 0, 5)]
    first = {key: _sha([draw_scene(key, 64)]) for key in keys}
    assert len(set(first.values())) == 4
    assert {key: _sha([draw_scene(key, 64)]) for key in reversed(keys)} == first


def test_scene_is_the_same_in_another_process():
    program = (
        "import hashlib; from common.data.house_numbers.renderer import draw_scene; "
        "images = b''.join(draw_scene((3, 1, i), 40).image.tobytes() for i in range(5)); "
        "print(hashlib.sha256(images).hexdigest(), end='')"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    here = b"".join(draw_scene((3, 1, i), 40).image.tobytes() for i in range(5))
    assert result.stdout == hashlib.sha256(here).hexdigest()


@pytest.mark.skipif(
    not PIL.__version__.startswith(f"{RENDERER_PILLOW}."),
    reason=f"the scenes are those of Pillow {RENDERER_PILLOW}, not of {PIL.__version__}",
)
def test_scenes_change_only_with_the_version_of_the_renderer():
    if not fonts_digest().startswith(PINNED_FONTS):
        pytest.skip(f"the scenes are those of the fonts {PINNED_FONTS}, not of {fonts_digest()[:16]}")
    drawn = {
        (size, growth): _sha([draw_scene(key, size, growth) for key in ((0, 0, 0), (0, 1, 7), (3, 2, 11))])[:16]
        for size in (38, 64)
        for growth in (1.3, 2.6)
    }
    assert (RENDERER, drawn) == (2, PINNED), (
        "the scenes have changed: raise RENDERER in common/data/house_numbers/renderer.py, or cached pools would be"
        " taken for new ones; set RENDERER_PILLOW to this Pillow, and pin both digests and the RENDERER here"
    )


@pytest.mark.parametrize("growth", [1.3, 2.6])
def test_boxes_lie_around_the_centre(growth):
    for i in range(40):
        scene = draw_scene((1, 0, i), 64, growth)
        assert scene.image.shape == (64, 64, 3) and scene.image.dtype == np.uint8
        assert 1 <= len(scene.digits) <= 5 and scene.boxes.shape == (len(scene.digits), 4)
        left, top = scene.boxes[:, :2].min(axis=0)
        right, bottom = scene.boxes[:, 2:].max(axis=0)
        assert (scene.boxes[:, 2:] > scene.boxes[:, :2]).all()
        # The crop is as inexact as drawn by hand, by about a fortieth of its sides.
        side = 64 / growth
        np.testing.assert_allclose([left, top, right, bottom], np.array([-side, -side, side, side]) / 2 + 32, atol=9)
        assert (np.diff(scene.boxes[:, 0]) > 0).all() or (np.diff(scene.boxes[:, 1]) > 0).all()


def test_the_ink_is_in_the_boxes(monkeypatch):
    # White digits on a black wall in even light, and nothing else.
    monkeypatch.setattr(renderer, "take_photograph", lambda rng, picture, height: Image.fromarray(picture))

    def paint(rng, number, matrix, shape, height, plane, faces):
        from common.data.house_numbers.signs import _see_layers

        rows, columns = shape
        inverse = np.linalg.inv(matrix)
        x, y = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
        depth = inverse[2, 0] * x + inverse[2, 1] * y + inverse[2, 2]
        u, v = ((inverse[k, 0] * x + inverse[k, 1] * y + inverse[k, 2]) / depth / plane for k in range(2))
        points = WallPoints(u.astype(np.float32), v.astype(np.float32), height)
        digits = _see_layers(rng, number, inverse, points, plane, faces)[0]
        return np.repeat((255 * digits).astype(np.uint8)[..., None], 3, axis=2)

    monkeypatch.setattr(renderer, "paint_sign", paint)
    for i in range(60):
        scene = draw_scene((2, 0, i), 96, 1.6)
        ink = scene.image[..., 0] > 128
        covered = np.zeros((96, 96), bool)
        for left, top, right, bottom in scene.boxes:
            rows, columns = slice(max(int(top) - 1, 0), int(bottom) + 3), slice(max(int(left) - 1, 0), int(right) + 3)
            assert ink[rows, columns].any()
            covered[rows, columns] = True
        assert ink.any() and not (ink & ~covered).any()


def test_scene_is_the_same_at_all_sizes():
    for i in range(5):
        large, small = draw_scene((4, 0, i), 120), draw_scene((4, 0, i), 30)
        assert large.digits == small.digits
        np.testing.assert_allclose(large.boxes, small.boxes * 4, rtol=1e-5, atol=1e-4)
        shrunk = np.asarray(Image.fromarray(large.image).resize((30, 30), Image.Resampling.BOX), float)
        assert np.abs(shrunk - small.image).mean() < 6


def test_lengths_and_digits_are_as_frequent_as_in_svhn():
    rng = np.random.default_rng(0)
    numbers = [draw_digits(rng) for _ in range(20_000)]
    lengths = np.bincount([len(number) for number in numbers], minlength=6)[1:]
    # Five digits are too rare for the test by themselves.
    expected = LENGTHS / LENGTHS.sum() * 20_000
    observed, expected = np.append(lengths[:3], lengths[3:].sum()), np.append(expected[:3], expected[3:].sum())
    assert stats.chisquare(observed, expected).pvalue > 1e-4
    assert all(number[0] != 0 for number in numbers)
    rest = np.bincount([digit for number in numbers for digit in number[1:]], minlength=10)
    assert stats.chisquare(rest, DIGITS / DIGITS.sum() * rest.sum()).pvalue > 1e-4


def test_new_faces_are_of_other_families():
    assert {face.package for face in FACES}.isdisjoint(face.package for face in NEW_FACES)
    assert len({face.package for face in FACES}) >= 30 and len(NEW_FACES) >= 9
    assert len(set(FACES + NEW_FACES)) == len(FACES) + len(NEW_FACES)


@pytest.mark.parametrize("face", FACES[::6] + NEW_FACES[::4], ids=str)
def test_glyphs_of_a_face_have_the_right_height(face):
    glyphs = load_glyphs(face)
    assert set(glyphs) == set(CHARACTERS)
    shapes = {np.asarray(glyphs[digit].mask.resize((20, 30))).tobytes() for digit in "0123456789"}
    assert len(shapes) == 10
    heights = [glyphs[digit].top + glyphs[digit].mask.height for digit in "0123456789"]
    assert min(glyphs[digit].top for digit in "0123456789") == 0
    assert GLYPH_HEIGHT - 6 <= max(heights) <= GLYPH_HEIGHT + 3
    for digit in "0123456789":
        assert np.asarray(glyphs[digit].mask).max() > 200 and glyphs[digit].advance > 0


def test_weights_of_a_variable_font_differ():
    light, bold = (np.asarray(load_glyphs(Face("jost", "Jost[wght].ttf", w))["8"].mask, float) for w in (300, 800))
    assert (bold > 128).mean() > 1.2 * (light > 128).mean()


def test_walls_differ_and_follow_the_perspective():
    u, v = np.meshgrid(np.linspace(-2, 2, 40, dtype=np.float32), np.linspace(-1, 1, 20, dtype=np.float32))
    walls = [draw_wall(np.random.default_rng(i), WallPoints(u, v, 20.0)) for i in range(60)]
    assert all(wall.shape == (20, 40, 3) and np.isfinite(wall).all() for wall in walls)
    assert (
        np.std([wall.mean() for wall in walls]) > 25 and np.mean([wall.std(axis=(0, 1)).mean() for wall in walls]) > 5
    )


def test_noise_is_standard_and_finite():
    for grain, stretch, slope in ((1.0, 1.0, 0.3), (6.0, 1.0, 1.0), (1.0, 20.0, 0.5), (40.0, 0.1, 1.5)):
        fields = [draw_noise(np.random.default_rng(i), 30, 50, grain, stretch, slope) for i in range(30)]
        assert fields[0].shape == (30, 50) and np.abs(np.mean(fields)) < 0.5 and 0.3 < np.std(fields) < 1.3


def test_photograph_keeps_the_size():
    picture = np.full((13, 29, 3), 100, np.float32)
    for i in range(20):
        taken = take_photograph(np.random.default_rng(i), picture, 9.0)
        assert taken.size == (29, 13) and taken.mode == "RGB"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: find_font(Face("no_such", "A.ttf", 0)),
            r"'fontpkg_no_such' is missing: pip install",
        ),
        (lambda: find_font(Face("jost", "A.ttf", 0)), "^font 'A.ttf' of package 'fontpkg_jost' is missing"),
    ],
)
def test_errors_quote_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
