"""Optional packages: not imported by `common.data`, and one line where a task needs a missing one."""

import subprocess
import sys
from pathlib import Path

import pytest

from common.data import load_task
from common.data.extras import require_extra
from common.data.house_numbers.fonts import font_modules
from experiments import cnn, ram

ROOT = Path(__file__).parents[3]
FONTS = [name for name in font_modules() if name != "matplotlib"]
OPTIONAL = ["h5py", "tensorflow_datasets", "array_record", "selenium", *FONTS]
LINES = {
    "house_numbers": "task 'house_numbers' needs fonts: pip install '.[house_numbers]'",
    "house_numbers_new_fonts": "task 'house_numbers_new_fonts' needs fonts: pip install '.[house_numbers]'",
    "svhn_numbers": "task 'svhn_numbers' needs h5py: pip install '.[svhn]'",
}


@pytest.fixture
def missing(monkeypatch):
    """Hides all optional packages."""
    for name in OPTIONAL:
        monkeypatch.setitem(sys.modules, name, None)


def test_library_and_commands_work_without_optional_packages():
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL!r}));"
        "import common.data, experiments.ram, experiments.cnn, experiments.download_svhn;"
        "assert common.data.blank_task('house_numbers').height == 54;"
        "assert common.data.load_task('mnist28').height == 28"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_library_does_not_import_optional_packages():
    program = f"import sys, common.data; assert not set({OPTIONAL!r}) & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("task", LINES)
def test_task_names_the_missing_package(missing, task, tmp_path):
    with pytest.raises(ValueError) as error:
        load_task(task, data=tmp_path if task.startswith("svhn") else None)
    assert str(error.value) == LINES[task]


@pytest.mark.parametrize(("module", "flags"), [(cnn, ["house_numbers_32"]), (ram, ["quick", "--task", "svhn_numbers"])])
def test_command_without_the_package_is_a_one_line_error(missing, module, flags, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        module.main([*flags, "--run-dir", str(tmp_path / "run")])
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: task '")
    assert not (tmp_path / "run").exists()


def test_tfds_builders_name_the_missing_package():
    program = "import sys; sys.modules['tensorflow_datasets'] = None; import common.data.tfds.builders"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    line = "ImportError: common.data.tfds needs tensorflow-datasets and array_record: pip install '.[tfds]'"
    assert result.stderr.splitlines()[-1] == line


def test_installed_packages_pass():
    require_extra("task 'x'", "fonts", "house_numbers", "numpy", *font_modules())
