"""The fixed images and the training batches of the tasks made from MNIST are the published ones."""

import functools
import hashlib

import jax
import numpy as np
import pytest

from common.data import load_task
from common.data.digests import DIGESTS, digest
from common.data.mnist import load_mnist
from common.data.recipes.base import sample_shapes
from common.data.recipes.pairs import DIGITS
from common.data.sampling import fixed_split, sample_batch
from common.data.source import Source
from common.data.tasks import TASKS


@pytest.fixture(scope="module")
def mnist():
    return load_mnist()


# Every image of a task comes from one recipe, and the training batches below check the recipes, so most splits are
# checked among the slow tests.
QUICK = [("cluttered60", "test"), ("pairs100", "test")]
SPLITS = [key if key in QUICK else pytest.param(*key, marks=pytest.mark.slow) for key in DIGESTS]


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_published_digests(mnist, name, split):
    made = fixed_split(mnist[split], TASKS[name], split)
    shape, _ = sample_shapes(TASKS[name].recipe, mnist[split])
    assert made.images.shape == (len(mnist[split].labels), *shape) and made.images.dtype == np.uint8
    if TASKS[name].recipe.name_classes(DIGITS) == DIGITS:
        np.testing.assert_array_equal(made.labels, mnist[split].labels)
    assert digest(made) == DIGESTS[name, split]


# SHA-256 of 64 training images drawn with key 0.
TRAINING_DIGESTS = {
    "mnist28": "1be42bb56e14470201d79368b94dde103d9630a39dea14c698f3c48802b98292",
    "translated60": "8fba36261aa8932a45d646f4a8e33fc2bdc2e1106da6414d7d3cbb6661647d15",
    "cluttered60": "6391df15cdd2f1a43dd6daa5ba92f7145d1f010c2b98373952f5be9302351cae",
    "cluttered100": "908a7ff9db1ff510e7bd7136899f3ca8dcec8018441c2bf9d301f5d40b89cc1e",
    "augmented100": "d3f308d4139b2fb7520c28e7b09d9d237a6786f0ce50dbc28385b243832ff03a",
    "distorted/R": "b66c2f2a3fc4a054924952bf3518811070dd0bbbc289dc9d6bf1e7ae7ecbb54f",
    "distorted/RTS": "87a58d9b51cb7caf8ae274b0dfd3aff9882f0243cb045181a85344f89cead651",
    "distorted/P": "f43670de7221db0ef035b56cd6d69739d1d998199e80f7ec65d6890f10bfbdc1",
    "distorted/E": "7f5b7678f3404ede18c74052910499ff81ce8682f2073c529f4b475842532f9a",
    "tc60": "19942111abf52db4eb00aa72e64fa9500d19848596b355d2a938d92cd4de283c",
    "two_channel_addition42": "f23300aa93e30965800e893d937b8ac4d3342d11451856befc700b89aa645fa0",
    "T84": "65800eabad403f6f6b9fc4c5bfd42e58815ddd1d1dd58435f001e58a9000616b",
    "TC84": "f674bd2e777f9f235ddab200fa4dbc692d5f4fe2e5f722c04e85e5803cf10cda",
}


@pytest.mark.parametrize("name", TRAINING_DIGESTS)
def test_training_batches_do_not_change(mnist, name):
    drawn = jax.jit(functools.partial(sample_batch, recipe=TASKS[name].recipe, batch_size=64))(
        jax.random.key(0, impl="threefry2x32"), mnist["train"]
    )
    assert digest(Source(*map(np.asarray, drawn))) == TRAINING_DIGESTS[name]


def test_every_mnist_task_has_digests_and_its_own_seed():
    seeds = {name: task.seed for name, task in TASKS.items() if name != "images" and task.numbers is None}
    assert set(DIGESTS) == {(name, split) for name in seeds for split in ("validation", "test")}
    assert seeds.pop("pairs100_sequence") == seeds["pairs100"]
    assert len(set(seeds.values())) == len(seeds)
    assert all(name == task.name for name, task in TASKS.items())


def test_digest_of_known_bytes():
    source = Source(np.array([1, 2, 3, 4], np.uint8).reshape(2, 1, 2, 1), np.array([258, 7]))
    assert digest(source) == hashlib.sha256(bytes([1, 2, 3, 4, 2, 1, 0, 0, 7, 0, 0, 0])).hexdigest()


def test_load_task_refuses_images_other_than_the_published_ones(monkeypatch):
    monkeypatch.setitem(DIGESTS, ("mnist28", "validation"), "0" * 64)
    with pytest.raises(ValueError, match="validation images of 'mnist28'.*" + "0" * 64):
        load_task("mnist28")
