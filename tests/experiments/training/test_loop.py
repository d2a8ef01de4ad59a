"""The training loop, on a model with a table of validation errors: its stops, checkpoints and best parameters."""

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from common.data import Dataset, Plain, Source
from common.training.checkpoints import Checkpoints, state_digest
from common.training.optimizers import OptimizerConfig
from common.training.step import Model
from experiments.cli.console import print_line, print_warning
from experiments.families.cnn import CnnExperiment
from experiments.runs.restore import selected_params
from experiments.training import loop
from experiments.training.config import TrainingConfig
from experiments.training.loop import Interrupted, NotFinite, first_not_finite, next_boundary, train
from experiments.training.metrics_file import MetricsWriter, read_metrics
from experiments.training.programs import Programs, make_initial_state, make_programs

ROOT = Path(__file__).parents[3]
CLASSES = 4
STEPS_OF_SGD = OptimizerConfig("sgd", learning_rate=1.0, momentum=0.0, schedule="constant", gradient_clip=0.0)


def make_dataset(images=10):
    source = Source(np.zeros((images, 4, 4, 1), np.uint8), np.arange(images, dtype=np.int32) % CLASSES)
    train_source = jax.tree.map(jnp.asarray, source)
    return Dataset("toy", train_source, source, source, Plain(), tuple("abcd"))


def make_model(wrong, not_finite_from=None):
    """Make a model whose one parameter counts steps; after N steps it misclassifies ``wrong[N]`` images of a split."""
    table = jnp.asarray(wrong)

    def init(key):
        return {"count": jnp.zeros(())}

    def loss(params, key, images, labels, step_input):
        value = -params["count"]
        if not_finite_from is not None:
            value = value / jnp.where(params["count"] >= not_finite_from - 1, 0.0, 1.0)
        return value, ({"loss": value, "accuracy": jax.random.uniform(key)}, step_input.estimator_state)

    def predict(params, key, images, kind):
        errs = jnp.arange(len(images)) < table[params["count"].astype(int)]
        right = jnp.arange(len(images)) % CLASSES
        return jax.nn.one_hot(jnp.where(errs, (right + 1) % CLASSES, right), CLASSES)

    return Model(init, loss, predict)


def run(run_dir, wrong, not_finite_from=None, **training):
    config = TrainingConfig(**{"steps": len(wrong) - 1, "batch_size": 5, "log_every": 3, **training})
    experiment = CnnExperiment(optimizer=STEPS_OF_SGD, training=config)
    model, dataset = make_model(wrong, not_finite_from), make_dataset()
    run_dir.mkdir(exist_ok=True)
    programs = make_programs(experiment, model, dataset)
    state = make_initial_state(experiment, model)
    return train(experiment, dataset, model, state, programs, run_dir, lambda params, step, run_dir: None)


def best_count(outcome):
    return float(selected_params(outcome.state, True)["count"])


def test_next_boundary_is_at_multiples_and_at_the_end():
    config = TrainingConfig(steps=20, log_every=4, evaluate_every=6)
    stops = [0]
    while stops[-1] < config.steps:
        stops.append(next_boundary(stops[-1], config))
    assert stops == [0, 4, 6, 8, 12, 16, 18, 20]
    # From any step on, the next boundaries are the same.
    for step in range(20):
        assert next_boundary(step, config) == min(stop for stop in stops if stop > step)


def test_the_first_value_that_is_not_finite_is_found():
    fine, late, early = np.ones(4), np.array([1, 1, np.nan, 1]), np.array([1, -np.inf, np.nan, 1])
    assert first_not_finite({"a": fine}, 10) is None
    assert first_not_finite({"a": fine, "b": late}, 10) == (13, "b")
    assert first_not_finite({"b": late, "c": early}, 10) == (12, "c")


def test_metrics_and_checkpoints_are_written_at_the_stops(tmp_path):
    outcome = run(tmp_path, [9, 8, 7, 6, 5, 4, 3, 2, 1], evaluate_every=4)
    assert int(outcome.state.step) == 8 and outcome.seconds > 0
    records = read_metrics(tmp_path)
    assert [record["step"] for record in records] == [3, 4, 6, 8]
    assert {r["step"]: r["validation_error"] for r in records if "validation_error" in r} == {4: 50.0, 8: 10.0}
    assert [record["epoch"] for record in records] == [1.5, 2.0, 3.0, 4.0]
    # Means over the steps since the record before: the loss of step n is -(n - 1).
    assert [record["loss"] for record in records] == [-1.0, -3.0, -4.5, -6.5]
    assert Checkpoints(tmp_path / "checkpoints").steps() == [4, 8]


