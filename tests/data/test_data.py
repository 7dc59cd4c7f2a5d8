"""The readers of jdiff.data: round trips, laws, and one test for every error."""

import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from jdiff import data
from jdiff.data import DataError

REAL_DATA = os.environ.get("JDIFF_DATA_DIR")
needs_real_data = pytest.mark.skipif(
    not REAL_DATA, reason="JDIFF_DATA_DIR is not set: no real EMNIST and MNIST to read"
)
IMAGES = "emnist-{}-{}-images-idx3-ubyte.gz"
LABELS = "emnist-{}-{}-labels-idx1-ubyte.gz"


@pytest.fixture(autouse=True)
def only_this_test_s_files(monkeypatch, tmp_path):
    """No test reads the user's data or cache, or downloads into it."""
    monkeypatch.delenv("JDIFF_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def random_images(num=7, side=28):
    return np.random.default_rng(0).integers(0, 256, (num, side, side), np.uint8)


def idx(values, sizes=None):
    """A gzipped IDX file of bytes, with a false header if `sizes` are given."""
    values = np.asarray(values, np.uint8)
    header = bytes([0, 0, 8, values.ndim])
    header += np.array(sizes or values.shape, ">u4").tobytes()
    return gzip.compress(header + values.tobytes())


def emnist_files(name, split, images, labels):
    """What NIST publishes: transposed images, and labels as they are in the file."""
    return {
        IMAGES.format(name, split): idx(images.swapaxes(1, 2)),
        LABELS.format(name, split): idx(labels),
    }


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def write_digits(folder, images, labels):
    write(folder, emnist_files("digits", "train", images, labels))


def zipped(files, folder="gzip/"):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in files.items():
            file.writestr(folder + name, content)
    return archive.getvalue()


# Reading


@pytest.mark.parametrize("folder", ["", "gzip", "emnist", "emnist/gzip"])
@pytest.mark.parametrize("archived", [False, True])
def test_emnist_reads_back_what_was_written(tmp_path, folder, archived):
    images, labels = random_images(), np.arange(7)
    files = emnist_files("byclass", "test", images, labels + 55)
    if archived:
        files = {"gzip.zip": zipped(files)}
    write(tmp_path / folder, files)
    got = data.emnist("byclass", "test", tmp_path)
    np.testing.assert_array_equal(got.images[..., 0], images)
    assert "".join(got.classes[i] for i in got.labels) == "tuvwxyz"
    assert got.images.dtype == np.uint8 and got.labels.dtype == np.int32
    assert got.images.flags.c_contiguous


def test_an_archive_without_the_inner_folder_is_read_too(tmp_path):
    files = emnist_files("mnist", "train", random_images(2), [4, 2])
    write(tmp_path, {"gzip.zip": zipped(files, folder="")})
    assert data.emnist("mnist", "train", tmp_path).labels.tolist() == [4, 2]


def test_mnist_is_not_transposed(tmp_path):
    for stem, num in (("train", 5), ("t10k", 3)):
        files = {
            f"{stem}-images-idx3-ubyte.gz": idx(random_images(num)),
            f"{stem}-labels-idx1-ubyte.gz": idx(np.arange(num)),
        }
        write(tmp_path / "mnist", files)
    train, test = data.mnist("train", tmp_path), data.mnist("test", tmp_path)
    np.testing.assert_array_equal(train.images[..., 0], random_images(5))
    assert train.classes == "0123456789" and len(test.labels) == 3


@pytest.mark.parametrize(
    ("name", "first", "chars"),
    [
        ("byclass", 0, data.EMNIST_CHARS),
        ("bymerge", 0, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"),
        ("balanced", 0, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"),
        ("letters", 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        ("digits", 0, "0123456789"),
        ("mnist", 0, "0123456789"),
    ],
)
def test_every_label_of_every_set_has_its_character(tmp_path, name, first, chars):
    num = len(chars)
    in_file = np.arange(first, first + num)
    write(tmp_path, emnist_files(name, "train", random_images(num), in_file))
    got = data.emnist(name, data_dir=tmp_path)
    assert got.classes == chars and got.labels.tolist() == list(range(num))
    # One beyond the last class, on either side where there is one.
    for wrong in {first + num, max(first - 1, 0)} - set(in_file.tolist()):
        labels = np.append(in_file[:-1], wrong)
        write(tmp_path, emnist_files(name, "train", random_images(num), labels))
        with pytest.raises(DataError, match=rf"labels of {num} classes"):
            data.emnist(name, data_dir=tmp_path)


def test_the_argument_goes_before_the_variable_before_the_cache(tmp_path, monkeypatch):
    places = [tmp_path / name for name in ("argument", "variable", "cache/jdiff")]
    for label, place in enumerate(places):
        write_digits(place, random_images(1), [label])

    def first_label(**kwargs):
        return data.emnist("digits", **kwargs).labels[0]

    assert first_label() == 2
    monkeypatch.setenv("JDIFF_DATA_DIR", str(places[1]))
    assert first_label() == 1
    assert first_label(data_dir=places[0]) == 0
    monkeypatch.setenv("JDIFF_DATA_DIR", "")
    assert first_label() == 2


# Broken sets


def test_a_named_directory_without_the_set_is_an_error(tmp_path, monkeypatch):
    write_digits(tmp_path / "cache/jdiff", random_images(1), [0])
    empty = tmp_path / "empty"
    empty.mkdir()
    lacks = r"data_dir must hold emnist/digits train: .*emnist-digits-train-images"
    with pytest.raises(DataError, match=lacks):
        data.emnist("digits", data_dir=empty)
    with pytest.raises(DataError, match="data_dir must be an existing directory"):
        data.emnist("digits", data_dir=tmp_path / "nowhere")
    with pytest.raises(DataError, match="data_dir must hold mnist test"):
        data.mnist("test", empty)
    monkeypatch.setenv("JDIFF_DATA_DIR", str(empty))
    with pytest.raises(DataError, match="JDIFF_DATA_DIR must hold emnist/digits"):
        data.emnist("digits")
    monkeypatch.setenv("JDIFF_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="JDIFF_DATA_DIR must be an existing"):
        data.load("emnist/digits")


@pytest.mark.parametrize("lost", [IMAGES, LABELS])
def test_half_a_pair_is_an_error_that_names_the_other_half(tmp_path, lost):
    lost = lost.format("digits", "train")
    files = emnist_files("digits", "train", random_images(2), [0, 1])
    del files[lost]
    write(tmp_path, files)
    with pytest.raises(DataError, match=rf"got no .*{lost}"):
        data.emnist("digits", data_dir=tmp_path)


def damaged_images():
    """Broken contents of an images file of 2 images, each with the words to expect."""
    whole = idx(random_images(2))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    raw = gzip.decompress(whole)
    return {
        "truncated": (whole[: len(whole) // 2], "a whole .gz file"),
        "without its last byte": (whole[:-1], "a whole .gz file"),
        "a flipped byte": (bytes(flipped), "a whole .gz file"),
        "empty": (b"", "an empty file"),
        "a web page": (b"\n <!DOCTYPE html><html>404</html>", "web page"),
        "not gzipped": (raw, "must be a .gz file, got a file that starts with"),
        "no IDX file": (gzip.compress(b"hello world" * 9), "magic 00000803.*68656c6c"),
        "nothing in it": (gzip.compress(b""), "got magic nothing"),
        "labels as images": (idx(range(99)), "magic 00000803.*got magic 00000801"),
        "too few values": (idx(random_images(2), (3, 28, 28)), "3 x 28 x 28 values"),
        "too many values": (idx(random_images(2), (1, 28, 28)), "1 x 28 x 28 values"),
        "absurd sizes": (
            idx(random_images(2), (2**32 - 1,) * 3),
            "at most 1,073,741,824 bytes",
        ),
        "small images": (idx(random_images(2, 20)), "28 x 28 images, got 20 x 20"),
        "one image more": (idx(random_images(3)), "3 images and 2 labels"),
    }


@pytest.mark.parametrize("where", ["data_dir", "archive", "cache"])
@pytest.mark.parametrize("kind", damaged_images())
def test_broken_images_are_an_error_wherever_they_lie(tmp_path, kind, where):
    content, words = damaged_images()[kind]
    files = emnist_files("digits", "train", random_images(2), [0, 1])
    files[IMAGES.format("digits", "train")] = content
    if where == "archive":
        files = {"gzip.zip": zipped(files)}
    write(tmp_path / "cache/jdiff/emnist", files)
    data_dir = None if where == "cache" else tmp_path / "cache/jdiff"
    with pytest.raises(DataError, match=words):
        data.emnist("digits", data_dir=data_dir)


def test_a_set_without_images_is_an_error(tmp_path):
    write_digits(tmp_path, np.zeros((0, 28, 28), np.uint8), [])
    with pytest.raises(DataError, match="at least one image"):
        data.emnist("digits", data_dir=tmp_path)


def test_broken_archives_are_errors(tmp_path):
    whole = zipped(emnist_files("digits", "train", random_images(2), [0, 1]))
    other = zipped(emnist_files("letters", "train", random_images(2), [1, 2]))
    for content, words in (
        (whole[:-30], "whole .zip file, got a truncated one"),
        (b"<html>Moved</html>", "whole .zip file, got what looks like a web page"),
        (b"", "whole .zip file, got an empty file"),
        (other, "must hold emnist-digits-train-images"),
    ):
        write(tmp_path, {"gzip.zip": content})
        with pytest.raises(DataError, match=words):
            data.emnist("digits", data_dir=tmp_path)


def test_unknown_names_are_errors_that_list_the_known_ones():
    known = "byclass, bymerge, balanced, letters, digits, mnist, got 'cyrillic'"
    with pytest.raises(DataError, match=known):
        data.emnist("cyrillic")
    for read in (data.emnist, data.mnist, partial(data.load, "glyphs")):
        with pytest.raises(DataError, match="train, test, got 'dev'"):
            read(split="dev")
    for source in ("emnist", "emnist/", "fashion", "", "letters.npy"):
        with pytest.raises(DataError, match=re.escape(f"got {source!r}")):
            data.load(source)


# .npz files


def save(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def test_npz_with_labels(tmp_path):
    images, labels = random_images(3), np.array([2, 0, 2])
    path = save(tmp_path / "a.npz", images=images, labels=labels, chars="xyz")
    got = data.load(path)
    np.testing.assert_array_equal(got.images[..., 0], images)
    assert got.classes == "xyz" and got.labels.tolist() == [2, 0, 2]
    assert got.labels.dtype == np.int32
    path = save(tmp_path / "b.npz", images=images, labels=labels, chars=list("xyz"))
    assert data.load(path).classes == "xyz"
    path = save(tmp_path / "c.npz", images=images, labels=np.array([0, 10, 36]))
    got = data.load(path)
    assert "".join(got.classes[i] for i in got.labels) == "0Aa"


def test_npz_as_jdiff_sample_writes_it(tmp_path):
    chars = np.array(list("aA3a"))
    images = np.zeros((4, 9, 8, 3), np.uint8)
    got = data.load(save(tmp_path / "a.npz", images=images, chars=chars))
    assert got.images.shape == (4, 9, 8, 3) and got.classes == "3Aa"
    assert [got.classes[i] for i in got.labels] == list("aA3a")


def test_broken_npz_files_are_errors(tmp_path):
    images, labels = random_images(3), np.arange(3)
    nan = np.full((3, 28, 28), np.nan, np.float32)
    for words, arrays in (
        ("images as uint8 .* got none", {"labels": labels}),
        (r"images as uint8 .* got float32 \[3, 28, 28\]", {"images": nan}),
        ("images as uint8", {"images": images[0], "labels": labels}),
        ("labels or chars", {"images": images}),
        ("labels as integers", {"images": images, "labels": labels / 2}),
        ("labels as integers", {"images": images, "labels": labels[None]}),
        ("3 images and 2 labels", {"images": images, "labels": labels[:2]}),
        ("62 classes", {"images": images, "labels": labels + 60}),
        ("got -1 to 1", {"images": images, "labels": labels - 1}),
        ("distinct", {"images": images, "labels": labels, "chars": "aba"}),
        ("distinct", {"images": images, "labels": labels, "chars": 7}),
        ("one character", {"images": images, "chars": ["a", "b", "cd"]}),
        ("one character", {"images": images, "chars": labels}),
        ("3 images and 2 labels", {"images": images, "chars": ["a", "b"]}),
        ("at least one", {"images": images[:0], "labels": labels[:0]}),
    ):
        with pytest.raises(DataError, match=words):
            data.load(save(tmp_path / "a.npz", **arrays))
    whole = (tmp_path / "a.npz").read_bytes()
    for content in (whole[:200], b"", b"<html>", b"\x80\x04K\x01."):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(DataError, match="must be an .npz file of plain arrays"):
            data.load(str(tmp_path / "a.npz"))
    with pytest.raises(DataError, match="must be an existing .npz file"):
        data.load(str(tmp_path / "nothing.npz"))
    with pytest.raises(DataError, match="split must be train"):
        data.load(str(tmp_path / "a.npz"), split="test")


class Trap:
    """Leaves a trace if it is ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path):
    trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
    with pytest.raises(DataError, match="a plain array, got object"):
        data.load(save(tmp_path / "a.npz", images=trap, labels=trap))
    assert not (tmp_path / "sprung").exists()


# Sets that tensorflow-datasets has prepared


def prepare(tfds, root, config, images, labels):
    """Writes a set as TFDS's own EMNIST builder does (which needs TensorFlow)."""
    from PIL import Image

    def png(image):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "png")
        return file.getvalue()

    class Emnist(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("3.1.0")
        BUILDER_CONFIGS = (tfds.core.BuilderConfig(name=config),)

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(28, 28, 1)),
                "label": tfds.features.ClassLabel(num_classes=62),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield i, {"image": png(image.T), "label": label}

    builder = Emnist(data_dir=root, file_format="array_record")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
    return Path(builder.data_dir)


def test_a_prepared_set_comes_out_upright(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("array_record")
    images = random_images(5)
    for config, first in (("byclass", 0), ("letters", 1)):
        prepare(tfds, tmp_path, config, images, list(range(first, first + 5)))
        got = data.emnist(config, data_dir=tmp_path)
        # TFDS shuffles; the labels tell which image is which.
        assert sorted(got.labels.tolist()) == list(range(5))
        np.testing.assert_array_equal(got.images[..., 0], images[got.labels])


def test_broken_prepared_sets_are_errors(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("array_record")
    folder = prepare(tfds, tmp_path, "byclass", random_images(2), [0, 1])
    with pytest.raises(DataError, match="whole test set"):
        data.emnist("byclass", "test", tmp_path)
    info = folder / "dataset_info.json"
    written = info.read_text()
    info.write_text(written.replace('"array_record"', '"tfrecord"'))
    with pytest.raises(DataError, match="only TensorFlow reads"):
        data.emnist("byclass", "train", tmp_path)
    info.write_text(written)
    (record,) = folder.glob("*array_record*")
    record.write_bytes(record.read_bytes()[:100])
    with pytest.raises(DataError, match="must be a whole train set"):
        data.emnist("byclass", "train", tmp_path)
    info.unlink()
    with pytest.raises(DataError, match="must be a whole train set"):
        data.emnist("byclass", "train", tmp_path)


# Downloads, from a server on this machine


@pytest.fixture
def server(monkeypatch):
    """TFDS's addresses led to a local server: `publish` a file, `serve` another one."""
    tfds = pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.core.download import checksums

    served = {}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            content, length = served.get(self.path, (b"gone", 4))
            self.send_response(200 if self.path in served else 404)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            return content

        def do_GET(self):
            self.wfile.write(self.do_HEAD())

        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{http.server_port}/"
    monkeypatch.setattr(tfds.image_classification.EMNIST, "URL", root + "gzip.zip")
    monkeypatch.setattr(tfds.image_classification.MNIST, "URL", root)

    class Server:
        def serve(self, name, content, length=None):
            served["/" + name] = (content, len(content) if length is None else length)

        def publish(self, name, content):
            digest = hashlib.sha256(content).hexdigest()
            info = checksums.UrlInfo(len(content), digest, name)
            monkeypatch.setitem(checksums.get_all_url_infos(), root + name, info)
            self.serve(name, content)

        def stop(self):
            http.shutdown()
            http.server_close()

    server = Server()
    yield server
    server.stop()


def files_in(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_emnist_is_downloaded_once(tmp_path, server):
    images = random_images(3)
    files = emnist_files("letters", "train", images, [1, 26, 2])
    server.publish("gzip.zip", zipped(files))
    got = data.emnist("letters")
    np.testing.assert_array_equal(got.images[..., 0], images)
    assert "".join(got.classes[i] for i in got.labels) == "AZB"
    assert files_in(tmp_path / "cache/jdiff") == {"emnist/gzip.zip"}
    server.stop()
    assert data.emnist("letters").labels.tolist() == [0, 25, 1]


def test_mnist_is_downloaded(tmp_path, server):
    for stem, num in (("train", 4), ("t10k", 2)):
        server.publish(f"{stem}-images-idx3-ubyte.gz", idx(random_images(num)))
        server.publish(f"{stem}-labels-idx1-ubyte.gz", idx(np.arange(num)))
    assert len(data.load("mnist", "test").labels) == 2
    assert len(data.load("mnist", "train").labels) == 4
    assert len(files_in(tmp_path / "cache/jdiff/mnist")) == 4


def test_a_failed_download_leaves_nothing_and_starts_anew(tmp_path, server):
    whole = zipped(emnist_files("digits", "train", random_images(3), [1, 2, 3]))
    server.publish("gzip.zip", whole)
    changed = bytes([whole[0] ^ 1]) + whole[1:]
    for content, length, words in (
        (changed, None, "checksum"),
        (b"<html>Moved</html>", None, "checksum"),
        (whole[:500], len(whole), "gzip.zip must be reachable"),
        (whole[:500], None, "checksum"),
    ):
        server.serve("gzip.zip", content, length)
        with pytest.raises(DataError, match=words):
            data.emnist("digits")
        assert files_in(tmp_path) == set()
    server.serve("gzip.zip", whole)
    assert data.emnist("digits").labels.tolist() == [1, 2, 3]


def test_a_file_without_a_published_checksum_is_not_downloaded(tmp_path, server):
    server.serve(
        "gzip.zip", zipped(emnist_files("digits", "train", random_images(1), [1]))
    )
    with pytest.raises(DataError, match="Missing checksums"):
        data.emnist("digits")
    assert files_in(tmp_path) == set()


def test_one_bad_file_of_mnist_keeps_the_others_out(tmp_path, server):
    for stem in ("train", "t10k"):
        server.publish(f"{stem}-images-idx3-ubyte.gz", idx(random_images(2)))
        server.publish(f"{stem}-labels-idx1-ubyte.gz", idx([0, 1]))
    server.serve("t10k-labels-idx1-ubyte.gz", idx([1, 1]))
    with pytest.raises(DataError, match="checksum"):
        data.mnist("train")
    assert files_in(tmp_path) == set()


def test_no_network_is_an_error_at_once(tmp_path, server):
    server.publish("gzip.zip", b"")
    server.stop()
    with pytest.raises(DataError, match="must be reachable .* by hand"):
        data.emnist("digits")


def test_a_cache_that_cannot_be_made_is_an_error(tmp_path, server):
    server.publish("gzip.zip", b"")
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="got NotADirectoryError"):
        data.emnist("digits")


def test_what_a_killed_download_left_is_neither_read_nor_kept(tmp_path, server):
    whole = zipped(emnist_files("digits", "train", random_images(1), [7]))
    server.publish("gzip.zip", whole)
    cache = tmp_path / "cache/jdiff"
    write(cache / "download-killed", {"gzip.zip": whole[:100]})
    os.utime(cache / "download-killed", (0, 0))
    assert data.emnist("digits").labels.tolist() == [7]
    assert files_in(cache) == {"emnist/gzip.zip"}


def test_without_tensorflow_datasets_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    command = re.escape("pip install 'jdiffusion[train]'")
    for call in (data.mnist, data.emnist):
        with pytest.raises(DataError, match=command):
            call()


def test_importing_the_module_needs_neither_datasets_nor_fonts():
    # TensorFlow must not even be looked for: where it is installed it takes seconds.
    code = """if True:
        import sys
        for name in ("tensorflow", "tensorflow_datasets", "matplotlib"):
            sys.modules[name] = None
        import jdiff.data
    """
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Synthetic glyphs


@pytest.fixture(scope="module")
def glyphs():
    pytest.importorskip("matplotlib")
    return data.glyphs(num_per_char=10)


def boxes(images):
    """First and last row and column with ink, [N, 4]."""
    ink = images[..., 0] > 64
    rows, columns = ink.any(2), ink.any(1)
    ends = [(a.argmax(1), 27 - a[:, ::-1].argmax(1)) for a in (rows, columns)]
    return np.stack([*ends[0], *ends[1]], axis=1)


def test_glyphs_are_sorted_by_class(glyphs):
    assert glyphs.classes == data.EMNIST_CHARS
    assert glyphs.images.shape == (620, 28, 28, 1) and glyphs.images.dtype == np.uint8
    assert glyphs.labels.tolist() == np.repeat(np.arange(62), 10).tolist()


def test_glyphs_fill_a_box_of_22_in_the_middle(glyphs):
    top, bottom, left, right = boxes(glyphs.images).T
    side = np.maximum(bottom - top, right - left) + 1
    # The blur widens a stroke by up to a pixel on either side.
    assert side.min() >= 20 and side.max() <= 24
    for middle in ((top + bottom) / 2, (left + right) / 2):
        assert np.abs(middle - 13.5).max() <= 1.5


def test_a_glyph_depends_on_seed_character_and_number_alone():
    pytest.importorskip("matplotlib")
    many = data.glyphs(4, seed=3, chars="aQ7").images.reshape(3, 4, 28, 28)
    few = data.glyphs(2, seed=3, chars="7a").images.reshape(2, 2, 28, 28)
    np.testing.assert_array_equal(few[0], many[2, :2])
    np.testing.assert_array_equal(few[1], many[0, :2])
    other = data.glyphs(2, seed=4, chars="7a").images.reshape(2, 2, 28, 28)
    assert all((few[i, j] != other[i, j]).any() for i in (0, 1) for j in (0, 1))
    assert (few[0, 0] != few[0, 1]).any()


def test_characters_do_not_share_their_pens():
    pytest.importorskip("matplotlib")
    ink = data.glyphs(50, chars="O0").images.reshape(2, 50, -1).mean(axis=-1)
    assert abs(np.corrcoef(ink)[0, 1]) < 0.5


def test_every_printable_ascii_character_can_be_drawn():
    pytest.importorskip("matplotlib")
    chars = "".join(map(chr, range(32, 127)))
    images = data.glyphs(2, chars=chars).images.reshape(95, -1)
    ink = images.max(axis=1)
    assert ink[0] == 0 and ink[1:].min() > 128  # the first one is the space
    assert len(np.unique(images, axis=0)) == 95
    stop, letter = (images[chars.index(char)].mean() for char in ".E")
    assert stop < letter / 3


def test_the_nearest_glyph_of_another_seed_is_mostly_the_same_character(glyphs):
    other = data.glyphs(10, seed=1)
    a, b = (np.float32(d.images.reshape(620, -1)) for d in (glyphs, other))
    distances = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
    # 62 classes, with pairs that share their shape: chance is 1.6 percent.
    hits = (other.labels[distances.argmin(1)] == glyphs.labels).mean()
    assert hits > 0.4


def test_the_test_glyphs_are_not_the_training_glyphs(monkeypatch):
    asked = []
    monkeypatch.setattr(data, "glyphs", lambda **kwargs: asked.append(kwargs))
    data.load("glyphs")
    data.load("glyphs", "test")
    assert asked[0] != asked[1]


def test_bad_arguments_of_glyphs_are_errors():
    for kwargs, words in (
        ({"num_per_char": 0}, "num_per_char must be at least 1, got 0"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"chars": ""}, "distinct printable ASCII"),
        ({"chars": "aa"}, "distinct printable ASCII"),
        ({"chars": "é"}, "distinct printable ASCII"),
        ({"chars": "a\n"}, "distinct printable ASCII"),
    ):
        with pytest.raises(DataError, match=words):
            data.glyphs(**kwargs)


# Real data


@pytest.fixture(scope="module")
def byclass():
    if not Path(REAL_DATA or "").joinpath("emnist/gzip").is_dir():
        pytest.skip("JDIFF_DATA_DIR has no emnist/gzip")
    return data.emnist("byclass", "test", REAL_DATA)


def mean_of(dataset, char):
    """The mean image of a class, [28, 28]."""
    chosen = dataset.labels == dataset.classes.index(char)
    return dataset.images[chosen, ..., 0].mean(axis=0)


def assert_upright(dataset):
    """Where the ink of some letters lies, which no flip or transpose leaves true."""
    t, l_, j, f = (mean_of(dataset, char) for char in "TLJF")
    assert t[:10].sum() > 1.2 * t[:, :10].sum()
    assert t[:10].sum() > 1.2 * t[18:].sum()
    assert l_[18:].sum() > 1.2 * l_[:10].sum()
    assert l_[:, :14].sum() > l_[:, 14:].sum()
    assert j[18:, :14].sum() > 1.2 * j[18:, 14:].sum()
    assert f[:10].sum() > f[18:].sum()


def test_glyphs_are_upright(glyphs):
    assert_upright(glyphs)


@needs_real_data
def test_real_emnist_is_upright(byclass):
    assert_upright(byclass)
    assert mean_of(byclass, "7")[:10].sum() > mean_of(byclass, "7")[18:].sum()


@needs_real_data
def test_real_emnist_is_whole(byclass):
    files = Path(REAL_DATA) / "emnist/gzip"
    with gzip.open(files / IMAGES.format("byclass", "test")) as file:
        header = file.read(8)
    assert len(byclass.images) == int.from_bytes(header[4:], "big") >= 16_054
    assert set(byclass.labels.tolist()) == set(range(62))
    lines = (files / "emnist-byclass-mapping.txt").read_text().split("\n")
    mapping = {int(a): chr(int(b)) for a, b in (x.split() for x in lines if x)}
    assert mapping == dict(enumerate(byclass.classes))


@needs_real_data
def test_glyphs_have_the_ink_of_emnist(byclass, glyphs):
    real, drawn = byclass.images.mean() / 255, glyphs.images.mean() / 255
    assert abs(drawn / real - 1) < 0.15


def sides(images):
    """The larger of height and width at half ink, [N]."""
    ink = images[..., 0] > 127
    rows, columns = ink.any(2), ink.any(1)
    height, width = (28 - a.argmax(1) - a[:, ::-1].argmax(1) for a in (rows, columns))
    return np.maximum(height, width)


def thickness(images):
    """Of the strokes in pixels: twice area over total variation, [N]."""
    ink = images[..., 0] / 255
    slope_y, slope_x = np.diff(ink[:, :, 1:], axis=1), np.diff(ink[:, 1:], axis=2)
    return 2 * ink.sum((1, 2)) / np.hypot(slope_y, slope_x).sum((1, 2))


def contrast(images):
    """The steepest edges, per pixel, [N]."""
    ink = images[..., 0] / 255
    slope_y, slope_x = np.diff(ink[:, :, 1:], axis=1), np.diff(ink[:, 1:], axis=2)
    return np.percentile(np.hypot(slope_y, slope_x), 98, axis=(1, 2))


@needs_real_data
@pytest.mark.parametrize("measure", [sides, thickness, contrast])
def test_glyphs_have_the_box_the_pens_and_the_blur_of_emnist(byclass, glyphs, measure):
    real = [measure(byclass.images[byclass.labels == k]).mean() for k in range(62)]
    drawn = measure(glyphs.images)
    assert abs(np.median(drawn) / np.median(real) - 1) < 0.1


@needs_real_data
def test_glyphs_are_as_black_as_emnist(byclass, glyphs):
    for images in (byclass.images, glyphs.images):
        assert (images.max(axis=(1, 2, 3)) == 255).mean() > 0.99


@needs_real_data
def test_real_mnist_has_its_known_counts():
    if not (Path(REAL_DATA) / "mnist").is_dir():
        pytest.skip("JDIFF_DATA_DIR has no mnist")
    train, test = data.mnist("train", REAL_DATA), data.mnist("test", REAL_DATA)
    # Y. LeCun's counts of the digits 0 to 9.
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(train.labels).tolist() == counts
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(test.labels).tolist() == counts
    seven = mean_of(train, "7")
    assert seven[:12].sum() > seven[16:].sum() and train.labels[:3].tolist() == [
        5,
        0,
        4,
    ]
