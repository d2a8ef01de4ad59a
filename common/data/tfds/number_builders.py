"""Multi-digit numbers as TensorFlow Datasets, prepared and read without TensorFlow: rendered house numbers and SVHN.

    prepare_numbers("house_numbers", "DATA_DIR")
    prepare_numbers("svhn_numbers", "DATA_DIR", svhn="FOLDER")  # Without svhn: downloads it.
    train = read_numbers("svhn_numbers", "train", "DATA_DIR")

Once this module is imported, `tfds.builder("street_numbers/house_numbers", ...)` finds them too. An example has an
`image` uint8 `[H, W, C]`, from which crops are taken, a `label` int32 `[S]` and an `index`, its position in the split.
TFDS sorts a split in memory, and needs TensorFlow above 1,000 MiB; a larger training split is stored as `train_0`,
`train_1` and so on.

Nothing else imports this module, because importing tensorflow_datasets is slow and it is optional.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from common.data.recipes.crops import Crop
from common.data.source import SPLITS, Source
from common.data.street_numbers import fit_crop, load_numbers
from common.data.svhn.dataset import SvhnConfig, load_parts
from common.data.svhn.files import ADDRESS, PARTS, Part
from common.data.tasks import TASKS
from common.data.tfds.builders import FILE_FORMAT, require_prepared
from common.names import check_name

_TASKS = {name: task for name, task in TASKS.items() if task.numbers is not None}
# Below what TFDS sorts in memory; images are hardly compressed.
_PART_BYTES = 900 << 20


@dataclass(kw_only=True)
class NumbersConfig(tfds.core.BuilderConfig):
    """The settings of a task of multi-digit numbers.

    Attributes:
        task: name of the task.
        size: rows and columns of the stored images in pixels.
        num_images: rendered images of train, validation and test; None for the defaults of the task.
    """

    task: str
    size: int
    num_images: tuple[int, int, int] | None = None


def make_numbers_config(
    task: str,
    resize: int | None = None,
    num_images: tuple[int, int, int] | None = None,
) -> NumbersConfig:
    """Return the settings of a task; another size or number of images has its own name, and so its own folder.

    Raises:
        ValueError: the task is unknown or not of multi-digit numbers, or the size is out of range.
    """
    check_name("task of multi-digit numbers", task, _TASKS)
    recipe, numbers, description = _TASKS[task].recipe, _TASKS[task].numbers, _TASKS[task].description
    assert isinstance(recipe, Crop) and numbers is not None
    _, size = fit_crop(recipe, numbers, resize)
    name = task if resize is None else f"{task}_{size}px"
    name = name if num_images is None else "_".join([name, *map(str, num_images)])
    return NumbersConfig(name=name, description=description, task=task, size=size, num_images=num_images)


class StreetNumbers(tfds.core.GeneratorBasedBuilder):
    """Multi-digit numbers in the street; one configuration for each task.

    Args:
        svhn: the folder with SVHN's files; None to download them.
    """

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES: ClassVar = {
        "2.0.0": "The validation numbers of SVHN are chosen by their names.",
        "1.0.0": "First release.",
    }
    BUILDER_CONFIGS: ClassVar = [make_numbers_config(task) for task in _TASKS]
    # Otherwise TFDS would look for checksums with importlib_resources, which it does not install.
    url_infos = None

    def __init__(self, *, svhn: str | os.PathLike[str] | None = None, file_format: Any = FILE_FORMAT, **kwargs: Any):
        self._svhn = svhn
        super().__init__(file_format=file_format, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        config, numbers = self.builder_config, TASKS[self.builder_config.task].numbers
        assert numbers is not None
        channels = 1 if numbers.grayscale else 3
        features = {
            "image": tfds.features.Tensor(shape=(config.size, config.size, channels), dtype=np.uint8, encoding="zlib"),
            "label": tfds.features.Tensor(shape=(numbers.num_symbols,), dtype=np.int32),
            "index": tfds.features.Scalar(dtype=np.int64),
        }
        source = "SVHN (Netzer et al.), for non-commercial use only" if numbers.svhn else "Rendered house numbers"
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{source}: {config.description}.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage=ADDRESS if numbers.svhn else None,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        config, task = self.builder_config, TASKS[self.builder_config.task]
        numbers = task.numbers
        assert numbers is not None
        if numbers.svhn and self._svhn is None:
            paths = dl_manager.download({part: f"{ADDRESS}{part}.tar.gz" for part in PARTS})
            parts = [Part(part, Path(os.fspath(path))) for part, path in paths.items()]
            crops = SvhnConfig(config.size, numbers.growth, numbers.grayscale, numbers.num_symbols)
            sources = load_parts(parts, crops, seed=task.seed)
        else:
            sources = load_numbers(
                config.task,
                numbers,
                config.size,
                task.seed,
                data=self._svhn,
                num_images=config.num_images,
                cache_dir=None,
            )
        generators = {}
        for split, source in sources.items():
            images, labels = np.asarray(source.images), np.asarray(source.labels)
            count = max(_PART_BYTES // images[0].nbytes, 1)
            starts = range(0, len(labels), count)
            for i, start in enumerate(starts):
                name = split if len(starts) == 1 else f"{split}_{i}"
                generators[name] = _examples(images[start : start + count], labels[start : start + count], start)
        return generators

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from ()  # Abstract in TFDS; `_split_generators` makes all examples.


def _examples(images: np.ndarray, labels: np.ndarray, start: int) -> Iterator[tuple[int, dict[str, Any]]]:
    for index, (image, label) in enumerate(zip(images, labels, strict=True), start=start):
        yield index, {"image": image, "label": label, "index": index}


def _builder(
    task: str,
    data_dir: str | os.PathLike[str],
    resize: int | None,
    num_images: tuple[int, int, int] | None,
    svhn: str | os.PathLike[str] | None = None,
) -> StreetNumbers:
    numbers_config = make_numbers_config(task, resize, num_images)
    # TFDS takes the configurations that it knows by name only.
    config: Any = task if numbers_config.name == task else numbers_config
    return StreetNumbers(svhn=svhn, config=config, data_dir=os.fspath(data_dir))


def prepare_numbers(
    task: str,
    data_dir: str | os.PathLike[str],
    resize: int | None = None,
    svhn: str | os.PathLike[str] | None = None,
    num_images: tuple[int, int, int] | None = None,
) -> StreetNumbers:
    """Write the splits of a task to disk, unless they exist.

    Args:
        task: name of the task.
        data_dir: the folder of all TensorFlow Datasets; this one goes to its `street_numbers/<task>/2.0.0`.
        resize: side of a training crop in pixels; None for that of the task.
        svhn: the folder with SVHN's files; None to download them.
        num_images: rendered images of train, validation and test; None for the defaults of the task.

    Returns:
        The builder.

    Raises:
        ValueError: the task is unknown or not of multi-digit numbers, or SVHN's files are missing or damaged.
    """
    builder = _builder(task, data_dir, resize, num_images, svhn)
    builder.download_and_prepare()
    return builder


def read_numbers(
    task: str,
    split: str,
    data_dir: str | os.PathLike[str],
    resize: int | None = None,
    num_images: tuple[int, int, int] | None = None,
) -> Source:
    """Read a prepared split, in the order of the index.

    Args:
        task: name of the task.
        split: train, validation or test.
        data_dir: as given to `prepare_numbers`.
        resize: as given to `prepare_numbers`.
        num_images: as given to `prepare_numbers`.

    Returns:
        NumPy arrays: images uint8 `[N, H, W, C]`, uncropped, labels int32 `[N, S]`.

    Raises:
        ValueError: the task is unknown or not prepared there, or the split is unknown.
    """
    builder = _builder(task, data_dir, resize, num_images)
    require_prepared(builder, task, data_dir)
    check_name("split", split, SPLITS)
    stored = [name for name in builder.info.splits if name == split or name.rpartition("_")[0] == split]
    count = sum(builder.info.splits[name].num_examples for name in stored)
    features = builder.info.features
    images = np.empty((count, *features["image"].shape), np.uint8)
    labels = np.empty((count, *features["label"].shape), np.int32)
    for name in stored:
        for example in builder.as_data_source(name):
            images[example["index"]], labels[example["index"]] = example["image"], example["label"]
    return Source(images, labels)
