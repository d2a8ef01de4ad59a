"""The Ray launcher on a real cluster of several nodes, with stand-in cells."""

import threading

import pytest

from experiments.sweeps import parcels, ray_cluster
from experiments.sweeps.directory import cell_folder, read_results
from experiments.sweeps.launchers import Stop
from experiments.sweeps.outcomes import read_outcomes, write_tables
from experiments.sweeps.study import Study, make_plan


def test_a_packed_folder_unpacks_to_the_same_bytes(tmp_path):
    source = tmp_path / "source"
    (source / "checkpoints" / "4").mkdir(parents=True)
    (source / "checkpoints" / "4" / "state").write_bytes(bytes(range(256)) * 99)
    (source / "log.txt").write_text("done\n")
    parcels.unpack(parcels.pack(source), tmp_path / "target")
    unpacked = {p.relative_to(tmp_path / "target"): p for p in (tmp_path / "target").rglob("*") if p.is_file()}
    sent = {p.relative_to(source): p for p in source.rglob("*") if p.is_file()}
    assert unpacked.keys() == sent.keys()
    assert all(unpacked[name].read_bytes() == sent[name].read_bytes() for name in sent)
    assert parcels.pack(tmp_path / "absent") == b""


@pytest.fixture
def plan():
    return make_plan(Study("cnn", "mnist28", {"units": [4, 8]}, seeds=2, overrides={"network": "fc"}))


def test_a_failed_cell_resumes_from_its_stored_folder(plan, tmp_path, fake, monkeypatch):
    fake.set("fail-4")
    cell, sweep = plan.cells[0], tmp_path / "s"
    command = ray_cluster.arguments(cell, None, resume=False)
    failed = parcels.run_cell(command, b"", 1.0)
    (sweep / "cells").mkdir(parents=True)
    assert failed.code == 1
    assert ray_cluster.store(failed, cell, sweep).detail == "step 3: loss is not finite; last good checkpoint: none"
    (fake.folder / "fail-4").unlink()
    monkeypatch.setattr("experiments.training.provenance.commit", lambda: "abc")
    done = parcels.run_cell(command, parcels.pack(cell_folder(sweep, cell)), 1.0)
    assert ray_cluster.store(done, cell, sweep).state == "finished" and read_results(sweep, cell)["commit"] == "abc"
    log = (cell_folder(sweep, cell) / "log.txt").read_text()
    assert "resume False" in log and "resume True" in log


def test_a_killed_process_counts_as_a_dead_worker(plan, fake):
    fake.set("kill-4")
    with pytest.raises(parcels.WorkerDied, match="killed by signal 9"):
        parcels.run_cell(ray_cluster.arguments(plan.cells[0], None, resume=False), b"", 1.0)


@pytest.fixture
def cluster(fake):
    """Start a cluster whose head runs nothing, with two nodes of one core that inherit the environment of `fake`."""
    from ray.cluster_utils import Cluster

    ray_nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray_nodes.nodes = [ray_nodes.add_node(num_cpus=1) for _ in range(2)]
    yield ray_nodes
    ray_nodes.shutdown()


@pytest.mark.slow
def test_a_sweep_finishes_after_a_node_is_killed(cluster, plan, tmp_path, fake):
    import ray

    sweep, states = tmp_path / "s", []
    (sweep / "cells").mkdir(parents=True)
    fake.set("wait-4", "wait-8", "kill-8")

    ended = threading.Event()

    def kill_a_node():
        while len(list(fake.folder.glob("waiting-*"))) < 2 and not ended.wait(0.01):
            pass
        cluster.remove_node(cluster.nodes[1], allow_graceful=False)
        # Until Ray knows, the cell on the node may still end, and would not be restarted.
        while sum(node["Alive"] for node in ray.nodes()) > 2 and not ended.wait(0.01):
            pass
        fake.set("go")

    thread = threading.Thread(target=kill_a_node)
    thread.start()
    with Stop() as stop:
        notify = lambda cell, status: states.append((cell.id, status.state))  # noqa: E731
        ray_cluster.execute(plan.cells, sweep, notify, stop, address=cluster.address)
    ended.set()
    thread.join()
    assert sorted(states[4:]) == sorted((cell.id, "finished") for cell in plan.cells)
    starts = fake.starts()
    assert set(starts) == {"4 0", "4 1", "8 0", "8 1"}
    assert len(starts) == 4 + 1 + 1, "restarted: the cell on the node, and the cell whose process was killed"
    for cell in plan.cells:
        folder = cell_folder(sweep, cell)
        assert {"config.json", "log.txt", "metrics.jsonl", "results.json"} == {p.name for p in folder.iterdir()}
    write_tables(sweep, plan, read_outcomes(sweep, plan))
    assert (sweep / "results.csv").read_text().count("\n") == 5