def test_best_parameters_are_those_of_the_lowest_validation_error(tmp_path):
    outcome = run(tmp_path, [9, 7, 3, 5, 6, 4], evaluate_every=1)
    assert best_count(outcome) == 2.0 and int(outcome.state.best_step) == 2
    assert float(outcome.state.best_error) == 30.0
    assert float(selected_params(outcome.state, False)["count"]) == 5.0
    restored = Checkpoints(tmp_path / "checkpoints").restore(outcome.state)
    assert state_digest(restored) == state_digest(outcome.state)


def test_before_any_validation_the_last_parameters_are_the_best():
    experiment = CnnExperiment(training=TrainingConfig(batch_size=5))
    state = make_initial_state(experiment, make_model([0]))
    assert selected_params(state, True) is state.params


WRONG = [9, 9, 5, 9, 7, 9, 5, 9, 6, 9, 4, 9, 3]


@pytest.mark.parametrize("patience, stop, best", [(0, 12, 12), (1, 4, 2), (2, 6, 2), (3, 8, 2), (4, 12, 12)])
def test_patience_counts_validations_without_a_lower_error(tmp_path, capsys, patience, stop, best):
    """The error at step 6 equals that at step 2, so it is not lower."""
    outcome = run(tmp_path, WRONG, evaluate_every=2, patience=patience)
    assert int(outcome.state.step) == stop and best_count(outcome) == best
    assert ("stopped early: no lower validation error since step 2" in capsys.readouterr().err) == (stop < 12)
    assert Checkpoints(tmp_path / "checkpoints").steps()[-1] == stop


def test_a_run_that_ended_trains_no_more_when_resumed(tmp_path):
    for name, patience in (("early", 1), ("end", 0)):
        outcome = run(tmp_path / name, WRONG, evaluate_every=2, patience=patience)
        records = read_metrics(tmp_path / name)
        again = run(tmp_path / name, WRONG, evaluate_every=2, patience=patience)
        assert state_digest(again.state) == state_digest(outcome.state)
        assert read_metrics(tmp_path / name) == records
        assert again.seconds >= records[-1]["seconds"]


@pytest.mark.parametrize("bad", [1, 5, 6, 12])
def test_a_step_that_is_not_finite_ends_the_run_and_is_not_saved(tmp_path, bad):
    with pytest.raises(NotFinite) as error:
        run(tmp_path, WRONG, not_finite_from=bad, evaluate_every=2)
    good = (bad - 1) // 2 * 2
    where = str(tmp_path / "checkpoints" / str(good)) if good else "none"
    assert str(error.value) == f"step {bad}: grad_norm is not finite; last good checkpoint: {where}"
    assert Checkpoints(tmp_path / "checkpoints").steps() == [s for s in (good - 2, good) if s > 0]
    assert [record["step"] for record in read_metrics(tmp_path)] == [s for s in (2, 3, 4, 6, 8, 9, 10) if s <= good]


@pytest.mark.parametrize(
    "number, step", [(signal.SIGINT, 3), (signal.SIGINT, 8), (signal.SIGTERM, 4), (signal.SIGHUP, 4)]
)
def test_a_run_stopped_by_a_signal_resumes_to_the_same_bits(tmp_path, monkeypatch, capsys, number, step):
    whole = run(tmp_path / "whole", WRONG[:9], evaluate_every=4)
    append, before = MetricsWriter.append, signal.getsignal(number)

    def append_and_signal(self, record):
        append(self, record)
        if record["step"] == step:
            signal.raise_signal(number)

    with monkeypatch.context() as patched:
        patched.setattr(MetricsWriter, "append", append_and_signal)
        with pytest.raises(Interrupted, match=f"^stopped after step {step}, which is saved$"):
            run(tmp_path / "cut", WRONG[:9], evaluate_every=4)
    assert signal.getsignal(number) is before
    assert "press Ctrl-C again to stop at once without saving" in capsys.readouterr().err
    assert Checkpoints(tmp_path / "cut" / "checkpoints").steps()[-1] == step
    outcome = run(tmp_path / "cut", WRONG[:9], evaluate_every=4)
    assert f"resuming after step {step}" in capsys.readouterr().err
    assert state_digest(outcome.state) == state_digest(whole.state)
    timed = ("seconds", "images_per_second")
    cut, uncut = (
        [
            {name: value for name, value in record.items() if name not in timed}
            for record in read_metrics(tmp_path / name)
        ]
        for name in ("cut", "whole")
    )
    assert cut == uncut


def test_a_second_ctrl_c_ends_the_program(tmp_path, monkeypatch):
    handlers = []

    def append(self, record):
        signal.raise_signal(signal.SIGINT)
        handlers.append(signal.getsignal(signal.SIGINT))

    monkeypatch.setattr(MetricsWriter, "append", append)
    with pytest.raises(Interrupted):
        run(tmp_path, WRONG, evaluate_every=3)
    assert handlers == [signal.SIG_DFL]


