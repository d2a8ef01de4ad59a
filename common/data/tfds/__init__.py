"""The tasks as TensorFlow Datasets; needs the extra `tfds`."""

import importlib.util

if importlib.util.find_spec("tensorflow_datasets") is None or importlib.util.find_spec("array_record") is None:
    raise ImportError("common.data.tfds needs tensorflow-datasets and array_record: pip install '.[tfds]'")
