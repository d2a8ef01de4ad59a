"""Faults that tests try, counted by what came of them; as a plugin of pytest, the table of `make test-faults`.

A test with the mark ``fault(kind, outcome)`` tries one fault, which has that outcome if the test passes. A test with
the mark ``fault(kind)`` tries many, and counts them itself with the fixture ``record_fault``.
"""

import os
import platform
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

# Accepted, with the same bits as an undisturbed run or the right values; refused, in one line that says what is wrong;
# work that cannot be taken up again; a wrong result without a word.
OUTCOMES = ("exact", "named", "read", "lost", "silent")
# The kinds by the name in the table, with how many are tried at least, and what a failed test of one counts as.
KINDS = {
    "kills": (50, "lost"),
    "signals": (5, "lost"),
    "full disks": (8, "lost"),
    "damaged files of a run": (100, "lost"),
    "damaged files of a run, read alone": (10_000, "silent"),
    "bad inputs of commands": (200, "silent"),
    "odd photos and arrays": (60, "silent"),
    "damaged photos and arrays": (10_000, "silent"),
    "hostile archives and .mat files": (50, "silent"),
    "code of the user's own": (10, "silent"),
}
COUNTS = pytest.StashKey[Counter]()


def counts(config):
    """Return the counts of a session, by kind and outcome."""
    return config.stash.setdefault(COUNTS, Counter())


def record(config, kind, outcome, count=1):
    """Count faults of a kind with an outcome."""
    assert kind in KINDS and outcome in OUTCOMES
    counts(config)[kind, outcome] += count


def pytest_addoption(parser):
    """Add the path of the table."""
    parser.addoption("--faults-table", type=Path, help="file into which the table of faults is written")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Count the fault of a test that is over, and each test of faults that failed."""
    report = yield
    mark = item.get_closest_marker("fault")
    kind, *outcome = mark.args if mark is not None and mark.args else ("",)
    if outcome and report.when == "call" and report.passed:
        record(item.config, kind, *outcome)
    if kind and report.failed:
        record(item.config, kind, KINDS[kind][1])
    return report


def pytest_sessionfinish(session):
    """Write the table, unless a test failed, a fault was lost or silent, or too few of a kind were tried."""
    path, counted = session.config.getoption("--faults-table"), counts(session.config)
    if path is not None:
        if is_complete(counted) and session.exitstatus == pytest.ExitCode.OK:
            path.write_text(table(counted))
        else:  # The old table stays.
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def is_complete(counted):
    """Check that enough faults of each kind were tried, and that none was lost or silent."""
    tried = {kind: sum(counted[kind, outcome] for outcome in OUTCOMES) for kind in KINDS}
    bad = sum(counted[kind, outcome] for kind in KINDS for outcome in ("lost", "silent"))
    return bad == 0 and all(tried[kind] >= least for kind, (least, _) in KINDS.items())


def table(counted):
    """Return the page of the table as Markdown."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    lines = [
        "# Faults",
        "",
        "What came of each fault that the tests try.",
        "",
        "- *Exact*: the same bits as an undisturbed run, or accepted with the right values.",
        "- *Named*: refused in one line that says what is wrong.",
        "- *Read*: a file without a digest, or with a new one, whose values are others and can be meant.",
        "- *Lost*: work that cannot be taken up again. *Silent*: a wrong result without a word.",
        "  A failed test counts as one of these.",
        "",
        f"`make test-faults`, commit {commit[:10]}, {time.strftime('%Y-%m-%d')}, Python {platform.python_version()},",
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores.",
        "",
        f"| fault | tried | {' | '.join(OUTCOMES)} |",
        "| --- | ---: |" + " ---: |" * len(OUTCOMES),
    ]
    total = Counter()
    for kind in KINDS:
        row = [counted[kind, outcome] for outcome in OUTCOMES]
        total.update(dict(zip(OUTCOMES, row, strict=True)))
        lines.append(f"| {kind} | {' | '.join(f'{number:,}' for number in (sum(row), *row))} |")
    lines.append(f"| all | {' | '.join(f'{n:,}' for n in (sum(total.values()), *(total[o] for o in OUTCOMES)))} |")
    return "\n".join(lines) + "\n"
