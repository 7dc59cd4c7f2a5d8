"""Streams of batches, and runs on data that do not fit on the device."""

import io
import json
import shutil

import numpy as np
import pytest
from cases import save_still_network
from commands import TINY, linear_network, losses_of, train_linear
from data.test_folder import random_image, truncate, write
from PIL import Image
from safetensors.numpy import load_file

import jdiff
from jdiff import cli, data
from jdiff.data import DataError
from jdiff.runs import feed

pytest.importorskip("grain", reason="needs jdiffusion[train]")


def numbered(num_images):
    """A source whose images say their row."""
    images = np.arange(num_images, dtype=np.uint8)[:, None, None, None]
    dataset = data.Dataset(images, np.arange(num_images) % 3, "abc")
    return data.from_dataset(dataset)


def rows_of(stream, num_batches):
    """Rows [num_batches, B] of what comes next, whose labels are those of the rows."""
    batches = [next(stream) for _ in range(num_batches)]
    rows = np.stack([images[:, 0, 0, 0] for images, _ in batches])
    np.testing.assert_array_equal(rows % 3, [labels for _, labels in batches])
    return rows


# Order


@pytest.mark.parametrize(("num_images", "batch_size"), [(30, 5), (32, 7), (5, 8)])
def test_an_epoch_is_every_image_once(num_images, batch_size):
    stream = data.stream(numbered(num_images), batch_size, seed=0)
    rows = rows_of(stream, 3 * -(-num_images // batch_size)).ravel()
    epochs = [rows[k * num_images :][:num_images] for k in range(3)]
    for epoch in epochs[: len(rows) // num_images]:
        assert sorted(epoch) == list(range(num_images))
    assert (epochs[0] != epochs[1]).any()


def test_the_order_depends_on_seed_and_epoch_alone():
    first, again, other = (data.stream(numbered(50), 10, s) for s in (3, 3, 4))
    rows = rows_of(first, 10)
    np.testing.assert_array_equal(rows, rows_of(again, 10))
    # Nor is an epoch of one seed that of another, one earlier.
    epochs = [rows[:5], rows[5:], *np.split(rows_of(other, 10), 2)]
    assert len({epoch.tobytes() for epoch in epochs}) == 4


@pytest.mark.parametrize("num_processes", [2, 4])
def test_processes_share_each_batch_in_order(num_processes):
    whole = rows_of(data.stream(numbered(24), 8, seed=1), 6)
    parts = [
        rows_of(data.stream(numbered(24), 8, 1, index, num_processes), 6)
        for index in range(num_processes)
    ]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    # So they are disjoint in an epoch, and cover it.
    epoch = [set(part[:3].ravel().tolist()) for part in parts]
    assert sum(map(len, epoch)) == len(set.union(*epoch)) == 24


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_stream_goes_on_from_its_state(num_processes):
    stream, other = (
        data.stream(numbered(20), 8, 0, num_processes - 1, num_processes)
        for _ in range(2)
    )
    rows_of(stream, 7)
    state = json.loads(json.dumps(stream.get_state()))
    rows_of(other, 2)
    other.set_state(state)
    np.testing.assert_array_equal(rows_of(other, 9), rows_of(stream, 9))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((8, 0, 0, 3), "multiple of the number of processes, 3, got 8"),
        ((0, 0, 0, 1), "multiple .* got 0"),
        ((8, 0, 2, 2), r"process_index must be in \[0, 2\), got 2"),
    ],
)
def test_parts_that_there_are_not_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        data.stream(numbered(9), *given)


@pytest.mark.parametrize("error", [OSError("disk\nis gone"), MemoryError()])
def test_a_thread_that_dies_is_an_error_in_a_sentence(error):
    def read(rows):
        if 17 in rows:
            raise error
        return numbered(20).read(rows)

    stream = data.stream(numbered(20)._replace(read=read), 4, seed=0)
    with pytest.raises(DataError, match=type(error).__name__) as caught:
        rows_of(stream, 5)
    assert "\n" not in str(caught.value)


# Sets that tensorflow-datasets has prepared


def prepare(root, images, names=("cat", "dog"), config=None, first_label=0):
    """Writes a set as TFDS does, without TensorFlow; labels alternate."""
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("array_record")
    label = tfds.features.ClassLabel(names=names) if names else np.int64

    def png(image):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "png")
        return file.getvalue()

    class Pets(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self):
            features = {"image": tfds.features.Image(shape=(None, None, 3))}
            features = tfds.features.FeaturesDict(features | {"label": label})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for k, image in enumerate(images):
                yield k, {"image": png(image), "label": k % 2 + first_label}

    builder = Pets(data_dir=root, file_format="array_record")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )


