"""Pictures byte by byte (PNG files of every kind, EXIF data as no library would write them), and folders of them."""

import struct
import zlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

# Samples of a pixel by the colour type of PNG: gray, RGB, palette, gray with alpha, RGB with alpha.
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def make_png(samples: np.ndarray, depth: int, colour: int, palette: bytes = b"", transparency: bytes = b"") -> bytes:
    """Write a PNG file.

    Args:
        samples: whole numbers [h, w] or [h, w, channels], from 0 to 2^depth - 1.
        depth: bits of a sample.
        colour: the colour type, see `CHANNELS`.
        palette: the content of the chunk PLTE; none if empty.
        transparency: the content of the chunk tRNS; none if empty.
    """
    height, width = samples.shape[:2]
    rows = samples.reshape(height, width * CHANNELS[colour])
    bits = (rows[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    packed = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    chunks = [(b"IHDR", struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0))]
    chunks += [(b"PLTE", palette)] * bool(palette) + [(b"tRNS", transparency)] * bool(transparency)
    chunks += [(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))


def make_exif(entries: Iterable[tuple[int, int, int, bytes]], order: str = "<") -> bytes:
    """Write EXIF data.

    Args:
        entries: tag, type, count and content of each entry.
        order: "<" or ">".
    """
    table = sorted(entries)
    start = 8 + 2 + 12 * len(table) + 4
    body, contents = struct.pack(f"{order}H", len(table)), b""
    for tag, kind, count, content in table:
        place = content.ljust(4, b"\0") if len(content) <= 4 else struct.pack(f"{order}L", start + len(contents))
        body += struct.pack(f"{order}HHL", tag, kind, count) + place
        contents += content if len(content) > 4 else b""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", 8)
    return b"Exif\0\0" + head + body + bytes(4) + contents


def save_picture(path, array, **options):
    """Save an array as a picture, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path, **options)


def fill_folder(root, classes=("cat", "dog"), count=10, size=(6, 8), first=0):
    """Save gray images of one level each, so that every image is distinguishable."""
    for label, name in enumerate(classes):
        for i in range(count):
            save_picture(root / name / f"{i:02}.png", np.full(size, first + label * count + i))
