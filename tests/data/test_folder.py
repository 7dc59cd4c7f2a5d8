"""Images in files: what is read, the three rules, and what is refused."""

import io

import numpy as np
import pytest
from PIL import Image

from jdiff import data
from jdiff.data import DataError


def random_image(seed, height=8, width=8, channels=3):
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write(path, pixels, mode=None):
    """Writes an image; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


def truncate(path):
    """Cuts a JPEG in its pixels: its header is whole, so that Pillow opens it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    Image.fromarray(random_image(9, 64, 64)).save(file, "jpeg")
    path.write_bytes(file.getvalue()[:-400])
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".TIF"])
def test_pixels_and_labels_come_back(tmp_path, channels, suffix):
    images = [random_image(k, channels=channels) for k in range(5)]
    for k, image in enumerate(images):
        write(tmp_path / ("dog" if k > 1 else "cat") / f"{k}{suffix}", image)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / ".git").mkdir()
    got = data.load(f"folder:{tmp_path}")
    np.testing.assert_array_equal(got.images, images)
    assert got.labels.tolist() == [0, 0, 1, 1, 1] and got.classes == ("cat", "dog")
    source = data.open_source(f"folder:{tmp_path}")
    some, labels = source.read(np.array([4, 0]))
    np.testing.assert_array_equal(some, [images[4], images[0]])
    assert labels.tolist() == [1, 0] and source.image_shape == (8, 8, channels)


def test_names_of_one_character_are_a_string(tmp_path):
    for name in "ba":
        write(tmp_path / name / "1.png", random_image(0))
    assert data.load(f"folder:{tmp_path}").classes == "ab"


@pytest.mark.parametrize(("height", "width"), [(8, 12), (9, 11), (10, 10), (7, 13)])
def test_sizes_that_4_does_not_divide_are_padded_with_paper(tmp_path, height, width):
    pixels = random_image(0, height, width) | 1  # nowhere 0
    write(tmp_path / "a" / "1.png", pixels)
    (got,) = data.load(f"folder:{tmp_path}").images
    top, left = (got.shape[0] - height) // 2, (got.shape[1] - width) // 2
    inside = got[top : top + height, left : left + width]
    np.testing.assert_array_equal(inside, pixels)
    assert np.count_nonzero(got) == pixels.size
    assert got.shape[0] % 4 == 0 and got.shape[0] - height < 4
    assert got.shape[1] % 4 == 0 and got.shape[1] - width < 4


def test_other_sizes_become_that_of_the_first(tmp_path):
    colours = [(255, 0, 9), (0, 77, 3), (1, 2, 3)]
    sizes = [(6, 9), (40, 31), (3, 2)]
    for k, (colour, size) in enumerate(zip(colours, sizes, strict=True)):
        pixels = np.full((*size, 3), colour, np.uint8)
        write(tmp_path / "a" / f"{k}.png", pixels)
    images = data.load(f"folder:{tmp_path}").images
    assert images.shape == (3, 8, 12, 3)
    for image, colour in zip(images, colours, strict=True):
        # One colour stays one colour, and reaches the border of the padding.
        np.testing.assert_array_equal(
            image[1:7, 1:10], np.broadcast_to(colour, (6, 9, 3))
        )


@pytest.mark.parametrize(
    ("modes", "channels"),
    [(["RGB", "RGBA", "P", "CMYK"], 3), (["L", "1", "LA"], 1)],
)
def test_palettes_and_transparency_are_of_a_kind(tmp_path, modes, channels):
    # White, which each of these modes has.
    pixels = np.full((4, 4, 3), 255, np.uint8)
    for mode in modes:
        suffix = "tif" if mode == "CMYK" else "png"
        write(tmp_path / "a" / f"{mode}.{suffix}", pixels, mode)
    images = data.load(f"folder:{tmp_path}").images
    assert images.shape == (len(modes), 4, 4, channels) and images.min() == 255