def test_prepared_sets_that_are_damaged_are_refused(tmp_path):
    prepare(tmp_path, [random_image(0)] * 2)
    (record,) = tmp_path.rglob("*array_record*")
    record.write_bytes(record.read_bytes()[:100])
    with pytest.raises(DataError, match="must be a whole train set"):
        data.open_source("tfds:pets", data_dir=tmp_path)


def test_images_without_a_label_are_refused(tmp_path):
    prepare(tmp_path, [random_image(0)] * 2, first_label=-1)
    with pytest.raises(DataError, match="must hold labels of 2 classes .* got -1 to 0"):
        data.load("tfds:pets", data_dir=tmp_path)


@pytest.mark.parametrize("config", [None, "small"])
def test_a_prepared_set_is_read_by_its_name(tmp_path, config):
    images = np.stack([random_image(k) for k in range(6)])
    prepare(tmp_path, images, config=config)
    name = f"tfds:pets/{config}" if config else "tfds:pets"
    got = data.load(name, data_dir=tmp_path)
    assert got.classes == ("cat", "dog")
    # TFDS shuffles; the pixels tell which image is which.
    places = [[(image == x).all() for x in images].index(True) for image in got.images]
    assert sorted(places) == list(range(6))
    assert got.labels.tolist() == [place % 2 for place in places]
    source = data.open_source(name, data_dir=tmp_path)
    some, _ = next(data.stream(source, 6, seed=0))
    assert sorted(map(bytes, some)) == sorted(map(bytes, images))
    with pytest.raises(DataError, match="must be a whole test set"):
        data.open_source(name, "test", data_dir=tmp_path)


def test_sizes_of_prepared_sets_follow_the_rules_of_folders(tmp_path):
    prepare(tmp_path, [np.full((9, 9, 3), 200, np.uint8)] * 2)
    images = data.load("tfds:pets", data_dir=tmp_path).images
    assert images.shape == (2, 12, 12, 3) and (images[:, 1:10, 1:10] == 200).all()


def test_sets_that_are_not_prepared_say_how(tmp_path, monkeypatch):
    monkeypatch.setenv("JDIFF_DATA_DIR", str(tmp_path))
    words = "must be prepared in .* as array_record.*download_and_prepare"
    for name in ("pets", "pets/small", ""):
        with pytest.raises(DataError, match=words):
            data.load(f"tfds:{name}")
    prepare(tmp_path, [random_image(0)] * 2, names=None)
    with pytest.raises(DataError, match="labels of named classes"):
        data.load("tfds:pets")
    info = next(tmp_path.rglob("dataset_info.json"))
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(DataError, match="labels of named|only TensorFlow reads"):
        data.load("tfds:pets")


# Runs


def write_pets(root, size):
    """Writes 200 coloured images of two labels."""
    for k in range(200):
        image = random_image(k, size, size)
        write(root / ("cat" if k % 2 else "dog") / f"{k}.png", image)
    return root


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    return write_pets(tmp_path_factory.mktemp("pets"), 8)


@pytest.fixture
def streamed(monkeypatch):
    monkeypatch.setattr(feed, "MAX_BYTES_ON_DEVICE", 1000)
    monkeypatch.setattr(feed, "SECONDS_TIMED", 0.1)


def sample(monkeypatch, weights, out, *argv):
    monkeypatch.setattr(jdiff.models.model, "make_unet", linear_network)
    options = ["--weights", weights, "--num", 2, "--steps", 2, "--out", out, *argv]
    cli.main(["sample", *map(str, options)])


