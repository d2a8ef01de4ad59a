"""What the tests of whole runs share: small images, and commands run in an empty folder."""

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture(scope="module")
def compile_once(tmp_path_factory):
    """The runs of these tests share their compiled programs."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_disable_most_optimizations", True)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images of 12x12 pixels in three classes: which third is bright."""
    labels = np.arange(150) % 3
    noise = np.random.default_rng(0).integers(0, 60, (150, 12, 12), dtype=np.uint8)
    bright = (np.arange(12) // 4 == labels[:, None])[:, None, :]
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, images=noise + np.uint8(150) * bright, labels=labels)
    return path


@pytest.fixture
def go(images, tmp_path, monkeypatch):
    """Runs a command in an empty folder; the run goes to ``run``."""
    monkeypatch.chdir(tmp_path)

    def call(module, flags, *more):
        return module.main([*flags, "--data", str(images), "--run-dir", "run", *more])

    return call


@pytest.fixture
def refused(go, capsys):
    """Runs a command that must end with status 2 and one line about it, which it returns."""

    def call(*args):
        with pytest.raises(SystemExit) as stop:
            go(*args)
        out, err = capsys.readouterr()
        *progress, line = err.splitlines()
        assert stop.value.code == 2 and out == "" and line.startswith("error: ")
        assert all(said.startswith(("images: ", "step ", "evaluating ", "drawing")) for said in progress)
        return line

    return call
