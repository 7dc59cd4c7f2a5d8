"""The benchmark: who is compared with whom, the report, and the command."""

import functools
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import jdiff
from jdiff import data, evaluation, images, models, storage
from jdiff.cli import main
from jdiff.data import DataError, Dataset
from jdiff.evaluation import (
    Judge,
    choose_labels,
    draw,
    evaluate,
    merged_labels,
    nearest,
    reference_splits,
)

CHARS = "0123AbXq"


def read_pixels(params, images):
    """A judge for whom the brightest of an image's first 47 pixels is its class."""
    logits = images.reshape(len(images), -1)[:, :47]
    return logits, logits[:, 10:18]


FAKE = Judge(read_pixels, {})
JUDGES = {"fake": FAKE}


def make_split(num_per_char, seed, chars=CHARS, illegible=0.2):
    """Noise; the fake judge reads it as its character, or as any for a share of it."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(chars), dtype=np.int32), num_per_char)
    pixels = rng.integers(0, 250, (len(labels), 28 * 28), np.uint8)
    read = np.where(
        rng.random(len(labels)) < illegible,
        rng.integers(0, len(chars), len(labels)),
        labels,
    )
    pixels[np.arange(len(labels)), merged_labels(np.array(list(chars))[read])] = 255
    return Dataset(pixels.reshape(-1, 28, 28, 1), labels, chars)


TRAIN, TEST = make_split(40, 1), make_split(30, 2)
SAMPLES = make_split(12, 3, illegible=0.4)


def take(split, rows):
    return Dataset(split.images[rows], split.labels[rows], split.classes)


def plain(result):
    return evaluation.as_dict(result) | {"neighbours": result.neighbours.tolist()}


@pytest.fixture(scope="module")
def result():
    return evaluate(JUDGES, SAMPLES, TRAIN, TEST)


# The evaluation.


def test_an_evaluation_depends_on_its_seed_alone(result):
    assert plain(evaluate(JUDGES, SAMPLES, TRAIN, TEST)) == plain(result)
    other = evaluate(JUDGES, SAMPLES, TRAIN, TEST, seed=1)
    distances = [
        x.real.distances["fake"].frechet_distance.value for x in (other, result)
    ]
    assert distances[0] != distances[1]
    fractions = [x.samples.legibility["fake"].per_class for x in (other, result)]
    assert fractions[0] == fractions[1]


def test_the_figures_are_those_of_the_metrics(result):
    counts = dict.fromkeys(CHARS, 12)
    reading = evaluation.read_images(FAKE, SAMPLES.images)
    rows = draw(TRAIN, counts, 0)
    reference = evaluation.read_images(FAKE, TRAIN.images[rows]).features
    found, pair = result.samples.distances["fake"], (reading.features, reference)
    assert found.frechet_distance == evaluation.frechet_distance(*pair)
    assert found.direction_distance == evaluation.direction_distance(*pair)
    assert found.kernel_distance == evaluation.kernel_distance(*pair)
    assert found[3:] == evaluation.compare_manifolds(*pair)
    wanted = evaluation.chars_of(SAMPLES)
    expected = evaluation.legibility(
        evaluation.read_images(FAKE, SAMPLES.images), wanted, allowed=CHARS
    )
    found = result.samples.legibility["fake"]
    assert found == expected
    assert 0.5 < found.strict.value < 0.8
    # The looks are standardised by the reference.
    looks = [evaluation.appearance.measure_looks(TRAIN.images[rows])]
    looks.insert(0, evaluation.appearance.measure_looks(SAMPLES.images))
    mean, std = looks[1].mean(0), looks[1].std(0)
    distance = evaluation.frechet_distance(*((x - mean) / std for x in looks))
    found = result.samples.distances["looks"]
    assert found.frechet_distance == distance and found.direction_distance is None
    assert result.samples.appearance == evaluation.appearance.measure_appearance(
        SAMPLES.images, wanted, TRAIN.images[rows], evaluation.chars_of(TRAIN)[rows]
    )


def test_each_judge_has_its_say():
    """Another judge, who takes every image for a 0."""

    def sleep(params, images):
        logits, features = read_pixels(params, images)
        return 0.0 * logits, -features

    both = evaluate(JUDGES | {"asleep": Judge(sleep, {})}, SAMPLES, TRAIN, TEST)
    alone = evaluate(JUDGES, SAMPLES, TRAIN, TEST)
    assert both.samples.distances["fake"] == alone.samples.distances["fake"]
    assert both.samples.legibility["asleep"].strict.value == 1 / len(CHARS)
    precision = alone.samples.distances["fake"].precision
    assert both.samples.distances["asleep"].precision == precision
    assert list(both.real.distances) == ["fake", "asleep", "looks"]


def test_a_fast_evaluation_leaves_out_the_search_alone(result):
    fast = evaluate(JUDGES, SAMPLES, TRAIN, TEST, fast=True)
    assert fast.neighbours is None
    for figures, whole in zip(fast[:2], result[:2], strict=True):
        assert figures.copying is figures.distances["fake"].kernel_distance is None
        assert figures.appearance == whole.appearance
        assert figures.repeated == whole.repeated
        rest = evaluation.headline(whole)
        assert evaluation.headline(figures).items() <= rest.items()
    page = evaluation.picture(fast, SAMPLES, TRAIN)
    assert page.shape[1] < evaluation.picture(result, SAMPLES, TRAIN).shape[1]


def test_real_images_in_the_place_of_samples_reach_their_floor():
    rows = draw(TEST, dict.fromkeys(CHARS, 12), seed=0)
    result = evaluate(JUDGES, take(TEST, rows), TRAIN, TEST)
    found, floor = map(evaluation.headline, result[:2])
    assert found == floor
    assert evaluation.outside(*result[:2]) == []
    assert evaluation.worst_view(*result[:2])[1] == 1.0
    assert result.real.copying.nearer.value == pytest.approx(0.5)
    assert result.missing == ""


def test_missing_characters_are_named(result):
    few = evaluate(JUDGES, take(SAMPLES, SAMPLES.labels > 1), TRAIN, TEST)
    assert few.missing == "01"
    assert "missing characters of the reference: 01" in evaluation.format_table(few)
    assert "missing" not in evaluation.format_table(result)


def test_fractions_of_single_characters_are_over_all_test_images(result):
    wanted = evaluation.chars_of(TEST)
    every = evaluation.legibility(
        evaluation.read_images(FAKE, TEST.images), wanted, allowed=CHARS
    )
    found = result.real.legibility["fake"]
    assert found.per_class == every.per_class
    assert found.per_class_merged == every.per_class_merged
    assert result.num_real == dict.fromkeys(CHARS, 30)
    assert result.num_samples == dict.fromkeys(CHARS, 12)


def test_the_order_of_the_samples_does_not_matter(result):
    order = np.random.default_rng(0).permutation(len(SAMPLES.images))
    other = evaluate(JUDGES, take(SAMPLES, order), TRAIN, TEST)
    np.testing.assert_array_equal(other.neighbours, result.neighbours[order])
    found, expected = (evaluation.headline(x.samples) for x in (other, result))
    for name in found.keys() - {"pyramid"}:  # whose patches lie elsewhere
        assert found[name].value == pytest.approx(expected[name].value, rel=1e-5)
    assert found["pyramid"].value == pytest.approx(expected["pyramid"].value, rel=0.1)


def test_reference_and_real_have_as_many_of_each_character_as_the_samples():
    rows = np.r_[0:12, 12:14, 36:45]
    counts = Counter(evaluation.chars_of(take(SAMPLES, rows)).tolist())
    assert counts == {"0": 12, "1": 2, "3": 9}
    reference, real = evaluation.make_reference(JUDGES, counts, TRAIN, TEST)
    assert Counter(reference.chars.tolist()) == counts
    assert Counter(evaluation.chars_of(real).tolist()) == counts
    for drawn, split in ((reference.images, TRAIN), (real.images, TEST)):
        distances, places = nearest(drawn, split.images)
        assert not distances.any() and len(set(places[:, 0].tolist())) == len(drawn)


def test_copies_of_training_images_are_found():
    rows = np.random.default_rng(0).permutation(len(TRAIN.images))[:60]
    result = evaluate(JUDGES, take(TRAIN, rows), TRAIN, TEST)
    np.testing.assert_array_equal(result.neighbours, rows)
    assert result.samples.copying.nearer == (1.0, 1.0, 1.0)
    assert result.samples.copying.closest == (1.0, 1.0, 1.0)


def strict_of(result):
    return result.samples.legibility["fake"].strict.value


def digits_that_look_like_letters(num_per_char, seed):
    """Of 0, 1 and 2, which the judge takes for another class if it may."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3, dtype=np.int32), num_per_char)
    pixels = rng.integers(0, 99, (len(labels), 28 * 28), np.uint8)
    pixels[np.arange(len(labels)), labels] = 200
    pixels[:, 20] = 255
    return Dataset(pixels.reshape(-1, 28, 28, 1), labels, "012")