@pytest.mark.slow
def test_a_folder_trains_and_is_sampled_from(tmp_path, monkeypatch, capsys):
    pets, out = write_pets(tmp_path / "pets", 32), tmp_path / "run"
    options = ["--data", f"folder:{pets}", *TINY, "--steps", 10, "--out", out]
    assert train_linear(*options)[0] == 0
    assert Image.open(out / "samples.png").mode == "RGB"
    weights = out / "weights.safetensors"
    sample(monkeypatch, weights, tmp_path / "grid.png")
    image = Image.open(tmp_path / "grid.png")
    assert image.mode == "RGB" and image.size == (2 * 34 + 2, 2 * 34 + 2)
    sample(monkeypatch, weights, tmp_path / "all.npz")
    sample(monkeypatch, weights, tmp_path / "dogs.npz", "--chars", "dog")
    every, dogs = (np.load(tmp_path / f"{name}.npz") for name in ("all", "dogs"))
    assert every["images"].shape == (4, 32, 32, 3)
    assert every["chars"].tolist() == ["cat", "cat", "dog", "dog"]
    assert dogs["chars"].tolist() == ["dog", "dog"]
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        sample(monkeypatch, weights, tmp_path / "x.npz", "--chars", "cow")
    assert "draws cat, dog" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main(["write", "cat", "--weights", str(weights)])
    assert "must draw grey images" in capsys.readouterr().err


def test_a_streamed_run_goes_on_bit_for_bit(pets, tmp_path, streamed):
    run, whole = tmp_path / "run", tmp_path / "whole"
    options = ["--data", f"folder:{pets}", *TINY, "--steps", 40]
    assert train_linear(*options, "--out", run, stop_at=10)[0] == 0
    (facts,) = run.glob("checkpoints/10/facts/*metadata*")
    position = {"num_images": 200, "stream": {"next_index": 10}}
    assert json.loads(facts.read_text())["position"] == position
    assert train_linear("--resume", "--out", run)[0] == 0
    assert train_linear(*options, "--out", whole)[0] == 0
    assert losses_of(run) == losses_of(whole) and len(losses_of(run)) == 4
    got, expected = (load_file(out / "weights.safetensors") for out in (run, whole))
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name])


def test_other_data_than_the_run_began_with_are_refused(pets, tmp_path, streamed):
    copy, out = tmp_path / "pets", tmp_path / "run"
    shutil.copytree(pets, copy)
    options = ["--data", f"folder:{copy}", *TINY, "--steps", 40, "--out", out]
    assert train_linear(*options, stop_at=10)[0] == 0
    (copy / "cat" / "1.png").unlink()
    code, _, error = train_linear("--resume", "--out", out)
    assert code == 2 and "200 images, got 199" in error


def test_a_file_that_breaks_a_run_is_named(pets, tmp_path, streamed):
    copy, out = tmp_path / "pets", tmp_path / "run"
    shutil.copytree(pets, copy)
    truncate(copy / "dog" / "half.jpg")
    options = ["--data", f"folder:{copy}", *TINY, "--steps", 40, "--out", out]
    code, _, error = train_linear(*options)
    assert code == 2 and "half.jpg must be a whole image file" in error
    # It is known beforehand, if it is asked for.
    assert train_linear(*options[:-1], tmp_path / "skipped", "--skip-broken")[0] == 0


def test_a_dry_run_says_what_the_stream_delivers(pets, tmp_path, streamed):
    options = ["--data", f"folder:{pets}", *TINY, "--out", tmp_path / "run"]
    code, text, _ = train_linear(*options, "--dry-run")
    assert code == 0 and not list(tmp_path.iterdir())
    lines = dict(line.split(": ", 1) for line in text.splitlines())
    how, speed = lines["data"].split(", ", 1)
    assert how == "streamed" and int(speed.split(" ")[0].replace(",", "")) > 0
    assert " 25 steps of " in lines["time per epoch"]  # 200 images, 8 at a time


@pytest.mark.parametrize("data_name", ["folder:nowhere", "tfds:nothing"])
def test_data_that_are_missing_leave_no_run(tmp_path, data_name):
    code, _, error = train_linear("--data", data_name, "--out", tmp_path / "run")
    assert code == 2 and "must be" in error and not (tmp_path / "run").exists()


def test_names_survive_on_disk_and_are_not_written_with(tmp_path, capsys):
    path = tmp_path / "pets.safetensors"
    save_still_network(path)
    params, description = jdiff.storage.load_weights(path)
    jdiff.storage.save_weights(path, params, description | {"chars": ["cat", "dog"]})
    assert jdiff.load_model(path).classes == ("cat", "dog")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["write", "cat", "--weights", str(path)])
    assert "must draw characters, to write, got cat, dog" in capsys.readouterr().err
