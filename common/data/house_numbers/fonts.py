"""The typefaces of house numbers, and the shapes of their digits and letters.

The fonts are free (SIL Open Font License, or the licences of DejaVu and STIX). Each family is a Python package that the
extra `house_numbers` installs; DejaVu and STIX come with Matplotlib, which is not imported. A face is a family in one
weight. The harder test split uses families that no other split uses.
"""

import functools
import hashlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

CHARACTERS = "0123456789ABCDEFHKLMNRSTabehnort"
# Height in pixels of the cached shapes; digits are drawn at this size or smaller.
GLYPH_HEIGHT = 72

# Package, file, weights: one face for each weight; (0,) for a file without a weight axis.
_TRAIN = (
    ("arimo", "Arimo[wght].ttf", (400, 700)),
    ("arimo", "Arimo-Italic[wght].ttf", (600,)),
    ("barlow_condensed", "BarlowCondensed-SemiBold.ttf", (0,)),
    ("barlow_condensed", "BarlowCondensed-Regular.ttf", (0,)),
    ("oswald", "Oswald[wght].ttf", (300, 600)),
    ("bebas_neue", "BebasNeue-Regular.ttf", (0,)),
    ("anton", "Anton-Regular.ttf", (0,)),
    ("archivo_black", "ArchivoBlack-Regular.ttf", (0,)),
    ("overpass", "Overpass[wght].ttf", (400, 800)),
    ("jost", "Jost[wght].ttf", (300, 500, 800)),
    ("josefin_sans", "JosefinSans[wght].ttf", (400, 700)),
    ("montserrat", "Montserrat[wght].ttf", (400, 700)),
    ("work_sans", "WorkSans[wght].ttf", (400, 800)),
    ("rubik", "Rubik[wght].ttf", (500, 800)),
    ("fredoka", "Fredoka[wdth,wght].ttf", (0,)),
    ("libre_baskerville", "LibreBaskerville[wght].ttf", (400, 700)),
    ("playfair_display", "PlayfairDisplay[wght].ttf", (700,)),
    ("roboto_slab", "RobotoSlab[wght].ttf", (400, 800)),
    ("arvo", "Arvo-Bold.ttf", (0,)),
    ("alfa_slab_one", "AlfaSlabOne-Regular.ttf", (0,)),
    ("abril_fatface", "AbrilFatface-Regular.ttf", (0,)),
    ("cinzel", "Cinzel[wght].ttf", (700,)),
    ("lobster", "Lobster-Regular.ttf", (0,)),
    ("pacifico", "Pacifico-Regular.ttf", (0,)),
    ("permanent_marker", "PermanentMarker-Regular.ttf", (0,)),
    ("caveat", "Caveat[wght].ttf", (700,)),
    ("black_ops_one", "BlackOpsOne-Regular.ttf", (0,)),
    ("ibm_plex_mono", "IBMPlexMono-SemiBold.ttf", (0,)),
    ("righteous", "Righteous-Regular.ttf", (0,)),
    ("teko", "Teko[wght].ttf", (500,)),
    ("source_serif_4", "SourceSerif4[opsz,wght].ttf", (0,)),
    ("space_mono", "SpaceMono-Bold.ttf", (0,)),
    ("matplotlib", "DejaVuSans-Bold.ttf", (0,)),
    ("matplotlib", "DejaVuSerif.ttf", (0,)),
    ("matplotlib", "STIXGeneralBol.ttf", (0,)),
    ("matplotlib", "STIXGeneral.ttf", (0,)),
)
_NEW = (
    ("public_sans", "PublicSans[wght].ttf", (400, 800)),
    ("eb_garamond", "EBGaramond[wght].ttf", (500, 800)),
    ("bitter", "Bitter[wght].ttf", (400, 700)),
    ("russo_one", "RussoOne-Regular.ttf", (0,)),
    ("kalam", "Kalam-Bold.ttf", (0,)),
    ("quicksand", "Quicksand[wght].ttf", (500, 700)),
    ("titan_one", "TitanOne-Regular.ttf", (0,)),
    ("saira_condensed", "SairaCondensed-SemiBold.ttf", (0,)),
    ("yellowtail", "Yellowtail-Regular.ttf", (0,)),
)


