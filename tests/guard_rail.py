"""Records what the commands compute, so that two versions of the code can be compared to the last bit.

  python tests/guard_rail.py record FILE.json [--quick | --only NAME ...]
  python tests/guard_rail.py compare BEFORE.json AFTER.json

It drives the command lines alone and reads what runs leave in their folders, so that code can move beneath them. What
is recorded holds for one machine and one version of JAX. The names of `--only` are those of `guard_rail_cases`,
and presets and refused_by_COMMAND.
"""

import argparse
import collections
import contextlib
import hashlib
import importlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# Replaces the folder of this file, in which folders have the names of the project's packages.
sys.path[0] = str(ROOT)
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "MPLBACKEND": "Agg",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Tables are not folded, and help stands in one column.
    "COLUMNS": "120",
    # Compiles in half the time.
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false",
}

from tests.guard_rail_cases import BAD, QUICK, READERS, RESUMED, RUNS, make_files  # noqa: E402
from tests.guard_rail_names import COMMANDS, PARAMETERS, RENAMED, RENAMED_KEYS, STATE, UNSTABLE  # noqa: E402


class Ended(NamedTuple):
    """How a command ended: its status, and what it printed."""

    status: int
    out: str
    err: str


class Failed(Exception):
    """A command that must succeed did not."""


# The cases of bad input have names of this and the command.
REFUSED = "refused_by_"


# -- Commands. --


def call(command: str, line: str) -> Ended:
    """Runs a command in this process."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            importlib.import_module(COMMANDS[command]).main([RENAMED.get(word, word) for word in line.split()])
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return Ended(status, out.getvalue(), err.getvalue())


def succeed(command: str, line: str) -> Ended:
    """Runs a command that must end with status 0.

    Raises:
      Failed: it did not; says its last line.
    """
    ended = call(command, line)
    if ended.status:
        raise Failed(f"status {ended.status}: {(ended.err.splitlines() or [''])[-1]}")
    return ended


def train(name: str) -> None:
    """Trains a run, and before it those that its line names, unless they are there."""
    if Path(name).exists():
        return
    command, line = RUNS[name]
    train_named(line)
    succeed(command, f"{line} --run-dir {name}")


def train_named(line: str) -> None:
    """Trains the runs that are named in a line."""
    for word in line.split():
        if word in RUNS:
            train(word)


# -- What is recorded. --


def stable(value: Any) -> Any:
    """Gives a value of a JSON file as it is recorded: floats to the last bit, keys by their old names, no times."""
    if isinstance(value, dict):
        old = {new: name for name, new in RENAMED_KEYS.items()}
        return {old.get(key, key): stable(each) for key, each in value.items() if key not in UNSTABLE}
    if isinstance(value, list):
        return [stable(each) for each in value]
    return value.hex() if isinstance(value, float) else value


def count(names: Any) -> dict[str, int]:
    """Counts equal names, so that their order does not matter."""
    return dict(sorted(collections.Counter(names).items()))


def digest_array(array: Any) -> str:
    """Describes an array by shape, type and digest."""
    return f"{array.dtype}{list(array.shape)} {hashlib.sha256(array.tobytes()).hexdigest()}"


def read_parameters(run: Path, step: int) -> dict[str, dict[str, int]]:
    """Reads the parameters after a step as digests without names, so that modules may be renamed."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    path = (run / STATE.format(step=step)).absolute()
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        state = checkpointer.restore(path)
    return {
        which: count(digest_array(np.asarray(leaf)) for leaf in jax.tree.leaves(state[name]))
        for which, name in PARAMETERS.items()
    }


def flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the leaves of nested dictionaries and lists, each with its dotted name."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if items is None:
        yield prefix, tree
        return
    for key, value in items:
        yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))


