"""Checkpoints: states are restored to the bit, any damage is detected, and a failed write changes nothing."""

import errno
import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from common.training.checkpoints import CheckpointError, Checkpoints, state_digest
from common.training.step import Model, init_state


@functools.cache
def initial_state(size):
    def init(key):
        return {"dense": {"kernel": jax.random.normal(key, (5, size)), "bias": jnp.zeros(3)}, "scale": jnp.ones(())}

    return init_state(Model(init, lambda *_: None, lambda *_: None), optax.adam(1e-3), seed=7)


def state_at(step, size=3):
    state = initial_state(size)
    return state._replace(params=jax.tree.map(lambda x: x + step, state.params), step=jnp.int32(step))


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Make a folder with the checkpoints 2 and 4, to be copied."""
    folder = tmp_path_factory.mktemp("saved")
    checkpoints = Checkpoints(folder)
    for step in (2, 4):
        checkpoints.save(state_at(step))
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def test_a_state_is_restored_to_the_bit(folder):
    expected = state_at(4)
    restored = Checkpoints(folder).restore(state_at(0))
    assert jax.tree.structure(restored) == jax.tree.structure(expected)
    for got, want in zip(jax.tree.leaves(restored), jax.tree.leaves(expected), strict=True):
        assert got.dtype == want.dtype and got.shape == want.shape
        if jax.dtypes.issubdtype(got.dtype, jax.dtypes.prng_key):
            got, want = jax.random.key_data(got), jax.random.key_data(want)
        assert np.asarray(got).tobytes() == np.asarray(want).tobytes()
    assert jax.random.bits(restored.base_key) == jax.random.bits(expected.base_key)


def test_the_digest_depends_on_values_shapes_and_types():
    state = state_at(2)
    kernel = state.params["dense"]["kernel"]
    changed = [
        kernel.at[1, 1].set(jnp.nextafter(kernel[1, 1], jnp.inf)),
        kernel.T,
        kernel.astype(jnp.bfloat16),
        kernel.view(jnp.int32),
    ]
    states = [state, *(state._replace(params={**state.params, "dense": {"kernel": k}}) for k in changed)]
    states.append(state._replace(base_key=jax.random.key(8)))
    assert len({state_digest(s) for s in states}) == len(states)
    assert state_digest(state) == state_digest(jax.tree.map(jnp.copy, state))


def test_only_the_latest_checkpoints_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new" / "checkpoints", keep=2)
    assert checkpoints.steps() == [] and checkpoints.restore(state_at(0)) is None
    assert not (tmp_path / "new").exists(), "reading makes no folder"
    for step in (2, 8, 10):
        checkpoints.save(state_at(step))
    assert checkpoints.steps() == [8, 10]
    assert sorted(path.name for path in checkpoints.directory.iterdir()) == ["10", "8"]
    checkpoints.discard_after(8)
    assert checkpoints.steps() == [8]
    assert int(checkpoints.restore(state_at(0)).step) == 8


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip, empty, lambda path: path.unlink()])
def test_damage_to_any_file_is_detected_and_the_checkpoint_before_is_read(saved, tmp_path, capfd, damage):
    names = [path.relative_to(saved) for path in files_of(saved / "4")]
    assert {"digest.json", "_CHECKPOINT_METADATA", "manifest.ocdbt"} <= {name.name for name in names}
    assert any("d" in name.parts for name in names), "the arrays"
    for number, name in enumerate(names):
        folder = shutil.copytree(saved, tmp_path / str(number))
        damage(folder / name)
        warnings = []
        restored = Checkpoints(folder).restore(state_at(0), warnings.append)
        assert state_digest(restored) == state_digest(state_at(2)), name
        (warning,) = warnings
        assert str(folder / "4") in warning and "cannot be read" in warning and "\n" not in warning
        assert name.name in warning or name.name == "digest.json"
    assert capfd.readouterr() == ("", ""), "nothing but the one line"


def test_an_empty_folder_is_a_damaged_checkpoint_and_can_be_replaced(folder):
    shutil.rmtree(folder / "4")
    (folder / "4").mkdir()
    checkpoints, warnings = Checkpoints(folder), []
    assert int(checkpoints.restore(state_at(0), warnings.append).step) == 2 and len(warnings) == 1
    checkpoints.save(state_at(4))
    restored = checkpoints.restore(state_at(0), pytest.fail)
    assert state_digest(restored) == state_digest(state_at(4)) and checkpoints.steps() == [2, 4]


def test_an_error_is_raised_if_all_checkpoints_are_damaged(folder):
    for step in ("2", "4"):
        truncate(folder / step / "state" / "manifest.ocdbt")
    warnings = []
    with pytest.raises(CheckpointError, match="no checkpoint of 2 can be read") as error:
        Checkpoints(folder).restore(state_at(0), warnings.append)
    assert str(folder) in str(error.value) and len(warnings) == 2


def test_checkpoints_of_another_model_are_not_read(folder, capfd):
    more = state_at(0)._replace(params={**state_at(0).params, "shift": jnp.zeros(2)})
    for like, message in [
        (state_at(0, size=4), "['dense']['kernel'] was float32[5, 3], is float32[5, 4]"),
        (more, ".params['shift'] was absent, is float32[2]"),
    ]:
        warnings = []
        with pytest.raises(CheckpointError):
            Checkpoints(folder).restore(like, warnings.append)
        assert len(warnings) == 2 and all("of another model" in line and message in line for line in warnings)
    assert capfd.readouterr() == ("", "")


def test_a_partial_checkpoint_of_a_killed_run_is_not_read(folder):
    (folder / "4").rename(folder / "partial")
    checkpoints = Checkpoints(folder)
    assert checkpoints.steps() == [2] and int(checkpoints.restore(state_at(0), pytest.fail).step) == 2
    checkpoints.save(state_at(4))
    assert sorted(path.name for path in folder.iterdir()) == ["2", "4"]


@pytest.mark.parametrize("kind", [OSError, ValueError])
def test_a_failed_write_leaves_earlier_checkpoints_unchanged(folder, monkeypatch, kind):
    def save(self, directory, *args, **kwargs):
        directory.mkdir()
        (directory / "half").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device") if kind is OSError else ValueError("RESOURCE\nEXHAUSTED")

    checkpoints = Checkpoints(folder)
    with monkeypatch.context() as patched:
        patched.setattr(ocp.Checkpointer, "save", save)
        with pytest.raises(OSError, match="could not save checkpoint .*6'.*(No space left|RESOURCE EXHAUSTED)"):
            checkpoints.save(state_at(6))
    assert sorted(path.name for path in folder.iterdir()) == ["2", "4"], "what was half written is gone"
    assert state_digest(checkpoints.restore(state_at(0), pytest.fail)) == state_digest(state_at(4))
    checkpoints.save(state_at(6))
    assert checkpoints.steps() == [4, 6]


def test_a_full_disk_is_one_line_and_leaves_earlier_checkpoints(small_disk, capfd):
    size = 25_000  # 2 MB of parameters, best parameters, and moments.
    checkpoints = Checkpoints(small_disk(3) / "checkpoints", keep=1)
    checkpoints.save(state_at(2, size))
    with pytest.raises(OSError, match=r"checkpoint .*4'.*no space left .* MiB are needed, .* are free") as error:
        checkpoints.save(state_at(4, size))
    assert "\n" not in str(error.value)
    assert state_digest(checkpoints.restore(state_at(0, size), pytest.fail)) == state_digest(state_at(2, size))
    assert capfd.readouterr() == ("", "")