def test_a_reference_of_digits_makes_the_judge_read_digits():
    sets = [digits_that_look_like_letters(12, seed) for seed in range(3)]
    figures = evaluate(JUDGES, *sets)[:2]
    assert [f.legibility["fake"].strict.value for f in figures] == [1.0, 1.0]
    # Labels decide, not the table of classes: MNIST's may be EMNIST's 62.
    sets = [split._replace(classes=jdiff.data.EMNIST_CHARS) for split in sets]
    assert strict_of(evaluate(JUDGES, *sets)) == 1.0
    letters = make_split(1, 0, "012K")
    sets[1:] = [
        Dataset(
            np.concatenate([split.images, letters.images]),
            np.append(split.labels, [0, 1, 2, jdiff.data.EMNIST_CHARS.index("K")]),
            jdiff.data.EMNIST_CHARS,
        )
        for split in sets[1:]
    ]
    assert strict_of(evaluate(JUDGES, *sets)) == 0.0


def test_a_reference_may_hold_more_than_the_judge_knows():
    strange = [split._replace(classes="0123Ab!é") for split in (TRAIN, TEST)]
    samples = take(SAMPLES, SAMPLES.labels < 6)
    known = evaluate(JUDGES, samples, TRAIN, TEST)
    assert plain(evaluate(JUDGES, samples, *strange)).keys() == plain(known).keys()


