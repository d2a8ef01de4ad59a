"""Small images of numbers for the tests of agents that read sequences, in place of tasks that take long to load."""

import jax
import jax.numpy as jnp
import numpy as np

from common.data import Crop, Dataset, Plain, Source, reverse_dataset
from common.training.checkpoints import Checkpoints
from experiments.cli.command_line import parse_preset
from experiments.families.dram import PRESETS as DRAM_PRESETS
from experiments.training.config import to_json
from experiments.training.programs import make_initial_state
from experiments.training.run_directory import open_run
from tests.experiments.family_of import build

SYMBOLS, MOST = 3, 2
SIZES = {"pairs100_sequence": 12, "house_numbers": 12, "house_numbers_110": 24, "pairs100": 12}


def make_source(size, count, seed):
    """Images of `size` pixels, 12 of which hold a number of one or two symbols: bright columns 1, 2 or 3 wide."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (count, size, size, 1), dtype=np.uint8)
    labels = rng.integers(0, SYMBOLS, (count, MOST + 1)).astype(np.int32)
    labels[np.arange(MOST + 1) >= rng.integers(1, MOST + 1, (count, 1))] = SYMBOLS
    for image, label, corner in zip(images, labels, rng.integers(0, size - 11, (count, 2)), strict=True):
        for place, symbol in enumerate(label[label < SYMBOLS]):
            row, column = corner + [2, 1 + 6 * place]
            image[row : row + 8, column : column + symbol + 1] += np.uint8(150)
    return Source(images, labels)


def load_task(name, data=None, resize=None, **options):
    """Stands in for `common.data.load_task`: a number of the first symbols alone is a class of ``pairs100``."""
    size = resize or SIZES[name]
    # As many validation as test images, so that one program evaluates both.
    sources = [make_source(size, count, seed) for seed, count in enumerate((80, 40, 40))]
    names = ("0", "1", "2", "end")
    if name == "pairs100":
        sources, names = [source._replace(labels=source.labels[:, 0]) for source in sources], names[:-1]
    train, validation, test = sources
    recipe = Crop(size, size) if name.startswith("house") else Plain()
    return Dataset(name, jax.tree.map(jnp.asarray, train), validation, test, recipe, names)


def stand_in(monkeypatch):
    """Has every task that is loaded by name, for its images or their shapes, be one of small images of numbers."""
    for name in ("load_task", "blank_task"):
        monkeypatch.setattr(f"experiments.training.config.{name}", load_task)


LOOP = (
    "--optimizer adam --weight-decay 0 --learning-rate 0.01 --steps 150 --batch-size 16 --log-every 150"
    " --evaluate-every 150 --validation-episodes 1 --eval-episodes 3 --seed 5 --no-plots"
)
NETWORKS = (
    "--glimpse-network dense --glimpse-size 8 --num-scales 2 --glimpses-per-target 1 --core rnn --lower-hidden 24"
    " --upper-hidden 8 --glimpse-features 24 --context-size 4 --context-channels 2"
    " --sigma 2px --sigma-final 1px --sigma-schedule linear"
)
FLAGS = f"pairs100_sequence {NETWORKS} {LOOP}".split()


def untrained_run(folder, flags):
    """Leaves a run of `experiments.dram` as it is before its first step, as if it had been stopped there."""
    preset, experiment = parse_preset("dram", "", DRAM_PRESETS, [*FLAGS, *flags])
    dataset = load_task(experiment.data.task, resize=experiment.data.resize)
    dataset = reverse_dataset(dataset) if experiment.data.reverse else dataset
    state = make_initial_state(experiment, build(experiment, dataset).model)
    open_run(folder, {"family": "dram", "preset": preset, "config": to_json(experiment), "code": {}}, resume=False)
    Checkpoints(folder / "checkpoints").save(state)
