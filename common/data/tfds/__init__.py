"""The tasks as TensorFlow Datasets."""