# Its parts.


def test_rows_of_one_character_do_not_depend_on_the_others():
    alone = draw(TRAIN, {"b": 7}, seed=5)
    among = draw(TRAIN, {"X": 3, "b": 7, "0": 40}, seed=5)
    chars = evaluation.chars_of(TRAIN)
    np.testing.assert_array_equal(among[chars[among] == "b"], alone)
    assert Counter(chars[among].tolist()) == {"0": 40, "X": 3, "b": 7}
    assert "".join(chars[among]) == 40 * "0" + 3 * "X" + 7 * "b"
    assert len(set(among.tolist())) == 50
    assert (draw(TRAIN, {"b": 7}, seed=6) != alone).any()


def test_rows_are_drawn_again_where_there_are_too_few():
    rows = draw(TRAIN, {"b": 400}, seed=0)
    assert len(rows) == 400
    assert set(evaluation.chars_of(TRAIN)[rows]) == {"b"}


def test_a_character_that_the_reference_lacks_is_named():
    with pytest.raises(DataError, match=r"images of 'Z', got none: it has 0123AXbq\."):
        draw(TRAIN, {"A": 1, "Z": 2}, seed=0)


@pytest.mark.parametrize("num", [8, 80, 83])
def test_labels_are_equally_many_of_each_class(num):
    labels = choose_labels(CHARS, num, TRAIN)
    counts = np.bincount(labels, minlength=8)
    assert labels.dtype == np.int32 and len(labels) == num
    assert counts.max() - counts.min() <= (num % 8 > 0)
    np.testing.assert_array_equal(labels, np.sort(labels))


