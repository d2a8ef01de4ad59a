"""The tasks as TensorFlow Datasets, prepared and read without TensorFlow.

    builder = AttentionMnist(config="cluttered60", data_dir="...")
    builder.download_and_prepare()
    examples = builder.as_data_source("test")

Once this module is imported, `tfds.builder("attention_mnist/cluttered60", ...)` finds it too. An example has an
`image` uint8 `[H, W, C]`, a `label`, which is a class or symbols int32 `[S]`, and an `index`, its position in the
split, because array_record stores examples in the order of a hash. Every task has its fixed validation and test images;
mnist28 also has the training digits, from which the other tasks draw their training images.

Nothing else imports this module, because importing tensorflow_datasets is slow and it is optional.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from common.data.mnist import load_mnist
from common.data.recipes.base import Plain, sample_shapes
from common.data.sampling import fixed_split
from common.data.source import Source
from common.data.tasks import TASKS
from common.names import check_name

# The only format that is written and read without TensorFlow.
FILE_FORMAT = "array_record"
_TASKS = {name: task for name, task in TASKS.items() if name != "images" and task.numbers is None}


@dataclass(kw_only=True)
class AttentionConfig(tfds.core.BuilderConfig):
    """The settings of a task.

    Attributes:
        task: name of the task.
        num_examples: keep the first examples of each split only; None for all.
    """

    task: str
    num_examples: int | None = None


def make_config(task: str, num_examples: int | None = None) -> AttentionConfig:
    """Return the settings of a task; with `num_examples` it has its own name, and so its own folder.

    Raises:
        ValueError: the task is unknown or not made from MNIST.
    """
    check_name("MNIST task", task, _TASKS)
    description = _TASKS[task].description
    # In TFDS a slash ends a name.
    name = task.replace("/", "_") + ("" if num_examples is None else f"_first{num_examples}")
    return AttentionConfig(name=name, description=description, task=task, num_examples=num_examples)


class AttentionMnist(tfds.core.GeneratorBasedBuilder):
    """MNIST digits on canvases; one configuration for each task."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "First release.",
        "2.0.0": "distorted/P: each corner is stretched by one amount, the same in x and in y.",
    }
    BUILDER_CONFIGS: ClassVar = [make_config(task) for task in _TASKS]
    # Nothing is downloaded. TFDS would look for checksums with importlib_resources, which it does not install.
    url_infos = None

    def __init__(self, *, file_format: Any = FILE_FORMAT, **kwargs: Any):
        super().__init__(file_format=file_format, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        recipe = TASKS[self.builder_config.task].recipe
        # Shapes depend only on the size of the digits.
        digits = Source(np.zeros((10, 28, 28, 1), np.uint8), np.zeros(10, np.int32))
        shape, label_shape = sample_shapes(recipe, digits)
        names = recipe.name_classes(tuple("0123456789"))
        features = {
            # A compressed tensor, because the image feature would encode with TensorFlow.
            "image": tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="zlib"),
            "label": tfds.features.Tensor(shape=label_shape, dtype=np.int32)
            if label_shape
            else tfds.features.ClassLabel(names=names),
            "index": tfds.features.Scalar(dtype=np.int64),
        }
        # Not dataset_info_from_configs, which would use the README of this folder as the description.
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"MNIST (LeCun, Cortes and Burges): {self.builder_config.description}.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage="http://yann.lecun.com/exdb/mnist/",
            license="CC BY-SA 3.0",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        splits = load_mnist()
        if TASKS[self.builder_config.task].recipe != Plain():
            splits.pop("train")
        return {split: self._generate_examples(source, split) for split, source in splits.items()}

    def _generate_examples(self, source: Source, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        # Make the whole split even for a few examples, because distractors come from all of its digits.
        images, labels = fixed_split(source, TASKS[self.builder_config.task], split)
        count = self.builder_config.num_examples
        for index, (image, label) in enumerate(zip(images[:count], labels[:count], strict=True)):
            yield index, {"image": image, "label": label, "index": index}


def _builder(task: str, data_dir: str | os.PathLike[str], num_examples: int | None) -> AttentionMnist:
    config = make_config(task, num_examples)
    return AttentionMnist(config=config.name if num_examples is None else config, data_dir=os.fspath(data_dir))


def prepare(task: str, data_dir: str | os.PathLike[str], num_examples: int | None = None) -> AttentionMnist:
    """Write the splits of a task to disk, unless they exist.

    Args:
        task: name of the task.
        data_dir: the folder of all TensorFlow Datasets; this one goes to its `attention_mnist/<task>/2.0.0`.
        num_examples: keep the first examples of each split only; None for all.

    Returns:
        The builder.

    Raises:
        ValueError: the task is unknown or not made from MNIST.
    """
    builder = _builder(task, data_dir, num_examples)
    builder.download_and_prepare()
    return builder


def require_prepared(builder: tfds.core.DatasetBuilder, task: str, data_dir: str | os.PathLike[str]) -> None:
    """Check that the splits of a task are on disk.

    Raises:
        ValueError: they are not.
    """
    if not builder.is_prepared():
        raise ValueError(f"task {task!r} is not prepared in {os.fspath(data_dir)!r}: prepare it first")


def read_split(task: str, split: str, data_dir: str | os.PathLike[str], num_examples: int | None = None) -> Source:
    """Read a prepared split, in the order of the index.

    Args:
        task: name of the task.
        split: validation or test, or train for mnist28.
        data_dir: as given to `prepare`.
        num_examples: as given to `prepare`.

    Returns:
        NumPy arrays: images uint8 `[N, H, W, C]`, labels int32 `[N]` or `[N, S]`.

    Raises:
        ValueError: the task is unknown or not prepared there, or has no such split.
    """
    builder = _builder(task, data_dir, num_examples)
    require_prepared(builder, task, data_dir)
    examples = builder.as_data_source(split)
    features, count = builder.info.features, len(examples)
    images = np.empty((count, *features["image"].shape), np.uint8)
    labels = np.empty((count, *features["label"].shape), np.int32)
    for example in examples:
        images[example["index"]] = example["image"]
        labels[example["index"]] = example["label"]
    return Source(images, labels)