def record_run(name: str) -> dict[str, Any]:
    """Records what a run has left in its folder."""
    import numpy as np

    run = Path(name)
    results = stable(json.loads((run / "results.json").read_text()))
    config = results.pop("config")
    starts = json.loads((run / "starts.json").read_text())["starts"]
    kept = [path for path in run.rglob("*") if path.is_file() and not {"checkpoints", "events"} & set(path.parts)]
    arrays = [file[key] for path in kept if path.suffix == ".npz" for file in [np.load(path)] for key in file.files]
    return {
        "metrics": [stable(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()],
        "results": results,
        # By their last names alone, so that parts of the configuration may move.
        "config": count(f"{key.rpartition('.')[2]} = {value}" for key, value in flatten(config)),
        "images": [start["images"] for start in starts],
        "began_after": [start["step"] for start in starts],
        "parameters": read_parameters(run, results["steps"]),
        "arrays": count(digest_array(array) for array in arrays if array.dtype.kind != "U"),
        "pictures": count(
            f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"
            for path in kept
            if path.suffix in (".png", ".gif")
        ),
        "files": count(str(path.relative_to(run)) for path in kept),
    }


def record_resumed(name: str) -> dict[str, Any]:
    """Records a run that goes on from the checkpoint before its last, in the folder ``name``."""
    former = RESUMED[name]
    train(former)
    shutil.copytree(former, name)
    shutil.rmtree(Path(name, STATE.format(step=4)).parent)
    command, line = RUNS[former]
    train_named(line)
    succeed(command, f"{line} --run-dir {name} --resume")
    return record_run(name)


def record_reader(name: str) -> dict[str, Any]:
    """Records what a command finds in runs: the numbers that it prints, and the file that it writes."""
    command, line = READERS[name]
    train_named(line)
    output = Path("again.json")
    output.unlink(missing_ok=True)
    ended = succeed(command, line)
    written = stable(json.loads(output.read_text())) if output.exists() else None
    return {"status": ended.status, "printed": re.findall(r"\d+\.\d+", ended.out), "written": written}


def record_presets() -> dict[str, Any]:
    """Records the defaults of all flags of all presets, as their help says them."""
    found: dict[str, Any] = {}
    old = {new: name for name, new in RENAMED.items()}
    for command in ("ram", "dram", "stn", "soft_attention", "colocalisation", "cnn"):
        usage = re.search(r"\{(.*?)\}", succeed(command, "--help").out, re.DOTALL)
        for preset in re.findall(r"[^\s,]+", usage[1] if usage else ""):
            texts: dict[str, str] = {}
            flag = None
            for line in succeed(command, f"{preset} --help").out.splitlines():
                text = line.strip()
                if text.startswith("--"):
                    flag = re.split(r"[ ,]", text)[0]
                if flag:
                    texts[flag] = texts.get(flag, "") + " " + text
            defaults = {flag: re.findall(r"\(default: (.*?)\)", text) for flag, text in texts.items()}
            name = f"{command} {old.get(preset, preset)}"
            found[name] = {old.get(flag, flag): each[-1] for flag, each in defaults.items() if each}
    return found


def leave_bad_folders() -> None:
    """Makes the files and folders that bad command lines name, unless they are there."""
    if Path("full").exists():
        return
    Path("file").write_text("")
    Path("text.npz").write_text("no archive")
    Path("full").mkdir()
    Path("full/thesis.txt").write_text("")
    train("ram_moving_average")
    shutil.copytree("ram_moving_average", "unfinished")
    shutil.rmtree("unfinished/checkpoints")
    shutil.copytree("ram_moving_average", "damaged")
    config = json.loads(Path("damaged/config.json").read_text())
    Path("damaged/config.json").write_text(json.dumps(config | {"family": "resnet"}))


def record_bad_input(command: str) -> dict[str, Any]:
    """Records of bad lines of a command whether each is refused in one line that quotes the bad value."""
    leave_bad_folders()
    found = {}
    for line, flags, quoted in [(line, *case) for name, line, cases in BAD if name == command for case in cases]:
        train_named(flags)
        before = set(os.listdir())
        try:
            ended = call(command, f"{line} {flags}")
        except Exception as error:  # Which the command should have told in a line.
            ended = Ended(1, "", f"Traceback: {type(error).__name__}: {error}")
        said = [each for each in ended.err.splitlines() if each.startswith("error: ")]
        found[f"{'... ' if line else ''}{flags}"] = {
            "status": ended.status,
            "errors": len(said),
            "quoted": any(RENAMED.get(quoted, quoted) in each for each in said),
            "traceback": "Traceback" in ended.err,
            "written": sorted(set(os.listdir()) - before),
        }
        shutil.rmtree("bad", ignore_errors=True)
    return found


def record_case(name: str) -> dict[str, Any]:
    """Records one case; of one that fails, why."""
    try:
        if name in RUNS:
            train(name)
            return record_run(name)
        if name in RESUMED:
            return record_resumed(name)
        if name in READERS:
            return record_reader(name)
        return record_presets() if name == "presets" else record_bad_input(name.removeprefix(REFUSED))
    except Exception as error:  # The other cases go on.
        return {"failed": f"{type(error).__name__}: {error}"}


# -- Recordings. --

CASES = [*RUNS, *RESUMED, *READERS, "presets", *(REFUSED + command for command in COMMANDS)]


def record(file: Path, only: list[str]) -> int:
    """Records all cases, or some, in a temporary folder, and tells on standard error how it goes.

    Returns:
      The status of the program: 1 where a case failed.
    """
    import jax

    file = file.absolute()
    file.touch()
    cases: dict[str, Any] = {"surroundings": {"jax": jax.__version__, "cores": os.cpu_count()}}
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", f"{folder}/programs")
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        os.makedirs(f"{folder}/work")
        sys.path.append(f"{folder}/work")
        with contextlib.chdir(f"{folder}/work"):
            make_files()
            for name in only or CASES:
                begun = time.monotonic()
                cases[name] = record_case(name)
                why = cases[name].get("failed", "")
                print(f"{name}: {time.monotonic() - begun:.0f} s {why}", file=sys.stderr, flush=True)
    file.write_text(json.dumps({"only": only, "cases": cases}, indent=1) + "\n")
    print(f"{len(cases)} cases, {len(dict(flatten(cases)))} values")
    return int(any("failed" in values for values in cases.values()))


# -- Comparison. --


def show(value: Any) -> str:
    """Shows a value, a float also as a decimal number."""
    if isinstance(value, str) and re.fullmatch(r"-?0x[01]\.[0-9a-f]+p[+-]\d+", value):
        return f"{float.fromhex(value)!r} ({value})"
    return repr(value)


def compare(before: Path, after: Path) -> int:
    """Prints each difference of two recordings in one line.

    Returns:
      The status of the program: 1 where there is a difference, or a case failed.
    """
    one, other = (json.loads(path.read_text()) for path in (before, after))
    names = list(one["cases"] | other["cases"])
    if one["only"] or other["only"]:
        names = [name for name in names if name in one["cases"] and name in other["cases"]]
    left, right = (dict(flatten({name: each["cases"].get(name, {}) for name in names})) for each in (one, other))
    absent, differences = "absent", 0
    for name in left | right:
        old, new = left.get(name, absent), right.get(name, absent)
        if old != new or name.endswith(".failed"):
            differences += 1
            print(f"{name}: {show(old)} -> {show(new)}")
    if not differences:
        print(f"the same: {len(left)} values of {len(names)} cases")
    return int(differences > 0)


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("file", type=Path)
    recording.add_argument("--quick", action="store_true", help="the cases of guard_rail_cases.QUICK alone")
    recording.add_argument("--only", nargs="+", default=[], choices=CASES, metavar="NAME")
    comparison = commands.add_parser("compare")
    comparison.add_argument("before", type=Path)
    comparison.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.command == "compare":
        return compare(given.before, given.after)
    return record(given.file, QUICK if given.quick else given.only)


if __name__ == "__main__":
    sys.exit(main())