@pytest.mark.parametrize(
    ("num", "expected"),
    [(10, [5, 3, 2]), (7, [4, 2, 1]), (8, [4, 2, 2]), (1000, [500, 300, 200])],
)
def test_natural_labels_are_rounded_by_the_largest_remainder(num, expected):
    reference = Dataset(
        np.zeros((10, 28, 28, 1)), np.repeat([2, 0, 1], [5, 3, 2]), "qbA"
    )
    labels = choose_labels("Abq", num, reference, natural=True)
    counts = dict(zip("Abq", np.bincount(labels), strict=True))
    assert [counts[char] for char in "Aqb"] == expected


def test_natural_labels_leave_out_what_does_not_occur():
    labels = choose_labels("ZAY0", 50, TRAIN, natural=True)
    assert np.bincount(labels, minlength=4).tolist() == [0, 25, 0, 25]
    with pytest.raises(ValueError, match="images of XYZ, got none"):
        choose_labels("XYZ", 50, make_split(2, 0, "abc"), natural=True)


@pytest.mark.parametrize("num", [7, 0, -5])
def test_fewer_labels_than_classes_are_refused(num):
    with pytest.raises(ValueError, match=f"--num must be >= 8, .* got {num}"):
        choose_labels(CHARS, num, TRAIN)


@pytest.mark.parametrize("layout", ["sorted", "in turns", "random"])
def test_an_npz_file_is_halved_character_by_character(tmp_path, layout):
    labels = np.repeat(np.arange(4), [10, 10, 7, 2])
    if layout == "in turns":
        labels = np.tile(np.arange(4), 8)
    if layout == "random":
        labels = np.random.default_rng(0).permutation(labels)
    pixels = np.random.default_rng(1).integers(0, 256, (len(labels), 28, 28), np.uint8)
    path = str(tmp_path / "a.npz")
    np.savez(path, images=pixels, labels=labels, chars="AbX7")
    halves = reference_splits(path)
    found = [half.images[..., 0].reshape(-1, 784).tolist() for half in halves]
    assert sorted(found[0] + found[1]) == sorted(pixels.reshape(-1, 784).tolist())
    counts = [np.bincount(half.labels, minlength=4) for half in halves]
    assert np.abs(counts[0] - counts[1]).max() <= 1
    for half in halves:
        places = (half.images[:, None, ..., 0] == pixels).all((2, 3)).argmax(1)
        np.testing.assert_array_equal(half.labels, labels[places])


def test_an_unknown_reference_is_refused():
    with pytest.raises(DataError, match="emnist/NAME.*got 'cifar'"):
        reference_splits("cifar")


# Bad input, told before the judge reads.


def large(split):
    return split._replace(images=np.zeros((len(split.labels), 32, 32, 1), np.uint8))


def inverted(split):
    """Ink of 0 on paper of 255, a tenth of the pixels."""
    return split._replace(images=np.where(split.images > 225, 0, 255).astype(np.uint8))


