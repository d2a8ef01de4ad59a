"""Runs that are restored from their run directories."""

from common.data import find_task
from experiments import cnn
from experiments.runs.restore import read_run_without_images


def test_a_run_restored_without_images_has_the_recipe_of_its_task(images, tmp_path, monkeypatch):
    """Co-localisation asks the recipe for the place of the digit, also of the run that it starts from."""
    monkeypatch.chdir(tmp_path)
    flags = "--network fc --units 2 --steps 1 --batch-size 2 --log-every 1 --evaluate-every 1 --no-plots --run-dir run"
    cnn.main(f"mnist28 --task T84 --data {images} {flags}".split())
    assert read_run_without_images(tmp_path / "run").dataset.recipe == find_task("T84").recipe
