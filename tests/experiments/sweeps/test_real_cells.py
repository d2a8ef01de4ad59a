"""A sweep of real runs, killed with its processes and resumed: the bytes of an undisturbed one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import ablate, cnn
from experiments.sweeps import local
from experiments.sweeps.cells import arguments
from experiments.sweeps.directory import cell_folder, has_run
from experiments.sweeps.launchers import Status

ROOT = Path(__file__).parents[3]
LOOP = "--steps 40 --batch-size 8 --log-every 2 --evaluate-every 2"
FLAGS = f"cnn --preset mnist28 --task images --network fc --units 4 8 --together no {LOOP}".split()


def in_this_process(cells, sweep, notify, stop, **options):
    """Run the command line of each cell in this process, as a launcher."""
    for cell in cells:
        run_dir = cell_folder(sweep, cell)
        _, _, *args = arguments(cell, run_dir, resume=has_run(run_dir))
        cnn.main(args)
        notify(cell, Status("finished"))


def descendants(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes to kill in /proc")
@pytest.mark.slow
def test_a_killed_sweep_resumes_to_the_same_bytes(images, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    line = [*FLAGS, "--data", str(images)]
    with monkeypatch.context() as patched:
        patched.setattr(local, "execute", in_this_process)
        ablate.main([*line, "--sweep-dir", "undisturbed"])

    driver = subprocess.Popen([sys.executable, "-m", "experiments.ablate", *line, "--sweep-dir", "killed"])
    cells = Path("killed/cells")
    while not list(cells.glob("*/checkpoints/[0-9]*")):
        assert driver.poll() is None
        time.sleep(0.01)
    (child,) = descendants(driver.pid)
    for pid in (driver.pid, child):
        os.kill(pid, signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    assert list(cells.glob("*/results.json")) == [] and not Path("killed/report.html").exists()
    capfd.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr(local, "execute", in_this_process)
        ablate.main([*line, "--sweep-dir", "killed"])
    assert "resuming after step" in capfd.readouterr().err
    for name in ("results.csv", "differences.csv"):
        assert Path("killed", name).read_bytes() == Path("undisturbed", name).read_bytes()
    assert Path("killed/results.csv").read_text().count("\n") == 3