def floats(split):
    return split._replace(images=split.images / np.float32(255))


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (
            (large(SAMPLES), TRAIN, TEST),
            r"the samples: .*28, 28.*got \[96, 32, 32, 1\]",
        ),
        ((SAMPLES, large(TRAIN), TEST), r"the training images: .*\[320, 32, 32, 1\]"),
        ((SAMPLES, TRAIN, large(TEST)), r"the test images: .*\[240, 32, 32, 1\]"),
        ((floats(SAMPLES), TRAIN, TEST), "the samples: .*uint8.*got float32"),
        (
            (SAMPLES._replace(classes="0123Abé!"), TRAIN, TEST),
            "0-9, A-Z, a-z.*'!', 'é'",
        ),
        ((SAMPLES._replace(classes="0123AbXZ"), TRAIN, TEST), "images of 'Z'"),
        ((SAMPLES, TRAIN, make_split(3, 0, "0123A")), "images of 'X'.*it has 0123A"),
        (
            (take(SAMPLES, np.arange(8)), TRAIN, TEST),
            r"the Frechet distance \(a covariance of 31 .*at least 32 samples, got 8",
        ),
        ((take(SAMPLES, np.arange(0)), TRAIN, TEST), "the samples: .*at least one"),
        ((inverted(SAMPLES), TRAIN, TEST), r"the samples must be ink.*255 - images\."),
        ((SAMPLES, inverted(TRAIN), TEST), "the training images must be ink"),
        ((SAMPLES, TRAIN, inverted(TEST)), "the test images must be ink.*inverted"),
        ((SAMPLES._replace(labels=SAMPLES.labels[1:]), TRAIN, TEST), "the samples.*95"),
        ((SAMPLES._replace(labels=SAMPLES.labels + 1), TRAIN, TEST), "the samples.*8"),
    ],
)
def test_bad_sets_are_refused_before_the_judge_reads(monkeypatch, sets, says):
    monkeypatch.delattr(evaluation.compare, "read_images")
    monkeypatch.delattr(evaluation.compare, "nearest")
    with pytest.raises(ValueError, match=says):
        evaluate(JUDGES, *sets)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match=r"seed must be >= 0, got -1\."):
        evaluate(JUDGES, SAMPLES, TRAIN, TEST, seed=-1)


# The report.


def test_the_table_holds_the_figures(result):
    table = evaluation.format_table(result)
    lines = {line[:25].strip(): line[25:] for line in table.splitlines()}
    samples, real = map(evaluation.headline, result[:2])
    for name, estimate in samples.items():
        numbers = lines[name].replace("*", " ").split()
        scale = 100 if numbers[0].endswith("%") else 1
        for column, found in ((0, estimate), (3, real[name])):
            printed = [float(x.strip("[,]%")) for x in numbers[column : column + 3]]
            expected = scale * np.array(found)
            np.testing.assert_allclose(printed, expected, rtol=0.01, atol=0.051)
        inside = real[name].low <= estimate.value <= real[name].high
        assert ("*" in lines[name]) == (not inside)
    assert "96 samples" in table and "96 real images" in table
    name, ratio = evaluation.worst_view(*result[:2])
    least = min(samples[f"precision, {view}"].value for view in ("fake", "looks"))
    assert f"{name}, {ratio:.1f} times its floor; least precision {least:.0%}" in table


def test_the_table_fits_a_terminal(result):
    wide = []
    for figures in result[:2]:
        read, found = figures.legibility["fake"], figures.distances["fake"]
        legibility = {"patch": read, "plain": read}
        looks = found._replace(direction_distance=None)
        distances = {"patch": found, "plain": found, "looks": looks}
        wide.append(figures._replace(legibility=legibility, distances=distances))
    for whole in (result, evaluation.Evaluation(*wide, *result[2:])):
        lines = evaluation.format_table(whole).splitlines()
        assert max(map(len, lines)) <= 80
        assert len(lines) <= 40


