"""The run directory: when it is made, reopened and deleted, and that its files survive a kill."""

import errno
import os
from pathlib import Path

import pytest

from experiments.output.json_files import write_json
from experiments.training.metrics_file import MetricsWriter
from experiments.training.run_directory import check_run, locked, open_run, read_json
from tests.experiments.results_maker import results_of

IDENTITY = {"family": "ram", "preset": "quick", "config": {"data": {"task": "mnist28"}, "training": {"steps": 4}}}


def reopen(run_dir, identity=IDENTITY, *, resume=False, overwrite=False):
    check_run(run_dir, identity, resume=resume, overwrite=overwrite)
    open_run(run_dir, identity, resume=resume)


def contents(folder: Path) -> dict:
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in sorted(folder.rglob("*"))}


def test_a_new_run_directory_holds_its_configuration(tmp_path):
    reopen(tmp_path / "a" / "b")
    assert read_json(tmp_path / "a" / "b" / "config.json") == IDENTITY
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["config.json"]
    (tmp_path / "empty").mkdir()
    reopen(tmp_path / "empty")
    assert read_json(tmp_path / "empty" / "config.json") == IDENTITY


def test_a_new_run_in_the_current_folder_is_refused(tmp_path, monkeypatch):
    """An empty variable of the shell means it: `--run-dir "$DIR"`."""
    monkeypatch.chdir(tmp_path)
    for name in ("", "."):
        with pytest.raises(ValueError, match="is the current folder: name a folder for the new run"):
            reopen(Path(name))
    reopen(Path("a/b/"))
    monkeypatch.chdir(tmp_path / "a" / "b")
    reopen(Path("."), resume=True)


def test_one_process_locks_the_run_directory(tmp_path):
    """A lock belongs to an open file, so one process can stand for two."""
    with locked(tmp_path / "a" / "run"):
        with pytest.raises(ValueError, match="a/run' is in use by another process"), locked(tmp_path / "a" / "run"):
            pass
        with locked(tmp_path / "a" / "other"):
            pass
    with locked(tmp_path / "a" / "run"):
        pass


def test_resume_keeps_all_files_and_overwrite_deletes_them(tmp_path):
    run_dir = tmp_path / "run"
    reopen(run_dir)
    (run_dir / "checkpoints" / "4").mkdir(parents=True)
    (run_dir / "metrics.jsonl").write_text("{}")
    before = contents(run_dir)
    reopen(run_dir, resume=True)
    assert contents(run_dir) == before
    reopen(run_dir, {**IDENTITY, "preset": "other"}, overwrite=True)
    assert [path.name for path in run_dir.iterdir()] == ["config.json"]
    assert read_json(run_dir / "config.json")["preset"] == "other"


def test_overwrite_empties_the_folder_but_keeps_it(tmp_path):
    elsewhere, run_dir = tmp_path / "elsewhere", tmp_path / "run"
    (elsewhere / "kept").mkdir(parents=True)
    run_dir.symlink_to(elsewhere / "kept")
    (elsewhere / "precious").write_text("text")
    for flags in ({}, {"overwrite": True}):
        reopen(run_dir, **flags)
        assert run_dir.is_symlink() and [path.name for path in run_dir.iterdir()] == ["config.json"]
        (run_dir / "checkpoints" / "4").mkdir(parents=True)
        (run_dir / "plots").symlink_to(elsewhere)
    assert (elsewhere / "precious").exists()


def test_a_file_that_cannot_be_deleted_is_an_error(tmp_path, monkeypatch):
    reopen(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "4").mkdir(parents=True)

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", "4")

    monkeypatch.setattr(os, "rmdir", refuse)
    with pytest.raises(PermissionError):
        reopen(tmp_path / "run", overwrite=True)


def test_resume_adds_newer_fields_to_the_saved_configuration(tmp_path):
    reopen(tmp_path / "run")
    newer = {**IDENTITY, "config": {**IDENTITY["config"], "width": 1.0}}
    with pytest.raises(ValueError, match="its config.width is None, now 1.0"):
        check_run(tmp_path / "run", newer, resume=True, overwrite=False)
    check_run(tmp_path / "run", newer, resume=True, overwrite=False, complete=lambda saved: {"width": 1.0, **saved})
    with pytest.raises(ValueError, match="its config.width is 2.0, now 1.0"):
        check_run(tmp_path / "run", newer, resume=True, overwrite=False, complete=lambda saved: {"width": 2.0, **saved})


def test_resume_with_more_steps_keeps_the_earlier_ones(tmp_path):
    reopen(tmp_path)
    for steps, extended_from in ((4, None), (8, [4]), (8, [4]), (20, [4, 8])):
        reopen(tmp_path, changed(steps=steps), resume=True)
        saved = read_json(tmp_path / "config.json")
        assert (saved["config"]["training"]["steps"], saved.get("extended_from")) == (steps, extended_from)


def test_a_run_that_its_patience_ended_is_not_extended(tmp_path):
    """Its patience would end it again at once."""
    reopen(tmp_path)
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    for steps, planned in ((4, 4), (3, 4)):
        write_json(tmp_path / "results.json", results_of(steps, planned))
        if steps == planned:
            check_run(tmp_path, changed(steps=8), resume=True, overwrite=False)
    with pytest.raises(ValueError, match="its patience ended the run after step 3 of 4, so more steps change nothing"):
        check_run(tmp_path, changed(steps=8), resume=True, overwrite=False)


