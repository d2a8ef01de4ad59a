"""The lookup of stored results for the help of presets."""

import json
import subprocess
import sys
import time

from experiments.output.results_lookup import best_result, describe_result

ENTRY = {
    "name": "mnih2014/ram",
    "family": "ram",
    "preset": "mnist28",
    "is_preset": True,
    "error": 0.83,
    "low": 0.67,
    "high": 1.03,
    "readout": "mean of ten",
    "validation": 0.9,
    "minutes": 13.0,
    "device": "CPU",
    "seeds": [0],
}


def write_index(path, *changes):
    path.write_text(json.dumps([ENTRY | change for change in changes]))
    return path


def test_a_stored_result_of_the_preset_is_found(tmp_path):
    index = write_index(tmp_path / "index.json", {"seeds": [0, 1, 2]})
    assert best_result("ram", "mnist28", index) == (0.83, 0.67, 1.03, "mean of ten", 13.0, "CPU", 3)
    assert best_result("ram", "cluttered60", index) is None and best_result("cnn", "mnist28", index) is None


def test_the_best_result_has_the_lowest_validation_error(tmp_path):
    index = write_index(
        tmp_path / "index.json", {}, {"error": 0.9, "validation": 0.8}, {"error": 0.7, "validation": 1.0}
    )
    assert best_result("ram", "mnist28", index).error == 0.9


def test_runs_with_other_flags_than_the_preset_do_not_count(tmp_path):
    index = write_index(tmp_path / "index.json", {"is_preset": False})
    assert best_result("ram", "mnist28", index) is None
    assert describe_result("ram", "mnist28", index) == "Run with other settings only: see results/."
    assert describe_result("ram", "cluttered60", index) == "Not run yet."


def test_there_is_no_result_where_the_repository_is_not_installed(tmp_path):
    assert best_result("ram", "mnist28", tmp_path / "index.json") is None


def test_the_committed_index_has_results():
    assert best_result("ram", "cluttered60_dense").readout == "mean of ten"
    assert best_result("colocalisation", "T84").readout == "boxes not found"


def test_the_lookup_is_fast_and_imports_nothing_heavy():
    start = time.perf_counter()
    best_result("stn", "RTS")
    assert time.perf_counter() - start < 0.05
    heavy = "('jax', 'numpy', 'scipy', 'matplotlib')"
    code = f"import sys, experiments.output.results_lookup; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