def test_the_worst_view_is_the_largest_ratio():
    rows = draw(TEST, dict.fromkeys(CHARS, 12), seed=0)
    real = take(TEST, rows)
    pale = real._replace(images=real.images // 2)
    result = evaluate(JUDGES, pale, TRAIN, TEST)
    name, ratio = evaluation.worst_view(*result[:2])
    assert ratio > 5 and name in evaluation.outside(*result[:2])
    assert "grey areas" in evaluation.outside(*result[:2])


def test_the_table_names_the_worst_character_and_the_largest_drop(result):
    fractions, real = (x.legibility["fake"].per_class for x in result[:2])
    table = evaluation.format_table(result)
    worst = table.split("least legible, fake")[1].splitlines()[0]
    assert worst.split()[0] == min(fractions, key=fractions.get)
    char = max(fractions, key=lambda char: real[char] - fractions[char])
    drop = 100 * (real[char] - fractions[char])
    assert f"largest drop, fake: {drop:.1f} points, {char} (" in table


def test_json_holds_the_figures(result):
    whole = json.loads(json.dumps(evaluation.as_dict(result), allow_nan=False))
    for name in ("samples", "real"):
        figures = getattr(result, name)
        for features, distances in figures.distances.items():
            for field in ("frechet_distance", "kernel_distance", "density", "recall"):
                expected = getattr(distances, field)._asdict()
                assert whole[name]["distances"][features][field] == expected
        per_class = figures.legibility["fake"].per_class
        assert whole[name]["legibility"]["fake"]["per_class"] == per_class
        assert whole[name]["copying"]["nearer"]["low"] == figures.copying.nearer.low
        pyramid = figures.appearance.pyramid._asdict()
        assert whole[name]["appearance"]["pyramid"] == pyramid
    assert whole["num_samples"] == result.num_samples
    assert whole["num_real"] == result.num_real
    assert whole["worst_view"]["ratio"] == evaluation.worst_view(*result[:2])[1]


@pytest.mark.parametrize("worst", "AX")
def test_the_picture_shows_the_worst_above_the_best(worst):
    # The illegible character is a square of ink, the legible one a single dot.
    chars = "AX"
    pixels = np.zeros((2, 20, 28 * 28), np.uint8)
    pixels[chars.index(worst)] = 255
    other = chars.replace(worst, "")
    pixels[chars.index(other), :, merged_labels(other)[0]] = 255
    pixels = pixels.reshape(40, 28, 28, 1)
    split = Dataset(pixels, np.repeat(np.arange(2, dtype=np.int32), 20), chars)
    page = evaluation.picture(evaluate(JUDGES, split, split, split), split, split)
    assert page.dtype == np.uint8 and page.ndim == 2
    upper, lower = np.array_split(page, 2)
    assert upper.mean() < lower.mean() - 50
    # Each sample stands beside its neighbour, which is paler.
    assert (upper == 0).sum() > 0.5 * (upper == 255 - 127).sum() > 0


def test_the_picture_of_many_characters_shows_some_of_them():
    many, few = (make_split(5, 0, chars) for chars in (jdiff.data.EMNIST_CHARS, CHARS))
    pages = [
        evaluation.picture(evaluate(JUDGES, split, split, split), split, split)
        for split in (many, few)
    ]
    assert 2 * len(pages[1]) < len(pages[0]) < 3 * len(pages[1])


# The command, with the shipped judge and characters drawn from fonts.


@pytest.fixture(scope="module")
def glyphs(tmp_path_factory):
    """A folder with real.npz, 62 x 4 characters, and samples.npz, 62 x 3 others."""
    folder = tmp_path_factory.mktemp("glyphs")
    for name, num, seed in (("real", 4, 0), ("samples", 3, 1)):
        split = data.glyphs(num, seed)
        np.savez(
            folder / f"{name}.npz",
            images=split.images,
            chars=np.array(list(split.classes))[split.labels],
        )
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch, glyphs):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JDIFF_DATA_DIR", raising=False)
    for name in ("real.npz", "samples.npz"):
        (tmp_path / name).symlink_to(glyphs / name)
    # The intervals are tested elsewhere.
    measure = functools.partial(evaluation.measure, num_resamples=2)
    monkeypatch.setattr(evaluation.compare, "measure", measure)
    return tmp_path


@pytest.fixture
def fake_judge(monkeypatch):
    """Saves the time of reading where it does not matter what is read."""
    monkeypatch.setattr(evaluation, "load_judges", lambda: JUDGES)


def edit_samples(**changes):
    """Writes changed.npz: samples.npz with other arrays; None leaves one out."""
    arrays = dict(np.load("samples.npz")) | changes
    kept = {name: array for name, array in arrays.items() if array is not None}
    np.savez("changed.npz", **kept)


