"""Pools of house numbers: rendered once, in several processes, and cached in a folder.

Image i of a split depends only on the seed, the split and i, so every process renders the same image. The file name of
a pool holds a digest of everything that its images depend on. A file is written atomically, and rendered again if the
digest of its content does not match.
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
# The order is part of the seeds. `new_fonts` is a test split in faces that no other split has.
SPLITS = ("train", "validation", "test", "new_fonts")
# Called with what is made (a split such as `train`, or `train records`), the number made so far, and the total number.
Progress = Callable[[str, int, int], None]
# Images that a process sends at once, and images that justify starting another process.
_CHUNK, _PER_PROCESS = 50, 1000


@dataclass(frozen=True)
class PoolConfig:
    """The settings of a pool.

    Attributes:
        split: a key of `SPLITS`.
        count: number of images N.
        size: rows and columns of an image in pixels.
        growth: side of an image relative to the bounding box of the number.
        seed: seed of all splits.
    """

    split: str
    count: int
    size: int = 64
    growth: float = 1.3
    seed: int = 0


class Pool(NamedTuple):
    """Rendered house numbers.

    Attributes:
        images: uint8 `[N, size, size, 3]`, RGB.
        labels: int32 `[N, 6]`: the digits in reading order, then end symbols, 10.
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
    """Read a pool from its file, or render it and write the file.

    Args:
        config: the settings of the pool.
        folder: the folder of the file; created if it is missing.
        progress: called while images are rendered.
        processes: number of rendering processes; None for one on each core that this process may use.

    Returns:
        The pool.

    Raises:
        ValueError: a font is missing.
        OSError: the folder cannot be written.
    """
    path = pool_path(config, folder)
    arrays = read_arrays(path)
    if arrays is not None:
        return Pool(**arrays)
    make_folder(path.parent)  # Fail before the images are rendered.
    pool = render_pool(config, progress, processes)
    write_arrays(path, pool._asdict())
    return pool


def pool_path(config: PoolConfig, folder: str | os.PathLike[str]) -> Path:
    """Return the file of a pool, named by a digest of its settings, the renderer, the fonts and Pillow's version.

    Raises:
        ValueError: a font is missing.
    """
    pillow = ".".join(PIL.__version__.split(".")[:2])
    # The defining version is left out, so that pools from before the version mattered keep their names.
    library = {} if pillow == RENDERER_PILLOW else {"pillow": pillow}
    facts = json.dumps({"renderer": RENDERER, "fonts": fonts_digest(), **library, **asdict(config)}, sort_keys=True)
    name = hashlib.sha256(facts.encode()).hexdigest()[:16]
    return Path(folder) / f"house_numbers-{config.split}-{config.size}px-{name}.npz"


def render_pool(config: PoolConfig, progress: Progress | None = None, processes: int | None = None) -> Pool:
    """Render a pool; the arguments are those of `load_pool`, which also caches it."""
    pool = _empty(config, config.count)
    counter = _Counter(config, progress)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = cores if processes is None else processes
    workers = min(most, max(config.count // _PER_PROCESS, 1) if processes is None else config.count)
    if workers <= 1:
        _fill(pool, 0, _render_chunks(config, 0, config.count), counter)
    else:
        _render_in_processes(config, pool, workers, counter)
    return pool


class _Counter:
    """Counts the images of all threads, and reports progress."""

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


def _render_chunks(config: PoolConfig, start: int, stop: int) -> Iterator[Pool]:
    """Render the images `start` to `stop - 1` in chunks of `_CHUNK`."""
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


def _fill(pool: Pool, start: int, parts: Iterator[Pool], counter: _Counter) -> None:
    for part in parts:
        stop = start + len(part.images)
        for whole, piece in zip(pool, part, strict=True):
            whole[start:stop] = piece
        start = stop
        counter.add(len(part.images))


class _Renderer(NamedTuple):
    """A process, and the file of its standard error; a pipe that nobody reads would fill up and block it."""

    process: subprocess.Popen
    errors: IO[bytes]


def _render_in_processes(config: PoolConfig, pool: Pool, workers: int, counter: _Counter) -> None:
    """Render in processes: each renders a range and writes it to its standard output, which a thread reads."""
    bounds = [config.count * i // workers for i in range(workers + 1)]
    ranges = list(zip(bounds[:-1], bounds[1:], strict=True))
    # Not `multiprocessing`: a forked JAX hangs, and a spawned process would import the caller's script again.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = "from common.data.house_numbers.pool import _serve; _serve()"
    running: list[_Renderer] = []
    with ExitStack() as stack:
        for start, stop in ranges:
            order = json.dumps([asdict(config), start, stop])
            command = [sys.executable, "-c", program, order]
            errors = stack.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment)
            stack.callback(_terminate, process)
            running.append(_Renderer(process, errors))
        problems: list[str] = []
        threads = [
            threading.Thread(target=_collect, args=(config, pool, running, i, *bounds, counter, problems), daemon=True)
            for i, bounds in enumerate(ranges)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if problems:
            raise ValueError(f"rendering house numbers failed: {problems[0]}")


def _terminate(process: subprocess.Popen) -> None:
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
    counter: _Counter,
    problems: list[str],
) -> None:
    """Read the range of one process into the pool; on an error, add it to `problems` and kill all others."""
    process, errors = running[place]

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
        _fill(pool, start, read(), counter)
    except Exception as error:  # Exceptions of a thread, such as the progress callback's, would be lost.
        process.kill()
        process.wait()
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
        # Before the others are killed, which adds their own errors.
        problems.append(lines[-1] if lines else repr(error))
        for other, _ in running:
            other.kill()


def _serve() -> None:
    """Render the range of the command-line argument to standard output; the entry point of a process."""
    options, start, stop = json.loads(sys.argv[1])
    with suppress(BrokenPipeError):
        for part in _render_chunks(PoolConfig(**options), start, stop):
            for array in part:
                sys.stdout.buffer.write(array.tobytes())
        sys.stdout.buffer.flush()
