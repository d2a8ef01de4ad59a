"""The programs that the speed benchmark times: training in JAX and in PyTorch, and parts of JAX's training step.

Each is a function without arguments that does some work, waits for it, and returns the number of units of work.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from common.attention.config import make_retina
from common.attention.glimpse import Retina, glimpse, summed_area_table
from common.data import Dataset, sample_batch
from experiments.evaluation.operations import count_operations
from experiments.families.ram import RamExperiment
from experiments.training.config import validate_budget
from experiments.training.programs import make_initial_state, make_programs
from ram.agent import make_ram
from ram.config import validate as validate_ram

Work = Callable[[], float]

_POOL_BATCH = 512


def jax_training(experiment: RamExperiment, dataset: Dataset) -> tuple[Work, int]:
    """Make the training program of this project: a compiled chunk of steps, including making the images.

    Args:
      experiment: the training run; a chunk has ``log_every`` steps.
      dataset: the loaded task.

    Returns:
      A function that trains for a chunk and returns the number of episodes; and the operations of one step.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    training, height, width = experiment.training, dataset.height, dataset.width
    validate_budget(experiment)
    validate_ram(experiment.model, height, width)
    model = make_ram(experiment.model, height, width, dataset.channels, dataset.num_classes).model
    state, chunk = make_initial_state(experiment, model), make_programs(experiment, model, dataset).chunk
    flops = count_operations(chunk, state, dataset.train, 1)

    def work() -> float:
        nonlocal state
        state, metrics = chunk(state, dataset.train, training.log_every)
        jax.block_until_ready((state, metrics))
        return float(training.log_every * training.batch_size * experiment.model.estimator.replicates)

    return work, flops


def make_pool(dataset: Dataset, size: int) -> tuple[UInt8[np.ndarray, "size H W C"], Int[np.ndarray, " size"]]:
    """Make ``size`` training images and labels, on the host, in the same way as training does."""
    draw = jax.jit(lambda key, source: sample_batch(key, source, dataset.recipe, _POOL_BATCH))
    batches = -(-size // _POOL_BATCH)
    drawn = [jax.device_get(draw(key, dataset.train)) for key in jax.random.split(jax.random.key(0), batches)]
    images, labels = (np.concatenate(arrays)[:size] for arrays in zip(*drawn, strict=True))
    return images, labels


def torch_training(experiment: RamExperiment, dataset: Dataset, pool: int) -> tuple[dict[str, Work], dict[str, Any]]:
    """Make the training programs of PyTorch, with the simple and with the tuned retina.

    They run on the same kind of device as JAX if PyTorch supports it.

    Args:
      experiment: the training run.
      dataset: the loaded task.
      pool: number of images to make in advance and to sample batches from.

    Returns:
      ``torch`` and ``torch_tuned``, which train for a step (ten on a GPU) and return the number of episodes; and
      PyTorch's version, device and number of threads.

    Raises:
      ModuleNotFoundError: PyTorch is not installed.
      ValueError: a configuration that the PyTorch implementation does not support.
    """
    from experiments.benchmarks.torch_ram import TorchTrainer, torch

    training = experiment.training
    on_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
    images, labels = make_pool(dataset, pool)
    steps = 10 if on_gpu else 1

    def make(tuned: bool) -> Work:
        trainer = TorchTrainer(
            experiment.model,
            experiment.optimizer,
            images,
            labels,
            num_classes=dataset.num_classes,
            batch_size=training.batch_size,
            device="cuda" if on_gpu else "cpu",
            seed=training.seed,
            tuned=tuned,
        )

        def work() -> float:
            for _ in range(steps):
                trainer.step()
            if on_gpu:
                torch.cuda.synchronize()
            return float(steps * training.batch_size * experiment.model.estimator.replicates)

        return work

    name = torch.cuda.get_device_name() if on_gpu else "CPU"
    contenders = {"torch": make(tuned=False), "torch_tuned": make(tuned=True)}
    return contenders, {"version": torch.__version__, "device": name, "threads": torch.get_num_threads()}


def read_glimpses(
    images: UInt8[Array, "B H W C"], locations: Float[Array, "T M B 2"], retina: Retina
) -> Float[Array, "T M B K G G C"]:
    """Compute what the sensor computes in a training step: the tables of a batch, and glimpses at all locations."""
    tables = jax.vmap(summed_area_table)(images)
    read_batch = jax.vmap(glimpse, in_axes=(0, 0, None))
    return jax.vmap(jax.vmap(lambda batch: read_batch(tables, batch, retina)))(locations)


def step_parts(experiment: RamExperiment, dataset: Dataset) -> dict[str, Work]:
    """Make programs of the parts of a training step, each compiled alone; a unit is the work of one step.

    Returns:
      ``images``: makes the batch; ``sensor``: computes the batch's tables and all glimpses, at uniform locations.
    """
    model, batch_size = experiment.model, experiment.training.batch_size
    draw = jax.jit(lambda key, source: sample_batch(key, source, dataset.recipe, batch_size)[0])
    sensor = jax.jit(read_glimpses, static_argnums=2)
    key, retina = jax.random.key(0), make_retina(model.retina)
    batch = draw(key, dataset.train)
    shape = (model.agent.num_glimpses, model.estimator.replicates, batch_size, 2)
    locations = jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)

    def make_images() -> float:
        draw(key, dataset.train).block_until_ready()
        return 1.0

    def read() -> float:
        sensor(batch, locations, retina).block_until_ready()
        return 1.0

    return {"images": make_images, "sensor": read}
