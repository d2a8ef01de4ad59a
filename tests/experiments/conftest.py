"""What the tests of whole runs share: small images, commands run in an empty folder, and a browser for their pages."""

import fcntl
import json
import os
import shutil

import numpy as np
import pytest

from experiments import dram
from tests.experiments import numbers_maker


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that all processes of these tests share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images of 12x12 pixels in three classes: which third is bright."""
    labels = np.arange(150) % 3
    noise = np.random.default_rng(0).integers(0, 60, (150, 12, 12), dtype=np.uint8)
    bright = (np.arange(12) // 4 == labels[:, None])[:, None, :]
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, images=noise + np.uint8(150) * bright, labels=labels)
    return path


@pytest.fixture
def go(images, tmp_path, monkeypatch):
    """Runs a command in an empty folder; the run goes to ``run``."""
    monkeypatch.chdir(tmp_path)

    def call(module, flags, *more):
        return module.main([*flags, "--data", str(images), "--run-dir", "run", *more])

    return call


@pytest.fixture
def refused(go, capsys, record_fault):
    """Runs a command that must end with status 2 and one line about it, which it returns."""

    def call(*args):
        with pytest.raises(SystemExit) as stop:
            go(*args)
        out, err = capsys.readouterr()
        *progress, line = err.splitlines()
        assert stop.value.code == 2 and out == "" and line.startswith("error: ")
        assert all(message.startswith(("images: ", "step ", "evaluating ", "drawing")) for message in progress)
        record_fault("bad inputs of commands", "named")
        return line

    return call


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium without a network, through which a test drives a page."""
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not found: install Debian's packages chromium and chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    # Without its sandbox Chromium also runs as root; it opens nothing but the pages of these tests.
    for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def console(chromium):
    """What the page has written to the console since the last call."""
    return [entry["message"] for entry in chromium.get_log("browser")]


def requests(chromium):
    """What the page has asked for since the last call, without what it holds itself."""
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    sent = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    return [url for url in sent if not url.startswith("data:")]


@pytest.fixture
def browse(chromium):
    """Opens a file on a screen; at the end of the test, nothing may have gone wrong or been fetched."""

    def call(path, width=1280, scheme="light"):
        scheme = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        chromium.get(path.as_uri())
        call.opened.append(path.as_uri())
        return chromium

    call.opened = []
    call.console = lambda: console(chromium)
    console(chromium), requests(chromium)
    yield call
    assert console(chromium) == []
    assert requests(chromium) == call.opened


@pytest.fixture
def small_numbers(monkeypatch):
    """Has every task that is loaded by name be one of small images of numbers."""
    numbers_maker.stand_in(monkeypatch)


@pytest.fixture(scope="session")
def readers(shared):
    """The folder of small runs that tests may not write to: `forward` and `backward` are trained, others are not."""
    folder, done = shared / "readers", shared / "readers_done"
    with open(shared / "readers_lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # One process makes them, the others wait.
        if not done.exists():
            make_readers(folder)
            done.touch()
    return folder


def make_readers(folder):
    """Trains and leaves the runs of `readers`."""
    with pytest.MonkeyPatch.context() as patch:
        numbers_maker.stand_in(patch)
        dram.main([*numbers_maker.FLAGS, "--run-dir", str(folder / "forward")])
        shared = ["--reverse", "--glimpse-network-from", str(folder / "forward"), "--weight-decay", "0.1"]
        dram.main([*numbers_maker.FLAGS, "--run-dir", str(folder / "backward"), *shared])
        for name, flags in {
            "single": ["--task", "pairs100"],
            "large": ["--task", "house_numbers_110"],
            "other_backward": ["--resize", "16", "--reverse"],
        }.items():
            numbers_maker.untrained_run(folder / name, flags)