def test_the_command_leaves_a_table_a_json_and_a_picture(folder, capsys):
    main("evaluate samples.npz --reference real.npz --out r.json".split())
    table = capsys.readouterr().out
    whole = json.loads((folder / "r.json").read_text())
    for name in ("samples", "real"):
        assert list(whole[name]["distances"]) == ["patch", "plain", "looks"]
        for found in whole[name]["distances"].values():
            assert format(found["recall"]["value"], ".1%") in table
        for found in whole[name]["legibility"].values():
            assert format(found["strict"]["value"], ".1%") in table
    assert f"{whole['worst_view']['ratio']:.1f} times" in table
    assert whole["num_samples"] == dict.fromkeys(jdiff.data.EMNIST_CHARS, 3)
    assert whole["settings"] == {
        "weights": "samples.npz",
        "reference": "real.npz",
        "seed": 0,
    }
    assert Image.open("r.png").mode == "L"
    assert "wrote r.json and r.png" in table


def test_equal_seeds_leave_equal_files(folder, fake_judge):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        options = f"--reference real.npz --out {name}.json --seed {seed}"
        main(["evaluate", "samples.npz", *options.split()])
    for suffix in (".json", ".png"):
        a, b, c = (folder.joinpath(name + suffix).read_bytes() for name in "abc")
        assert a == b
        assert a != c or suffix == ".png"


def test_the_command_draws_samples_with_weights(folder, capsys):
    weights = str(models.SHIPPED["unet"])
    options = "--num 130 --steps 1 --guidance 1 --out w.json --reference real.npz"
    main(["evaluate", weights, *options.split()])
    assert "130 samples" in capsys.readouterr().out
    whole = json.loads((folder / "w.json").read_text())
    assert whole["settings"].pop("seconds_per_image") > 0
    assert whole["settings"] == {
        "weights": weights,
        "reference": "real.npz",
        "seed": 0,
        "num": 130,
        "natural": False,
        "steps": 1,
        "guidance": 1.0,
        "solver": "unipc",
        "grid": "karras",
    }
    assert sum(whole["num_samples"].values()) == 130


def test_strokes_are_drawn_for_the_judges(folder, capsys):
    letters = jdiff.data.EMNIST_CHARS
    options = f"--model pen --steps 1 --draws 1 --num 3 --chars {letters}"
    main(["sample", *options.split(), "--out", "strokes.npz"])
    options = "--reference real.npz --fast --steps 1 --num 186 --out w.json"
    for samples in ("strokes.npz", "pen"):
        main(["evaluate", samples, *options.split()])
        assert "186 samples" in capsys.readouterr().out
        whole = json.loads((folder / "w.json").read_text())
        # One step draws poorly, yet far better than chance, which is 1 in 47.
        assert whole["samples"]["legibility"]["plain"]["strict"]["value"] > 0.2