def test_a_second_signal_of_a_closed_terminal_does_not_end_the_program(tmp_path, monkeypatch):
    def append(self, record):
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)

    monkeypatch.setattr(MetricsWriter, "append", append)
    with pytest.raises(Interrupted, match="stopped after step 3, which is saved"):
        run(tmp_path, WRONG, evaluate_every=3)


def test_the_first_ctrl_c_shows_the_hidden_cursor(tmp_path, monkeypatch):
    """A second Ctrl-C ends the program at once, which would leave the cursor hidden."""
    screen, seen = io.StringIO(), []
    monkeypatch.setattr(loop, "console", Console(file=screen, force_terminal=True, width=80))

    def append(self, record):
        seen.append(screen.getvalue())
        signal.raise_signal(signal.SIGINT)
        seen.append(screen.getvalue())

    monkeypatch.setattr(MetricsWriter, "append", append)
    with pytest.raises(Interrupted):
        run(tmp_path, WRONG, evaluate_every=3)
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert [text.rfind(show) > text.rfind(hide) for text in seen] == [False, True] and hide in seen[0]


def test_ctrl_c_is_handled_while_a_chunk_runs(tmp_path, monkeypatch):
    heard = threading.Event()
    monkeypatch.setattr(loop, "print_line", lambda line, style=None: heard.set())

    def chunk(state, source, steps):
        os.kill(os.getpid(), signal.SIGINT)
        assert heard.wait(60)
        return state._replace(step=state.step + steps), {"loss": jnp.zeros(steps), "accuracy": jnp.zeros(steps)}

    experiment = CnnExperiment(optimizer=STEPS_OF_SGD, training=TrainingConfig(steps=9, batch_size=5, log_every=3))
    model, dataset = make_model(WRONG), make_dataset()
    state = make_initial_state(experiment, model)
    with pytest.raises(Interrupted, match="stopped after step 3"):
        train(experiment, dataset, model, state, Programs(chunk, None, None), tmp_path, lambda *args: None)


def test_a_second_ctrl_c_ends_a_process_during_a_chunk():
    code = """
import time
from experiments.cli.stopping import Stop
from experiments.training import loop

def chunk(num_steps):
    print("begun", flush=True)
    time.sleep(1e6)

with Stop(loop.announce_stop):
    loop.in_thread(chunk, 1)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    assert "press Ctrl-C again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait() == -signal.SIGINT and process.stderr.read() == ""


def bar_at(width, now):
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width)
    bar = loop.progress_bar()
    task = bar.add_task("", total=24_000, completed=0, now=now)
    bar.update(task, completed=9_000)
    bar.tasks[0].finished_speed = None
    console.print(bar.get_renderable())
    (line,) = console.file.getvalue().splitlines()
    return line


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_progress_bar_fits_the_terminal(width):
    now = "epoch 212.3  102,345 images/s  loss 0.1234  acc 97.5%"
    line = bar_at(width, now)
    assert len(line) <= width and "…" not in line
    assert now in line and " 38%" in line and "-:--:-- left" in line and "━━━" in line


def show_on(monkeypatch, console):
    """Show the bar and the lines above it on this console, which each module imports by name."""
    for module in ("training.loop", "cli.console"):
        monkeypatch.setattr(f"experiments.{module}.console", console)


def test_the_progress_bar_shows_compiling_metrics_and_validating(tmp_path, monkeypatch):
    screen = io.StringIO()
    show_on(monkeypatch, Console(file=screen, force_terminal=True, highlight=False, width=80))
    run(tmp_path, WRONG, evaluate_every=4)
    shown = screen.getvalue()
    assert "\x1b[" in shown and "100%" in shown and "epoch 6.0" in shown and "images/s" in shown
    assert "loss -10 " in shown and "acc " in shown and "left" in shown
    assert "step 12  epoch 6.0" in shown and "validation error 30.00%" in shown and "greedy" not in shown


@pytest.mark.parametrize("terminal", ["file", "dumb"])
def test_without_a_terminal_there_is_no_progress_bar(tmp_path, monkeypatch, terminal):
    screen = io.StringIO()
    if terminal == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    show_on(
        monkeypatch, Console(file=screen, force_terminal=terminal == "dumb", markup=False, highlight=False, width=40)
    )
    run(tmp_path, WRONG, evaluate_every=4)
    lines = screen.getvalue().splitlines()
    assert not set(screen.getvalue()) & set("\x1b\r━")
    assert [line.split("  ")[0] for line in lines] == ["step 4", "step 8", "step 12"], "a line for each validation"
    assert all("validation error" in line for line in lines), "a line is not folded"


def test_lines_are_printed_without_markup_or_wrapping(capsys):
    print_line("runs/[bold]name[/bold] [/] 12 'text'")
    print_warning("x" * 300)
    assert capsys.readouterr() == ("", "runs/[bold]name[/bold] [/] 12 'text'\n" + "x" * 300 + "\n")