class Face(NamedTuple):
    """A family in one weight.

    Attributes:
        package: the package of the family without its prefix `fontpkg_`, or matplotlib.
        file: name of the font file.
        weight: position on the weight axis, 100 (thin) to 900 (black); 0 for a file with a single weight.
    """

    package: str
    file: str
    weight: int


class Glyph(NamedTuple):
    """The shape of one character, cropped to its ink.

    Attributes:
        mask: mode L, 255 is ink.
        top: pixels from the top of the highest digit of the face down to the shape; negative above it.
        advance: horizontal distance to the next character, in pixels.
    """

    mask: Image.Image
    top: int
    advance: float


def _faces(table: tuple[tuple[str, str, tuple[int, ...]], ...]) -> tuple[Face, ...]:
    return tuple(Face(package, file, weight) for package, file, weights in table for weight in weights)


FACES = _faces(_TRAIN)
NEW_FACES = _faces(_NEW)


def font_modules() -> tuple[str, ...]:
    """Return the names of the Python packages that hold the fonts."""
    return tuple(dict.fromkeys(_module(face) for face in FACES + NEW_FACES))


def _module(face: Face) -> str:
    return face.package if face.package == "matplotlib" else f"fontpkg_{face.package}"


def find_font(face: Face) -> Path:
    """Return the font file of a face.

    Raises:
        ValueError: its package is not installed, or lacks the file.
    """
    spec = importlib.util.find_spec(_module(face))
    folder = "mpl-data/fonts/ttf" if face.package == "matplotlib" else "files"
    for location in (spec and spec.submodule_search_locations) or ():
        path = Path(location) / folder / face.file
        if path.is_file():
            return path
    raise ValueError(f"font {face.file!r} of package {_module(face)!r} is missing: pip install '.[house_numbers]'")


@functools.cache
def load_glyphs(face: Face) -> dict[str, Glyph]:
    """Return the shapes of all `CHARACTERS` of a face; its digits are at most `GLYPH_HEIGHT` pixels high.

    Raises:
        ValueError: see `find_font`.
    """
    path = find_font(face)
    font = _open(path, face, float(GLYPH_HEIGHT))
    tops = [font.getbbox(digit) for digit in "0123456789"]
    top, bottom = min(box[1] for box in tops), max(box[3] for box in tops)
    font = _open(path, face, GLYPH_HEIGHT * GLYPH_HEIGHT / (bottom - top))
    glyphs = {}
    for character in CHARACTERS:
        left, upper, right, lower = font.getbbox(character, anchor="ls")
        # Two pixels of margin on each side, because the outline is rounded.
        picture = Image.new("L", (int(right - left) + 4, int(lower - upper) + 4))
        ImageDraw.Draw(picture).text((2 - left, 2 - upper), character, fill=255, font=font, anchor="ls")
        ink = picture.getbbox() or (0, 0, 1, 1)
        glyphs[character] = Glyph(picture.crop(ink), int(upper) + ink[1], font.getlength(character))
    highest = min(glyphs[digit].top for digit in "0123456789")
    return {character: glyph._replace(top=glyph.top - highest) for character, glyph in glyphs.items()}


def _open(path: Path, face: Face, size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    if face.weight:
        axes = font.get_variation_axes()
        values = [face.weight if axis["name"] == b"Weight" else axis["default"] for axis in axes]
        font.set_variation_by_axes([float(value or 0) for value in values])
    return font


@functools.cache
def fonts_digest() -> str:
    """Return the SHA-256, in hexadecimal, of all font files, on which every image depends."""
    sha = hashlib.sha256()
    for face in FACES + NEW_FACES:
        sha.update(hashlib.sha256(find_font(face).read_bytes()).digest() + str(face.weight).encode())
    return sha.hexdigest()
