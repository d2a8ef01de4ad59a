"""Configuration of a run. Every field is a flag of the command line."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import dacite

from common.checks import Range, check_ranges, explained
from common.data import Dataset, blank_task, check_num_images, check_resize, find_task, load_task, reverse_dataset
from common.data.own_images.resizing import ResizeMode
from common.training.optimizers import OptimizerConfig, check_optimizer
from experiments.cli.console import image_progress, print_line, warnings_as_lines
from experiments.training.augmentation import AugmentationConfig

# Smallest number of rendered images of a validation or test split.
LEAST_EVALUATION_IMAGES = 1000


def _plain_path(path: str) -> str:
    """Return a path without a slash at its end, doubled slashes and `./`; an empty one stays empty."""
    return str(Path(path)) if path else path


@dataclass(frozen=True)
class DataConfig:
    """The images."""

    task: str = "augmented100"
    """Task. Digits: mnist28, translated60, cluttered60, cluttered100, augmented100, tc60, distorted/R, distorted/RTS,
    distorted/P, distorted/E, T84, TC84. Two digits: pairs100, pairs100_sequence, addition100, two_channel_addition42.
    House numbers: house_numbers, house_numbers_110, house_numbers_new_fonts, svhn_numbers, svhn_numbers_110,
    svhn_numbers_32. Your own: images (as they are), or module:name of a Task (docs/how-to/add_a_task.md)."""
    data: str | None = None
    """Your own images instead of MNIST: a folder with a subfolder for each class, or a .npz file. For svhn_numbers: the
    folder of the archives (experiments.download_svhn)."""
    resize: int | str | None = None
    """Size in pixels of your own images: SIDE, or HxW such as 48x64 (rows x columns). House numbers and SVHN: the side
    of their square crops. None for the sizes that they have."""
    resize_mode: ResizeMode = "pad"
    """How --resize treats the aspect ratio of your own images. pad: keep it and fill the rest with black. crop:
    keep it, cover the whole size and cut off both ends. stretch: change it."""
    grayscale: bool | None = None
    """Channels of your own images, house numbers or SVHN: True for one, False for RGB, None for what they have."""
    num_images: Annotated[int | None, Range(1)] = None
    """House numbers to render for training; validation and test have a tenth as many each, but at least 1,000. None for
    60,000, 5,000 and 10,000. The first images are the same for every number."""
    validation_fraction: float = 0.1
    """Fraction of your own training images that becomes the validation split, if they come without one."""
    test_fraction: float = 0.1
    """Fraction of your own training images that becomes the test split, if they come without one."""
    split_seed: Annotated[int, Range(0)] = 0
    """Seed of the random split of your own images into train, validation and test."""
    reverse: bool = False
    """Read sequences from right to left: reverse the symbols before the end symbol of each label."""
    augmentation: AugmentationConfig = AugmentationConfig()

    def __post_init__(self) -> None:
        """Write the path of the images in one way, since it identifies the run."""
        if self.data is not None:
            object.__setattr__(self, "data", _plain_path(self.data))


@dataclass(frozen=True)
class TrainingConfig:
    """The training budget, validation during training, and the final evaluation."""

    steps: Annotated[int, Range(1, 2**31 - 1)] = 10_000
    """Training steps of the whole run."""
    batch_size: Annotated[int, Range(1)] = 128
    """Images B in a batch; an agent plays M episodes (replicates) on each."""
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    """Seed of parameters, images and locations."""
    log_every: Annotated[int, Range(1)] = 100
    """Steps between two lines of metrics.jsonl; they run in one compiled call."""
    evaluate_every: Annotated[int, Range(1)] = 1000
    """Steps between two validations, each followed by a checkpoint."""
    validation_episodes: Annotated[int, Range(1)] = 4
    """Sampled episodes of an agent whose class probabilities are averaged in each validation; that error selects the
    parameters."""
    patience: Annotated[int, Range(0)] = 0
    """Stop after this many validations without a lower validation error; 0 to never stop early."""
    keep_best: bool = True
    """Report the parameters of the lowest validation error; otherwise those of the last step."""
    eval_episodes: Annotated[int, Range(1)] = 10
    """Sampled episodes of an agent that are averaged in the final evaluation (mean of ten by default)."""
    eval_batch_size: Annotated[int, Range(1)] = 500
    """Images in one compiled call of an evaluation."""
    keep_checkpoints: Annotated[int, Range(1)] = 2
    """Number of latest checkpoints to keep."""


def one_pass(steps: int) -> TrainingConfig:
    """Return a budget of ``steps`` steps with twenty validations, for networks that sample no episodes."""
    return TrainingConfig(steps=steps, evaluate_every=max(steps // 20, 1), eval_episodes=1, validation_episodes=1)


@dataclass(frozen=True)
class StartConfig:
    """Warm start: what a run takes from another run when it begins."""

    init_from: str | None = None
    """Run directory whose parameters this run starts from, perhaps to train on other images. The run must be of the
    same family, with the same network shapes and the same settings that change what the parameters mean."""

    def __post_init__(self) -> None:
        """Write run directories in one way, since they identify the run: `runs/a/` and `./runs/a` are `runs/a`."""
        for field in dataclasses.fields(self):
            if isinstance(folder := getattr(self, field.name), str):
                object.__setattr__(self, field.name, _plain_path(folder))


@dataclass(frozen=True)
class OutputConfig:
    """The output of a run. It does not identify the run."""

    run_dir: Path | None = None
    """Run directory; runs/FAMILY-PRESET-seedSEED when it is not given."""
    resume: bool = False
    """Continue the run in the run directory from its latest checkpoint, perhaps with more --steps."""
    overwrite: bool = False
    """Delete the run in the run directory and start again."""
    plots: bool = True
    """Draw plots and the report after training."""


@dataclass(frozen=True)
class Experiment:
    """Configuration of a run. Each family of models subclasses it with its own model (and start) configuration."""

    data: DataConfig = DataConfig()
    model: Any = None
    start: StartConfig = StartConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()
    output: OutputConfig = OutputConfig()


def validate_budget(experiment: Experiment) -> None:
    """Check the training budget and the optimiser.

    Raises:
      ValueError: a bad configuration.
    """
    config = experiment.training
    check_ranges(config)
    check_optimizer(experiment.optimizer, config.steps)


def validate_data(config: DataConfig) -> None:
    """Check the settings of the images before any image is made.

    Raises:
      ValueError: a bad configuration.
    """
    check_ranges(config)
    check_ranges(config.augmentation)
    check_resize(config.task, config.resize)
    check_num_images(config.task, config.num_images)


def unread_data_settings(config: DataConfig) -> dict[str, str]:
    """Return the settings of the images that are not read, each with the reason."""
    own = is_own(config)
    splits = ("validation_fraction", "test_fraction", "split_seed")
    unread = {} if own else dict.fromkeys(splits, ": the task has its own validation and test images")
    if config.resize is None or not own:
        unread["resize_mode"] = ": it is for your own images (--data) with --resize"
    return unread


def load_dataset(config: DataConfig, train: bool = True) -> Dataset:
    """Load the images; report on standard error what own images were loaded, and the progress of those that are made.

    Args:
      config: which images.
      train: False if the training images are not needed; house numbers and SVHN then have one (see `load_task`).

    Raises:
      ValueError: see `validate_data` and `common.data.load_task`.
    """
    validate_data(config)
    with warnings_as_lines(), image_progress() as progress:
        dataset = load_task(
            config.task,
            config.data,
            config.resize,
            resize_mode=config.resize_mode,
            validation_fraction=config.validation_fraction,
            test_fraction=config.test_fraction,
            split_seed=config.split_seed,
            grayscale=config.grayscale,
            num_images=split_sizes(config.num_images),
            progress=progress,
            train=train,
            report=print_line,
        )
    return reverse_dataset(dataset) if config.reverse else dataset


def load_evaluation_images(config: DataConfig) -> Dataset:
    """Load the images for an evaluation: `load_dataset` without the training images."""
    return load_dataset(config, train=False)


def is_own(config: DataConfig) -> bool:
    """Return True if the images are the user's own, from `--data`.

    Raises:
      ValueError: the task is unknown.
    """
    return find_task(config.task).numbers is None and (config.data is not None or config.task == "images")


def load_blank(config: DataConfig) -> Dataset:
    """Return a blank data set with the shapes of the configured one; the user's own images are loaded.

    Raises:
      ValueError: the task is unknown, or the user's own images cannot be loaded.
    """
    if is_own(config):
        return load_evaluation_images(config)
    return blank_task(config.task, resize=config.resize, grayscale=config.grayscale)


def split_sizes(num_images: int | None) -> tuple[int, int, int] | None:
    """Return the numbers of train, validation and test images to render; None for the defaults."""
    if num_images is None:
        return None
    evaluation_images = max(num_images // 10, LEAST_EVALUATION_IMAGES)
    return num_images, evaluation_images, evaluation_images


def cached_loader() -> Callable[[DataConfig], Dataset]:
    """Return a `load_evaluation_images` that caches the last images, for either direction of reading."""

    @functools.lru_cache(maxsize=1)
    def load_forward(config: DataConfig) -> Dataset:
        return load_evaluation_images(config)

    def load(config: DataConfig) -> Dataset:
        dataset = load_forward(dataclasses.replace(config, reverse=False))
        return reverse_dataset(dataset) if config.reverse else dataset

    return load


def to_json(config: Any) -> dict[str, Any]:
    """Return a configuration as nested dictionaries, without its `output`, which is no part of a run's identity."""
    tree = dataclasses.asdict(config)
    tree.pop("output", None)
    return tree


def from_json(cls: type, tree: dict[str, Any], what: str = "configuration") -> Any:
    """Read a configuration back from what `to_json` returned; a missing field has its default.

    Args:
      cls: its class.
      tree: what `to_json` returned.
      what: what is read, for messages.

    Raises:
      ValueError: a field is unknown or its value has another type.
    """
    # dacite makes a tuple of a value before it checks that it is a list.
    with explained(what, dacite.DaciteError, TypeError, ValueError):
        return dacite.from_dict(cls, tree, dacite.Config(strict=True, cast=[tuple]))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings as (dotted name, value), in order."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{name}.")
        else:
            yield name, value
