"""Pools of house numbers: rendered once, in several processes, and kept in a folder.

Image i of a split depends on the seed, the split and i alone, so it is the same whoever renders it. The file of a pool
is named by a digest of all that its images depend on, is written atomically, and is read only if the digest of what it
holds is the one that it names; otherwise it is rendered again.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import PIL
from jaxtyping import Float, Int, UInt8

from common.data.array_cache import make_folder, read_arrays, write_arrays
from common.data.house_numbers.fonts import FACES, NEW_FACES, fonts_digest
from common.data.house_numbers.renderer import MAX_DIGITS, RENDERER, RENDERER_PILLOW, draw_scene

END = 10
NUM_SYMBOLS = MAX_DIGITS + 1
# Their places here are part of the seeds; `new_fonts` is a test split in faces that no other has.
SPLITS = ("train", "validation", "test", "new_fonts")
# Called with the split, the number of its images that are made, and the number of all; what else is counted has a name
# that says so, such as `train records`.
Progress = Callable[[str, int, int], None]
# Images that a process hands over at once; and how many make another process worth its start.
_CHUNK, _WORTH = 50, 1000


@dataclass(frozen=True)
class PoolConfig:
    """What a pool holds.

    Attributes:
        split: a key of `SPLITS`.
        count: number of images N.
        size: rows and columns of an image in pixels.
        growth: sides of an image relative to those of the box around the number.
        seed: seed of all splits.

    Raises:
        ValueError: if the split is unknown, or a number is out of range.
    """

    split: str
    count: int
    size: int = 64
    growth: float = 1.3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"unknown split {self.split!r} of house numbers; allowed: {', '.join(SPLITS)}")
        if self.count < 1:
            raise ValueError(f"{self.split} has {self.count} house numbers; at least 1 is needed")
        if self.seed < 0:
            raise ValueError(f"seed of house numbers is {self.seed}; it must not be negative")


class Pool(NamedTuple):
    """Rendered house numbers.

    Attributes:
        images: uint8 `[N, size, size, 3]`, RGB.
        labels: int32 `[N, 6]`: the digits in the order of reading, then end symbols, 10.
        boxes: float32 `[N, 5, 4]`: left, top, right, bottom of each digit in pixels; zeros after the last.
    """

    images: UInt8[np.ndarray, "N size size 3"]
    labels: Int[np.ndarray, "N 6"]
    boxes: Float[np.ndarray, "N 5 4"]


def load_pool(
    config: PoolConfig,
    folder: str | os.PathLike[str],
    progress: Progress | None = None,
    processes: int | None = None,
) -> Pool:
    """Reads a pool from its file, or renders it and writes the file.

    Args:
        config: what the pool holds.
        folder: where the file is kept; made if it is missing.
        progress: called now and then while images are rendered.
        processes: how many render; None for one on each core that this process may use.

    Returns:
        The pool.

    Raises:
        ValueError: if a font is missing.
        OSError: if the folder cannot be written.
    """
    path = pool_path(config, folder)
    arrays = read_arrays(path)
    if arrays is not None:
        return Pool(**arrays)
    make_folder(path.parent)  # Before the work, which would be lost.
    pool = render_pool(config, progress, processes)
    write_arrays(path, pool._asdict())
    return pool


def pool_path(config: PoolConfig, folder: str | os.PathLike[str]) -> Path:
    """The file of a pool: its name holds a digest of the configuration, the renderer, the fonts and Pillow's version.

    Raises:
        ValueError: if a font is missing.
    """
    pillow = ".".join(PIL.__version__.split(".")[:2])
    # That of the renderer is left out, so that pools from before the version mattered keep their names.
    library = {} if pillow == RENDERER_PILLOW else {"pillow": pillow}
    facts = json.dumps({"renderer": RENDERER, "fonts": fonts_digest(), **library, **asdict(config)}, sort_keys=True)
    name = hashlib.sha256(facts.encode()).hexdigest()[:16]
    return Path(folder) / f"house_numbers-{config.split}-{config.size}px-{name}.npz"


def render_pool(config: PoolConfig, progress: Progress | None = None, processes: int | None = None) -> Pool:
    """Renders a pool: the arguments are those of `load_pool`, which also keeps it."""
    pool = _empty(config, config.count)
    report = _Count(config, progress)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = cores if processes is None else processes
    workers = min(most, max(config.count // _WORTH, 1) if processes is None else config.count)
    if workers <= 1:
        _fill(pool, 0, _render_parts(config, 0, config.count), report)
    else:
        _render_in_processes(config, pool, workers, report)
    return pool


class _Count:
    """Counts what all threads have filled in, and says so."""

    def __init__(self, config: PoolConfig, progress: Progress | None):
        self._config, self._progress, self._done, self._lock = config, progress, 0, threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            if self._progress is not None:
                self._progress(self._config.split, self._done, self._config.count)


def _empty(config: PoolConfig, count: int) -> Pool:
    return Pool(
        np.zeros((count, config.size, config.size, 3), np.uint8),
        np.full((count, NUM_SYMBOLS), END, np.int32),
        np.zeros((count, MAX_DIGITS, 4), np.float32),
    )


def _render_parts(config: PoolConfig, start: int, stop: int) -> Iterator[Pool]:
    """The images from `start` to `stop` in parts of `_CHUNK`."""
    faces = NEW_FACES if config.split == "new_fonts" else FACES
    for first in range(start, stop, _CHUNK):
        part = _empty(config, min(_CHUNK, stop - first))
        for i in range(len(part.images)):
            key = (config.seed, SPLITS.index(config.split), first + i)
            scene = draw_scene(key, config.size, config.growth, faces)
            part.images[i] = scene.image
            part.labels[i, : len(scene.digits)] = scene.digits
            part.boxes[i, : len(scene.digits)] = scene.boxes
        yield part


def _fill(pool: Pool, start: int, parts: Iterator[Pool], report: _Count) -> None:
    for part in parts:
        stop = start + len(part.images)
        for whole, piece in zip(pool, part, strict=True):
            whole[start:stop] = piece
        start = stop
        report.add(len(part.images))


class _Renderer(NamedTuple):
    """A process, and the file of what it says on standard error; a pipe that nobody reads would fill and block it."""

    process: subprocess.Popen
    said: IO[bytes]


def _render_in_processes(config: PoolConfig, pool: Pool, workers: int, report: _Count) -> None:
    """Each process renders a range and writes it to its standard output, which a thread reads."""
    bounds = [config.count * i // workers for i in range(workers + 1)]
    ranges = list(zip(bounds[:-1], bounds[1:], strict=True))
    # An ordinary process, not a fork, which JAX does not survive, nor one that imports the caller's script again.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = "from common.data.house_numbers.pool import _serve; _serve()"
    running: list[_Renderer] = []
    with ExitStack() as stack:
        for start, stop in ranges:
            order = json.dumps([asdict(config), start, stop])
            command = [sys.executable, "-c", program, order]
            said = stack.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, env=environment)
            stack.callback(_end, process)
            running.append(_Renderer(process, said))
        problems: list[str] = []
        threads = [
            threading.Thread(target=_collect, args=(config, pool, running, i, *bounds, report, problems), daemon=True)
            for i, bounds in enumerate(ranges)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if problems:
            raise ValueError(f"rendering house numbers failed: {problems[0]}")


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate()


def _collect(
    config: PoolConfig,
    pool: Pool,
    running: list[_Renderer],
    place: int,
    start: int,
    stop: int,
    report: _Count,
    problems: list[str],
) -> None:
    """Fills the range of the process at a place; if something goes wrong, adds it to `problems` and ends all others."""
    process, said = running[place]

    def read() -> Iterator[Pool]:
        for first in range(start, stop, _CHUNK):
            part = _empty(config, min(_CHUNK, stop - first))
            for array in part:
                content = process.stdout.read(array.nbytes) if process.stdout else b""
                if len(content) < array.nbytes:
                    raise EOFError
                array[...] = np.frombuffer(content, array.dtype).reshape(array.shape)
            yield part

    try:
        _fill(pool, start, read(), report)
    except Exception as error:  # A thread's exceptions would be lost, the caller's progress among them.
        process.kill()
        process.wait()
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
        # Before the others are ended, and add that they were.
        problems.append(lines[-1] if lines else repr(error))
        for other, _ in running:
            other.kill()


def _serve() -> None:
    """What a process runs: renders the range of its argument to its standard output."""
    options, start, stop = json.loads(sys.argv[1])
    with suppress(BrokenPipeError):
        for part in _render_parts(PoolConfig(**options), start, stop):
            for array in part:
                sys.stdout.buffer.write(array.tobytes())
        sys.stdout.buffer.flush()
