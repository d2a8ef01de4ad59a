"""Pools: the same for any number of processes, and cached in files that are read only if they are intact."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common.data.array_cache import digest_arrays, read_arrays
from common.data.house_numbers import pool as pool_module
from common.data.house_numbers.fonts import FACES, NEW_FACES
from common.data.house_numbers.pool import PoolConfig, load_pool, pool_path, render_pool
from common.data.house_numbers.renderer import RENDERER_PILLOW, draw_scene

CONFIG = PoolConfig("validation", 130, 16)


def pool_digest(pool):
    return digest_arrays(pool._asdict())


ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def pool():
    return render_pool(CONFIG, processes=1)


def test_pool_holds_the_scenes_of_its_seeds(pool):
    assert pool.images.shape == (130, 16, 16, 3) and pool.labels.shape == (130, 6) and pool.boxes.shape == (130, 5, 4)
    for i in (0, 49, 50, 129):
        scene = draw_scene((0, 1, i), 16)
        np.testing.assert_array_equal(pool.images[i], scene.image)
        count = len(scene.digits)
        assert pool.labels[i].tolist() == [*scene.digits, *[10] * (6 - count)]
        np.testing.assert_array_equal(pool.boxes[i, :count], scene.boxes)
        assert not pool.boxes[i, count:].any()


def test_any_number_of_processes_renders_the_same(pool):
    reports = []
    rendered = render_pool(CONFIG, lambda *args: reports.append(args), processes=3)
    assert pool_digest(rendered) == pool_digest(pool)
    assert [count for _, count, _ in reports] == sorted(count for _, count, _ in reports)
    assert reports[-1] == ("validation", 130, 130) and len(reports) == 3


def test_splits_differ_and_new_fonts_has_other_faces(pool, monkeypatch):
    digests = {split: pool_digest(render_pool(PoolConfig(split, 5, 16))) for split in pool_module.SPLITS}
    assert len(set(digests.values())) == 4
    used = []
    monkeypatch.setattr(
        pool_module, "draw_scene", lambda key, size, growth, faces: used.append(faces) or draw_scene(key, size)
    )
    for split in pool_module.SPLITS:
        render_pool(PoolConfig(split, 1, 16))
    assert used == [FACES, FACES, FACES, NEW_FACES]


def test_shorter_pool_is_the_beginning_of_a_longer_one(pool):
    short = render_pool(PoolConfig("validation", 7, 16))
    np.testing.assert_array_equal(short.images, pool.images[:7])


def test_pool_is_rendered_once_and_then_read(tmp_path, monkeypatch, pool):
    folder = tmp_path / "a" / "b"
    first = load_pool(CONFIG, folder, processes=1)
    assert [path.name for path in folder.iterdir()] == [pool_path(CONFIG, folder).name]
    monkeypatch.setattr(pool_module, "draw_scene", None)
    second = load_pool(CONFIG, folder)
    assert pool_digest(first) == pool_digest(second) == pool_digest(pool)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "swapped", "text"])
def test_damaged_file_is_rendered_again(tmp_path, pool, damage):
    path = pool_path(CONFIG, tmp_path)
    load_pool(CONFIG, tmp_path, processes=1)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "swapped":
        images = pool.images.copy()
        images[0] += 1
        np.savez(path, digest=np.array(pool_digest(pool)), **pool._replace(images=images)._asdict())
    else:
        path.write_bytes(b"" if damage == "empty" else b"nothing of the kind")
    assert pool_digest(load_pool(CONFIG, tmp_path, processes=1)) == pool_digest(pool)
    assert digest_arrays(read_arrays(path)) == pool_digest(pool)


def test_file_name_depends_on_everything_that_images_depend_on(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.__version__", f"{RENDERER_PILLOW}.0")
    others = [PoolConfig("test", 130, 16), PoolConfig("validation", 131, 16), PoolConfig("validation", 130, 17)]
    others += [PoolConfig("validation", 130, 16, 2.6), PoolConfig("validation", 130, 16, seed=1), CONFIG]
    paths = {pool_path(config, tmp_path) for config in others}
    monkeypatch.setattr("PIL.__version__", f"{RENDERER_PILLOW}.1")  # Patch releases have the same libraries.
    paths.add(pool_path(CONFIG, tmp_path))
    for version in ("12.0.0", "13.7.0"):
        monkeypatch.setattr("PIL.__version__", version)
        paths.add(pool_path(CONFIG, tmp_path))
    monkeypatch.setattr(pool_module, "RENDERER", -1)
    paths.add(pool_path(CONFIG, tmp_path))
    monkeypatch.setattr(pool_module, "fonts_digest", lambda: "other fonts")
    paths.add(pool_path(CONFIG, tmp_path))
    assert len(paths) == 10


def test_file_name_for_the_defining_version_of_pillow_does_not_change(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.__version__", "13.0.0")
    monkeypatch.setattr(pool_module, "RENDERER", 2)
    monkeypatch.setattr(pool_module, "RENDERER_PILLOW", "13.0")
    monkeypatch.setattr(pool_module, "fonts_digest", lambda: "F")
    facts = '{"count": 130, "fonts": "F", "growth": 1.3, "renderer": 2, "seed": 0, "size": 16, "split": "validation"}'
    digest = hashlib.sha256(facts.encode()).hexdigest()[:16]
    assert pool_path(CONFIG, tmp_path).name == f"house_numbers-validation-16px-{digest}.npz"


def test_failed_write_leaves_no_file(tmp_path, monkeypatch, pool):
    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="cannot be written: disk full"):
        load_pool(PoolConfig("validation", 2, 16), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_script_without_a_main_guard_can_render_in_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from common.data.house_numbers.pool import PoolConfig, render_pool\n"
        "print(len(render_pool(PoolConfig('test', 60, 8), processes=2).images))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True, env=environment)
    assert result.stdout == "60\n"


def test_failing_process_ends_the_others(tmp_path, monkeypatch):
    program = tmp_path / "program"
    # The process of the first images takes a minute, the other one fails.
    program.write_text("#!/bin/sh\ncase \"$3\" in *', 0, 2]') exec sleep 60;; *) echo boom >&2; exit 1;; esac\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    start = time.monotonic()
    with pytest.raises(ValueError, match="^rendering house numbers failed: boom$"):
        render_pool(PoolConfig("test", 4, 16), processes=2)
    assert time.monotonic() - start < 30


def test_failing_progress_callback_stops_the_rendering():
    def stop(*args):
        raise RuntimeError("enough")

    with pytest.raises(ValueError, match="enough"):
        render_pool(CONFIG, stop, processes=2)


def test_folder_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file/deeper'"):
        load_pool(PoolConfig("test", 1, 16), tmp_path / "file" / "deeper")


def test_read_only_folder_is_an_error_before_anything_is_rendered(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    monkeypatch.setattr(pool_module, "render_pool", lambda *args: pytest.fail("images are rendered"))
    with pytest.raises(PermissionError, match=f"the folder '{tmp_path}' is not writable"):
        load_pool(CONFIG, tmp_path)