def test_photographs_stand_upright(tmp_path):
    pixels = np.zeros((8, 4, 3), np.uint8)
    pixels[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    (tmp_path / "a").mkdir()
    image = Image.fromarray(np.rot90(pixels))
    image.save(tmp_path / "a" / "1.png", exif=exif)
    np.testing.assert_array_equal(data.load(f"folder:{tmp_path}").images[0], pixels)


def bad_folders(root):
    """Yields (words of the error, folder)."""
    yield "existing folder, got 'nowhere'", "nowhere"
    yield "existing folder, got ''", ""
    (root / "empty").mkdir()
    yield "empty must hold a subfolder for each label, got an empty", root / "empty"
    write(root / "flat" / "1.png", random_image(0))
    yield "flat must hold a subfolder for each label, got files", root / "flat"
    write(root / "bare" / "a" / "1.png", random_image(0))
    (root / "bare" / "b").mkdir()
    yield "bare.b must hold images of its label, got none", root / "bare"
    cut = write(root / "cut" / "a" / "1.png", random_image(0))
    cut.write_bytes(cut.read_bytes()[:60])
    yield "cut.a.1.png must be a whole image file", root / "cut"
    web = write(root / "web" / "a" / "1.png", random_image(0))
    web.write_text("<html>")
    yield "web.a.1.png must be a whole image file", root / "web"
    write(root / "deep" / "a" / "1.png", np.zeros((4, 4, 1), np.uint16))
    yield "deep.a.1.png must be an image of 8 bits", root / "deep"
    write(root / "mixed" / "a" / "1.png", random_image(0))
    write(root / "mixed" / "b" / "2.png", random_image(0, channels=1))
    yield "grey .*mixed.b.2.png and coloured .*mixed.a.1.png", root / "mixed"
    truncate(root / "half" / "a" / "1.jpg")
    yield "half.a.1.jpg must be a whole image file", root / "half"


def test_bad_folders_are_refused_in_a_sentence(tmp_path):
    for words, path in bad_folders(tmp_path):
        with pytest.raises(DataError, match=words) as error:
            data.load(f"folder:{path}")
        assert "\n" not in str(error.value)


def test_arguments_that_a_folder_does_not_know_are_refused(tmp_path):
    with pytest.raises(DataError, match="split must be train for a folder"):
        data.load(f"folder:{tmp_path}", "test")
    with pytest.raises(DataError, match="skip_broken must be for a folder"):
        data.open_source("glyphs", skip_broken=True)


def test_broken_files_are_skipped_and_counted(tmp_path, capsys):
    images = [random_image(k) for k in range(4)]
    for k, image in enumerate(images):
        write(tmp_path / "ab"[k // 2] / f"{k}.png", image)
    (tmp_path / "a" / "0.5.png").write_bytes(b"")
    truncate(tmp_path / "b" / "0.jpg")
    source = data.open_source(f"folder:{tmp_path}", skip_broken=True)
    assert capsys.readouterr().err.strip() == "Skipped 2 broken files of 6."
    got = data.read_all(source)
    np.testing.assert_array_equal(got.images, images)
    assert got.labels.tolist() == [0, 0, 1, 1]
    for path in tmp_path.rglob("?.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="must hold images, got 6 broken files"):
        data.open_source(f"folder:{tmp_path}", skip_broken=True)


def test_what_is_not_checked_is_an_error_when_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("jdiff.data.folder.MAX_CHECKED", 2)
    for k in range(4):  # of which 0 and 2 are looked at
        write(tmp_path / "a" / f"{k}.png", random_image(k))
    (tmp_path / "a" / "1.png").write_bytes(b"")
    write(tmp_path / "a" / "3.png", random_image(3, channels=1))
    source = data.open_source(f"folder:{tmp_path}")
    assert source.read(np.array([0, 2]))[0].shape == (2, 8, 8, 3)
    with pytest.raises(DataError, match="1.png must be a whole image file"):
        source.read(np.array([0, 1]))
    with pytest.raises(DataError, match="3.png must be coloured .*, got a grey one"):
        source.read(np.array([3]))