def files_in(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def refuses(folder, monkeypatch, capsys):
    """Runs a wrong command that may do no slow work; returns its one sentence."""

    def run(command):
        for name in ("read_images", "nearest"):
            monkeypatch.delattr(evaluation.compare, name)
        # What is wrong with its arguments it says on the call; drawing comes later.
        draw = models.generate_batches
        nothing = lambda *a, **k: [draw(*a, **k)][:0]  # noqa: E731
        monkeypatch.setattr(models, "generate_batches", nothing)
        before = files_in(folder)
        with pytest.raises(SystemExit) as error:
            main(
                ["evaluate", *command.replace("W", str(models.SHIPPED["unet"])).split()]
            )
        assert error.value.code == 2
        assert files_in(folder) == before
        sentence = capsys.readouterr().err.strip()
        assert sentence.startswith("jdiff evaluate: error: ") and "\n" not in sentence
        return sentence

    return run


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("no.npz --reference real.npz", "no.npz must be an existing .npz file"),
        ("no --reference real.npz", "weights must be a file, got no"),
        ("samples.npz --reference no.npz", "no.npz must be an existing .npz file"),
        ("samples.npz --reference cifar", "got 'cifar'"),
        ("W --reference cifar", "got 'cifar'"),
        ("W --reference mnist --data-dir nowhere", "nowhere"),
        ("samples.npz --reference real.npz --out r.txt", "must end in .json"),
        ("samples.npz --reference real.npz --out no/r.json", "no folder no"),
        ("samples.npz --reference real.npz --seed -1", "got -1"),
        ("W --reference real.npz --num 61", "--num must be >= 62"),
        ("W --reference real.npz --num 128", "at least 129 samples, got 128"),
        ("W --reference real.npz --steps 0", "--steps"),
        ("W --reference real.npz --steps 1001", "1001"),
        ("W --reference real.npz --guidance nan", "--guidance"),
        ("W --reference real.npz --seed -1", "--seed"),
    ],
)
def test_a_wrong_command_is_one_sentence(refuses, command, says):
    assert says in refuses(command)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": None}, "must hold images"),
        ({"chars": None}, "must hold labels or chars"),
        ({"images": np.zeros((186, 32, 32), np.uint8)}, "the samples: images must be"),
        ({"images": np.zeros((186, 28, 28, 3), np.uint8)}, "[186, 28, 28, 3]"),
        ({"images": np.zeros((186, 28, 28), np.float32)}, "got float32"),
        ({"images": np.full((186, 28, 28), np.nan)}, "got float64"),
        ({"images": np.zeros((5, 28, 28), np.uint8)}, "5 images and 186 labels"),
        ({"chars": np.array(["é"] * 186)}, "'é'"),
        ({"chars": np.array(["?"] * 186)}, "'?'"),
        ({"chars": np.array(["ab"] * 186)}, "one character"),
        (
            {
                "images": np.zeros((128, 28, 28), np.uint8),
                "chars": np.array(["a"] * 128),
            },
            "(a covariance of 128 features, patch) needs at least 129 samples",
        ),
    ],
)
def test_bad_samples_are_one_sentence(folder, refuses, changes, says):
    edit_samples(**changes)
    assert says in refuses("changed.npz --reference real.npz --out r.json")


def test_weights_whose_characters_the_reference_lacks_draw_nothing(folder, refuses):
    marks = data.glyphs(4, 0, "!?")
    np.savez("marks.npz", images=marks.images, chars=np.repeat(["!", "?"], 4))
    sentence = refuses("W --num 186 --reference marks.npz")
    assert "the reference must have images of 0123456789AB" in sentence


@pytest.mark.parametrize("natural", [True, False])
def test_only_characters_of_the_reference_are_drawn(natural):
    """So weights that write punctuation, too, can be compared with EMNIST."""
    reference = data.Dataset(np.zeros((3, 28, 28, 1), np.uint8), np.arange(3), "abc")
    labels = evaluation.choose_labels("a!cd", 11, reference, natural)
    assert sorted(set(labels)) == [0, 2] and len(labels) == 11


def test_weights_of_another_size_draw_nothing(folder, refuses):
    params, description = storage.load_weights(models.SHIPPED["unet"])
    description["image_shape"] = [32, 32, 1]
    storage.save_weights(folder / "large.safetensors", params, description)
    sentence = refuses("large.safetensors --num 186 --reference real.npz")
    assert "28, 28" in sentence and "32, 32" in sentence


@pytest.mark.parametrize("broken", ["PNG", "JSON"])
def test_one_file_is_not_written_without_the_other(
    folder, fake_judge, monkeypatch, capsys, broken
):
    (folder / "r.png").write_bytes(b"old")

    def fail(*args, **kwargs):
        raise OSError(f"no space for the {broken}")

    owner, name = {"PNG": (images, "save_png"), "JSON": (type(folder), "write_text")}[
        broken
    ]
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as error:
        patch.setattr(owner, name, fail)
        main("evaluate samples.npz --reference real.npz --out r.json".split())
    assert error.value.code == 2
    assert f"no space for the {broken}" in capsys.readouterr().err
    assert (folder / "r.png").read_bytes() == b"old"
    found = sorted(path.name for path in folder.iterdir())
    assert found == ["r.png", "real.npz", "samples.npz"]


def test_a_folder_in_the_place_of_the_picture_is_told_first(folder, refuses):
    (folder / "r.png").mkdir()
    sentence = refuses("samples.npz --reference real.npz --out r.json")
    assert "r.png" in sentence and "folder" in sentence
