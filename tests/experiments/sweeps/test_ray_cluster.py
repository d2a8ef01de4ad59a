"""The Ray launcher on a real cluster of several nodes, with cells that stand in."""

import threading

import pytest

from experiments.sweeps import parcels, ray_cluster
from experiments.sweeps.directory import cell_folder, read_results
from experiments.sweeps.launchers import Stop
from experiments.sweeps.outcomes import read_outcomes, write_tables
from experiments.sweeps.study import Study, make_plan


def test_a_folder_travels_as_bytes(tmp_path):
    source = tmp_path / "source"
    (source / "checkpoints" / "4").mkdir(parents=True)
    (source / "checkpoints" / "4" / "state").write_bytes(bytes(range(256)) * 99)
    (source / "log.txt").write_text("done\n")
    parcels.unpack(parcels.pack(source), tmp_path / "target")
    found = {p.relative_to(tmp_path / "target"): p for p in (tmp_path / "target").rglob("*") if p.is_file()}
    sent = {p.relative_to(source): p for p in source.rglob("*") if p.is_file()}
    assert found.keys() == sent.keys() and all(found[name].read_bytes() == sent[name].read_bytes() for name in sent)
    assert parcels.pack(tmp_path / "absent") == b""


@pytest.fixture
def plan():
    return make_plan(Study("cnn", "mnist28", {"units": [4, 8]}, seeds=2, overrides={"network": "fc"}))


def test_a_cell_that_was_begun_here_goes_on_there(plan, tmp_path, fake, monkeypatch):
    fake.tell("fail-4")
    cell, sweep = plan.cells[0], tmp_path / "s"
    command = ray_cluster.arguments(cell, None, resume=False)
    failed = parcels.run_cell(command, b"", 1.0)
    (sweep / "cells").mkdir(parents=True)
    assert failed.code == 1
    assert ray_cluster.keep(failed, cell, sweep).detail == "step 3: loss is not finite; last good checkpoint: none"
    (fake.folder / "fail-4").unlink()
    monkeypatch.setattr("experiments.training.provenance.commit", lambda: "abc")
    done = parcels.run_cell(command, parcels.pack(cell_folder(sweep, cell)), 1.0)
    assert ray_cluster.keep(done, cell, sweep).state == "finished" and read_results(sweep, cell)["commit"] == "abc"
    log = (cell_folder(sweep, cell) / "log.txt").read_text()
    assert "resume False" in log and "resume True" in log


def test_a_process_that_is_killed_there_says_nothing_against_the_cell(plan, fake):
    fake.tell("kill-4")
    with pytest.raises(parcels.WorkerDied, match="killed by signal 9"):
        parcels.run_cell(ray_cluster.arguments(plan.cells[0], None, resume=False), b"", 1.0)


@pytest.fixture
def cluster(fake):
    """A cluster whose head runs nothing, and two nodes of one core; they inherit what `fake` sets."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.nodes = [made.add_node(num_cpus=1) for _ in range(2)]
    yield made
    made.shutdown()


def test_a_node_that_is_killed_during_a_sweep_loses_nothing(cluster, plan, tmp_path, fake):
    import ray

    sweep, said = tmp_path / "s", []
    (sweep / "cells").mkdir(parents=True)
    fake.tell("wait-4", "wait-8", "kill-8")

    ended = threading.Event()

    def kill_a_node():
        while len(list(fake.folder.glob("waiting-*"))) < 2 and not ended.wait(0.01):
            pass
        cluster.remove_node(cluster.nodes[1], allow_graceful=False)
        # Before that is known, what runs on the node may still end, and need not be begun again.
        while sum(node["Alive"] for node in ray.nodes()) > 2 and not ended.wait(0.01):
            pass
        fake.tell("go")

    thread = threading.Thread(target=kill_a_node)
    thread.start()
    with Stop() as stop:
        notify = lambda cell, status: said.append((cell.id, status.state))  # noqa: E731
        ray_cluster.execute(plan.cells, sweep, notify, stop, address=cluster.address)
    ended.set()
    thread.join()
    assert sorted(said[4:]) == sorted((cell.id, "finished") for cell in plan.cells)
    starts = fake.starts()
    assert set(starts) == {"4 0", "4 1", "8 0", "8 1"}
    assert len(starts) == 4 + 1 + 1, "begun again: the one on the node, and the one whose process was killed"
    for cell in plan.cells:
        folder = cell_folder(sweep, cell)
        assert {"config.json", "log.txt", "metrics.jsonl", "results.json"} == {p.name for p in folder.iterdir()}
    write_tables(sweep, plan, read_outcomes(sweep, plan))
    assert (sweep / "results.csv").read_text().count("\n") == 5
