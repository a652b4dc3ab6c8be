import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers.data import load_cifar10
from helpers.errors import BadInput
from helpers.evaluation import accuracy, predict
from helpers.models import load_trained
from helpers.pictures import DOUBTFUL, load_picture, printable

TURNS = {  # what a camera that was held so writes, and what it then wrote the picture as
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def smooth(width=120, height=80):
    """Return a picture without sharp edges, of which all formats keep about the same."""
    rough = np.random.default_rng(0).integers(80, 176, size=(4, 6, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)


def seen(image, name="a.png", **options):
    """Save the picture and load it as the networks see it, as numbers that can be subtracted."""
    image.save(name, **options)
    loaded = load_picture(name)
    assert (loaded.shape, loaded.dtype, loaded.flags.writeable) == ((32, 32, 3), np.uint8, True)
    return loaded.astype(int)


def test_all_pixels_of_a_large_picture_count(here):
    pixels = np.random.default_rng(1).integers(256, size=(32, 32, 3), dtype=np.uint8)
    assert (seen(Image.fromarray(pixels)) == pixels).all()  # nothing to do
    large = smooth(1280, 1280)
    means = cv2.resize(np.asarray(large), (32, 32), interpolation=cv2.INTER_AREA)
    assert abs(seen(large) - means).max() <= 3
    checks = (np.indices((640, 640)).sum(0) % 2 * 255).astype(np.uint8)
    assert abs(seen(Image.fromarray(checks)) - 127.5).max() < 2  # not one pixel in twenty


def test_a_wide_picture_is_cropped_to_its_middle_and_has_red_first(here):
    image = np.zeros((64, 1280, 3), np.uint8)
    image[:, 608:672] = [200, 100, 0]
    assert (seen(Image.fromarray(image))[:, 2:-2] == [200, 100, 0]).all()
    assert (seen(Image.fromarray(image.transpose(1, 0, 2)))[2:-2] == [200, 100, 0]).all()


@pytest.mark.parametrize(
    ("mode", "name", "within"),
    [
        ("RGB", "a.jpg", 6),
        ("RGB", "a.webp", 8),
        ("RGB", "a.bmp", 0),
        ("RGB", "a.tif", 0),
        ("RGBA", "a.png", 0),
        ("RGBA", "a.webp", 8),
        ("CMYK", "a.jpg", 6),
        ("CMYK", "a.tif", 0),
        ("P", "a.png", 40),
        ("P", "a.gif", 40),
    ],
)
def test_formats_and_colours(here, mode, name, within):
    assert abs(seen(smooth().convert(mode), name) - seen(smooth())).max() <= within


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_pictures_have_three_equal_channels(here, mode):
    grey = seen(smooth().convert(mode))
    assert (grey == grey[..., :1]).all()
    assert abs(grey.mean() - seen(smooth().convert("L")).mean()) < 3


def test_sixteen_bits_become_the_higher_eight(here):
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    deep, shallow = Image.fromarray(ramp.astype(np.uint16)), Image.fromarray((ramp / 256).astype(np.uint8))
    assert abs(seen(deep) - seen(shallow)).max() <= 1


def test_what_is_transparent_is_white_whatever_colour_is_hidden_there(here):
    logo = np.zeros((64, 64, 4), np.uint8)
    logo[:, :, :3] = [10, 20, 30]  # under transparency
    logo[:, :32] = [255, 0, 0, 255]
    left, right = [255, 0, 0], [255, 255, 255]
    full, palette = Image.fromarray(logo), Image.fromarray(logo).quantize(8)
    for image, name, options in ((full, "a.png", {}), (full, "a.webp", {"lossless": True}), (palette, "b.png", {})):
        small = seen(image, name, **options)
        assert abs(small[:, :14] - left).max() <= 3 and abs(small[:, 18:] - right).max() <= 3
    half = seen(Image.new("RGBA", (40, 40), (0, 0, 0, 128)))
    assert abs(half - 127).max() <= 1
    keyed = seen(Image.fromarray(logo[:, :, :3]), transparency=(10, 20, 30))  # one colour that means none
    assert (keyed[:, :14] == left).all() and (keyed[:, 18:] == right).all()
    assert (seen(Image.new("L", (9, 9), 7), transparency=7) == 255).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize(("orientation", "stored"), TURNS.items())
def test_a_picture_is_turned_as_its_camera_says(here, name, orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = seen(smooth().transpose(stored), name, exif=exif)
    assert abs(turned - seen(smooth())).max() <= 12  # WebP halves the colours' rows and columns


def test_the_first_frame_of_an_animation(here):
    frames = [Image.new("RGB", (50, 50), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "a.webp", "a.png"):
        assert abs(seen(frames[0], name, save_all=True, append_images=frames[1:]) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (31, 33), (20_000, 3)])
def test_small_and_long_pictures(here, size):
    assert (seen(Image.new("RGB", size, (9, 8, 7))) == [9, 8, 7]).all()


def png(width, height, rows, bits=8):
    """Return a PNG of black pixels, of which only some rows are there."""
    packed = zlib.compress(bytes((1 + width * bits // 8) * rows), 9)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def encoded(form="PNG", **options):
    buffer = io.BytesIO()
    smooth().save(buffer, form, **options)
    return buffer.getvalue()


BAD = {
    "empty.png": (b"", "is empty"),
    "text.png": (
        b"I am no picture.\n" * 100,
        "not a picture that can be read: give a PNG, JPEG, WEBP, GIF, BMP or TIFF",
    ),
    "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "not a picture that can be read"),
    "program.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture that can be read"),
    "cut.jpg": (encoded("JPEG")[:-400], "cut short"),
    "cut.png": (encoded()[:-400], "cut short"),
    "cut.webp": (encoded("WEBP")[:-100], "cut short"),
    "header.png": (encoded()[:20], "cut short"),
    "bomb.png": (png(10_001, 10_000, 1), "more than 100 megapixels"),
    "bomb1.png": (png(40_000, 40_000, 1, bits=1), "more than 100 megapixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_is_one_sentence(here, name):
    content, words = BAD[name]
    Path(name).write_bytes(content)
    refused(name, words)


def refused(path, words):
    with pytest.raises(BadInput) as told:
        load_picture(path)
    assert words in str(told.value) and str(told.value).isprintable()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("absent.png", "There is no file absent.png"),
        ("", "There is no file ''"),
        ("https://example.org/a.png", "is an address: download the picture first"),
        ("file:///a.png", "is an address"),
        (".", "is a folder"),
        ("/dev/zero", "is a pipe or a device"),
        ("x" * 300, "cannot be read"),
        ("a\0b", "cannot be read"),
        ("no\x1b[31m\udcff.png", r"There is no file no\x1b[31m\udcff.png"),
    ],
)
def test_what_is_no_regular_file_is_told(here, path, words):
    refused(path, words)


def test_a_pipe_is_not_opened(here):
    os.mkfifo("pipe.png")
    refused("pipe.png", "is a pipe or a device")


def test_a_file_of_more_than_200_MB_is_not_read(here):
    Path("a.png").write_bytes(encoded())
    os.truncate("a.png", 200_000_001)
    refused("a.png", "more than 200 MB")


def test_pixels_without_a_known_white_are_refused(here):
    Image.fromarray(np.ones((9, 9), np.float32)).save("a.tif")
    refused("a.tif", "more than 16 bits")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_damaged_files_give_a_picture_or_a_sentence(here, form):
    rng, sound = np.random.default_rng(0), encoded(form)
    for _ in range(60):
        content = bytearray(sound[: rng.integers(1, len(sound) + 1)])
        for place in rng.integers(len(content), size=rng.integers(4)):
            content[place] = rng.integers(256)
        Path("a").write_bytes(content)
        try:
            assert load_picture("a").shape == (32, 32, 3)
        except BadInput as told:
            assert str(told).isprintable() and not isinstance(told.__cause__, AssertionError)


def test_a_photograph_of_50_megapixels_is_not_decoded_in_full(here, monkeypatch):
    Image.new("RGB", (8660, 5774), (200, 100, 0)).save("a.jpg")
    loaded, resize = [], Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda image, *a, **k: loaded.append(image.size) or resize(image, *a, **k)
    )
    assert abs(load_picture("a.jpg") - np.array([200.0, 100, 0])).max() <= 3
    assert loaded == [(1083, 722)]


def test_names_show_what_they_hide():
    assert printable("é\n\udcff.png") == r"é\n\udcff.png"


def test_under_the_bound_about_half_of_the_answers_are_wrong(cifar10_root):
    """As `workbook predict --help` says."""
    test, (model, trained) = load_cifar10(cifar10_root, train=False), load_trained("fast_200k")
    logits = predict(model, test.images[:1000], mean=trained["config"]["mean"], std=trained["config"]["std"])
    doubtful = ((logits / trained["temperature"]).softmax(1).amax(1) < DOUBTFUL).numpy()
    assert 50 < doubtful.sum() < 200
    assert 40 < accuracy(logits[doubtful], test.labels[:1000][doubtful]) < 60
    assert accuracy(logits[~doubtful], test.labels[:1000][~doubtful]) > 90
