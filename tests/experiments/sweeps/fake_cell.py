"""A stand-in for the command line of a run in tests of sweeps: it starts fast and trains nothing.

Its errors follow from its configuration and seed. The files of the folder ``FAKE`` set its behaviour, by ``units``:
``fail-8`` ends with an error, ``kill-8`` is killed once, ``wait-8`` waits until ``go`` exists, ``stop-8`` sends the
signal that it holds, by default Ctrl-C, to the sweep and waits until the sweep passes it on. Starts are written into
``starts``. With the argument ``together`` it stands in for the process that runs the cells which standard input lists.
"""

import json
import os
import pathlib
import signal
import sys
import time


def main():
    """Behave like a run, or like one run after another."""
    if sys.argv[1] == "together":
        events = os.dup(1)
        for place, job in enumerate(json.load(sys.stdin)):
            os.write(events, f"begun {place}\n".encode())
            os.dup2(job["log"], 1)
            os.dup2(job["log"], 2)
            try:
                run(job["identity"], pathlib.Path(job["run_dir"]), job["resume"])
            except SystemExit as stop:
                print(stop.code, file=sys.stderr)
                if stop.code == 130:
                    raise
            sys.stdout.flush()
            os.write(events, f"ended {place}\n".encode())
    else:
        run_dir = pathlib.Path(next(a for a in sys.argv if a.startswith("--run-dir="))[10:])
        run(json.loads(sys.argv[1]), run_dir, "--resume" in sys.argv)


def run(identity, run_dir, resume):
    """Behave like a run."""
    units, files = identity["config"]["model"]["units"], pathlib.Path(os.environ["FAKE"])
    assert resume == (run_dir / "config.json").is_file() and (resume or not run_dir.exists()), "as a run would refuse"
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.json").write_text(json.dumps(identity))
    seed = identity["config"]["training"]["seed"]
    with (files / "starts").open("a") as file:
        file.write(f"{units} {seed}\n")
    print(f"cores {sorted(os.sched_getaffinity(0))} resume {resume}", flush=True)
    if (files / f"fail-{units}").exists():
        sys.exit("error: step 3: loss is not finite; last good checkpoint: none")
    if (files / f"kill-{units}").exists():
        (files / f"kill-{units}").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if (files / f"stop-{units}").exists():
        number = int((files / f"stop-{units}").read_text() or signal.SIGINT)
        (files / f"stop-{units}").unlink()
        signal.signal(signal.SIGTERM, lambda *_: (print("saved"), sys.exit(130)))
        os.kill(os.getppid(), number)
        while True:
            time.sleep(0.01)
    if (files / f"wait-{units}").exists():
        (files / f"waiting-{units}-{seed}").touch()
    while (files / f"wait-{units}").exists() and not (files / "go").exists():
        time.sleep(0.01)
    wrong = 10.0 + units + 0.5 * seed + 0.25 * (units * seed % 3)
    entry = {"error": wrong, "low": wrong - 1, "high": wrong + 1, "n": 100}
    records = [{"step": step, "validation_error": wrong + 8 / step} for step in (2, 4)]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    facts = {"task": "images", "steps": 4, "episodes": 32, "parameters": 10 * units, "seed": seed}
    times = {"wall_seconds": time.time() % 100, "device": "none", "jax_version": "0", "commit": None}
    errors = {"validation": {"greedy": entry}, "test": {"greedy": entry}}
    (run_dir / "results.json").write_text(json.dumps(facts | times | identity | errors))


if __name__ == "__main__":
    main()