@pytest.mark.parametrize("trace", ["results.json", "metrics.jsonl"])
def test_a_run_whose_checkpoints_are_gone_is_not_started_over(tmp_path, trace):
    reopen(tmp_path)
    writer = MetricsWriter(tmp_path, 0)
    writer.append(record(2, validation_error=1.0))
    check_run(tmp_path, IDENTITY, resume=True, overwrite=False)  # Killed before its first checkpoint.
    if trace == "results.json":
        write_json(tmp_path / trace, {"steps": 4, "config": {"training": {"steps": 4}}})
    else:
        writer.append(record(4, validation_error=1.0))
    with pytest.raises(ValueError, match=f"^'{tmp_path}/checkpoints' holds no checkpoint, but {trace} shows that"):
        check_run(tmp_path, IDENTITY, resume=True, overwrite=False)
    with pytest.raises(ValueError, match="exists: give --resume"):
        check_run(tmp_path, IDENTITY, resume=False, overwrite=False)
    check_run(tmp_path, IDENTITY, resume=False, overwrite=True)


def test_a_run_without_a_checkpoint_may_start_over(tmp_path):
    reopen(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("{}")
    reopen(tmp_path, {**IDENTITY, "preset": "other"})
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ValueError, match="exists: give --resume"):
        reopen(tmp_path)


def changed(**training):
    return {**IDENTITY, "config": {**IDENTITY["config"], "training": training}}


REFUSED = [
    (
        "exists",
        {},
        IDENTITY,
        "exists: give --resume to continue it, --overwrite to start again, or another --run-dir",
    ),
    ("run", {"resume": True, "overwrite": True}, IDENTITY, "--resume with --overwrite: give one of them"),
    ("run", {"resume": True}, {**IDENTITY, "family": "cnn"}, "another configuration: its family is 'ram', now 'cnn'"),
    ("run", {"resume": True}, changed(steps=2), "its config.training.steps is 4, now 2; it can be resumed with more"),
    ("run", {"resume": True}, changed(steps=4, seed=1), "its config.training.seed is None, now 1"),
    ("missing", {"resume": True}, IDENTITY, "holds no run to resume: leave out --resume"),
    ("empty", {"resume": True}, IDENTITY, "holds no run to resume: leave out --resume"),
    ("file", {}, IDENTITY, "is a file: give a folder"),
    ("file", {"overwrite": True}, IDENTITY, "is a file: give a folder"),
    ("file/a/b", {}, IDENTITY, "is not a folder that can be written"),
    ("others", {"overwrite": True}, IDENTITY, "holds no config.json of a run: give another --run-dir"),
    ("others", {"resume": True}, IDENTITY, "holds no config.json of a run: give another --run-dir"),
    ("project", {"overwrite": True}, IDENTITY, "holds no config.json of a run: give another --run-dir"),
    ("damaged", {"resume": True}, IDENTITY, "config.json' cannot be read"),
    ("damaged", {"overwrite": True}, IDENTITY, "config.json' cannot be read"),
]


@pytest.mark.parametrize("name, flags, identity, message", REFUSED)
def test_a_folder_of_something_else_is_refused(tmp_path, name, flags, identity, message):
    for run in ("run", "exists"):
        reopen(tmp_path / run)
        (tmp_path / run / "checkpoints" / "4").mkdir(parents=True)
    (tmp_path / "file").write_text("text")
    for folder, file, text in [
        ("others", "thesis.txt", "years of work"),
        ("project", "config.json", '{"name": "of something else"}'),
        ("damaged", "config.json", '{"family": "ram", '),
    ]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(text)
    (tmp_path / "empty").mkdir()
    before = contents(tmp_path)
    with pytest.raises(ValueError) as error:
        reopen(tmp_path / name, identity, **flags)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert flags == {"resume": True, "overwrite": True} or str(tmp_path / name) in str(error.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["run", "new", "new/deeper"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, name):
    reopen(tmp_path / "run")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match=f"{tmp_path}.* is not a folder that can be written"):
        reopen(tmp_path / name, resume=name == "run")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\xff\x00", '{"a": 1} extra'])
def test_a_damaged_json_file_is_named(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(ValueError, match="results.json' cannot be read"):
        read_json(path)
    with pytest.raises(ValueError, match="absent.json' cannot be read"):
        read_json(tmp_path / "absent.json")


def test_a_failed_write_of_json_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    write_json(path, {"old": 1})

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError):
        write_json(path, {"new": 2})
    assert read_json(path) == {"old": 1} and list(tmp_path.iterdir()) == [path]


def record(step, **values):
    return {"step": step, "loss": 1 / step, **values}


def test_a_folder_that_cannot_be_made_is_named(monkeypatch):
    def refuse(*args, **options):
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), "a part of it")

    monkeypatch.setattr(Path, "mkdir", refuse)
    message = "^run directory 'runs/one' cannot be made: No such file or directory$"
    with pytest.raises(OSError, match=message), locked(Path("runs/one")):
        pass
