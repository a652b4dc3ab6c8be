"""A picture of your own, fit to what the networks take: 32x32 pixels, red, green, blue."""

import os
import re
import stat
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from helpers.errors import BadInput

SIDE = 32
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # Pillow opens more, some by starting other programs
KNOWN = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
MOST_BYTES, MOST_PIXELS = 200_000_000, 100_000_000
DOUBTFUL = 0.6  # of the released networks' test answers with a lower calibrated probability about half are wrong
ADDRESS = re.compile(r"(https?|ftp|file|data):", re.IGNORECASE)


def load_picture(path: str | os.PathLike) -> np.ndarray:
    """Return the square in the middle of a picture file as the networks see it, uint8 (32, 32, 3).

    The file is a PNG, JPEG, WebP, GIF (its first frame), BMP or TIFF of at most 200 MB and 100 megapixels, with any
    colours that these have; it is turned as its camera says, and what is transparent is white. Raises BadInput for
    everything else; a folder, a pipe or a device is not opened.
    """
    name = printable(path)
    _check_file(path, name)
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError  # nothing has been decoded yet
            return _fit(image)
    except Image.DecompressionBombError:
        raise BadInput(f"{name} has more than {MOST_PIXELS // 10**6} megapixels: make it smaller first.") from None
    except UnidentifiedImageError:
        raise BadInput(f"{name} is not a picture that can be read: give a {KNOWN} file.") from None
    except Exception as error:  # a damaged file leads its decoder to anything
        told = f"{name} is damaged, cut short or of a rare kind ({printable(error)})"
        raise BadInput(f"{told}: give the whole file, or save it anew as PNG.") from error


def printable(text: object) -> str:
    """Return a text, such as a file's name, with an escape in place of what a terminal would obey or cannot show."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def _check_file(path: str | os.PathLike, name: str) -> None:
    """Raise BadInput unless this is a regular file that is neither empty nor too large; open nothing."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if ADDRESS.match(str(path)):
            raise BadInput(f"{name} is an address: download the picture first, and give the file.") from None
        raise BadInput(f"There is no file {name or repr(name)}: give the path of a picture.") from None
    except (OSError, ValueError) as error:  # no permission, a name too long, a zero byte in it
        raise BadInput(f"{name} cannot be read ({error}): give the path of a picture.") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise BadInput(f"{name} is {kind}: give a picture file.")
    if not status.st_size:
        raise BadInput(f"{name} is empty: give a picture file.")
    if status.st_size > MOST_BYTES:
        raise BadInput(f"{name} has more than {MOST_BYTES // 10**6} MB: make it smaller first.")


def _fit(image: Image.Image) -> np.ndarray:
    """Return the middle square of an opened picture in 32x32 pixels, upright, transparency laid on white."""
    image.draft(None, (4 * SIDE, 4 * SIDE))  # a large JPEG is decoded at an eighth of its sides, in little memory
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ValueError("its pixels have more than 16 bits")  # and nobody says which value is white
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion cuts off what is over 255
        image = image.point(lambda value: value / 256).convert("L")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    image = image if image.mode == mode else image.convert(mode)  # which would copy it
    left, top = ((length - min(image.size)) / 2 for length in image.size)
    square = (left, top, image.width - left, image.height - top)
    image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=square)  # over all pixels that one will stand for
    image = ImageOps.exif_transpose(image).convert("RGBA")
    return np.array(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
