"""The commands that a user types, right and wrong."""

import os
import pickle
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import jdiff
from jdiff import evaluation, models, storage
from jdiff.cli import main

SAMPLE = ["sample", "--model", "latent"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fails(capsys, folder, *argv):
    """Runs a wrong command; returns its one sentence."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit) as error:
        main(argv)
    assert error.value.code == 2
    assert sorted(folder.rglob("*")) == before
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("model", ["pen", "latent", "unet"])
def test_write_leaves_a_picture_and_an_animation(folder, model):
    main(["write", "Hello World 2026", "--model", model])
    page = np.asarray(Image.open("hello_world_2026.png"))
    assert (page < 64).mean() > 0.02 and (page > 192).mean() > 0.5
    gif = Image.open("hello_world_2026.gif")
    assert gif.n_frames == 11 and gif.info["loop"] == 0
    first = np.asarray(gif.convert("L"), float)
    gif.seek(10)
    last = np.asarray(gif.convert("L"), float)
    assert gif.info["duration"] == 20 * 80
    # It begins as noise, or as the blots that noise in the latents decodes to.
    assert np.abs(first - last)[: page.shape[0]].mean() > 5
    rough = [np.abs(np.diff(frame)).mean() for frame in (first, last)]
    assert rough[0] > {"unet": 1.5, "latent": 0.8, "pen": 0.8}[model] * rough[1]
    assert sorted(p.name for p in folder.iterdir()) == [
        "hello_world_2026.gif",
        "hello_world_2026.png",
    ]


def test_a_value_that_argparse_would_lose_is_refused(capsys, folder):
    sentence = fails(capsys, folder, "sample", "--chars=--", "--out=a.npz")
    assert sentence == "jdiff: error: --chars must have a value, got --."


def test_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit) as leave:
        main(["--version"])
    assert leave.value.code == 0
    assert capsys.readouterr().out == f"jdiff {jdiff.__version__}\n"


def test_python_m_jdiff_is_the_command(folder):
    command = [sys.executable, "-m", "jdiff", "write", r"ab\nc", "--out", "x.gif"]
    subprocess.run([*command, "--steps", "2", "--no-hold"], check=True)
    one_line = ["write", "ab", "--out", "y.png", "--no-gif", "--steps", "2"]
    main(one_line)
    assert Image.open("x.png").height > 1.5 * Image.open("y.png").height
    assert not (folder / "y.gif").exists()


def test_write_wraps_at_a_width_and_traces_outlines(folder, capsys):
    main(["write", "ab cd ef", "--width", "200", "--steps", "2", "--out", "x.svg"])
    assert capsys.readouterr().out == "wrote x.svg\n"
    assert 'width="200"' in (folder / "x.svg").read_text()
    assert [path.name for path in folder.iterdir()] == ["x.svg"]


def test_a_letter_of_two_lines_is_small_enough_to_send(folder):
    main(["write", r"The quick brown fox\njumps over the lazy dog", "--out", "x"])
    assert (folder / "x.gif").stat().st_size < 1e6


def test_the_counter_takes_a_strip_of_its_own(folder):
    main(["write", "a", "--steps", "2", "--out", "with.png"])
    main(["write", "a", "--steps", "2", "--out", "without.png", "--no-counter"])
    with_, without = (Image.open(f"{name}.gif") for name in ("with", "without"))
    assert with_.height > without.height == Image.open("without.png").height
    assert (folder / "with.png").read_bytes() == (folder / "without.png").read_bytes()


def test_seed_decides_the_letters(folder):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        argv = [*SAMPLE, "--chars", "Q", "--num", "2", "--steps", "2"]
        main([*argv, "--seed", str(seed), "--out", f"{name}.npz"])
    a, b, c = (np.load(folder / f"{name}.npz")["images"] for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_hello_is_the_same_in_hello_world(folder):
    files = []
    for chars in ("hello", "helloworldandmore"):
        files.append(f"{chars}.npz")
        main([*SAMPLE, "--chars", chars, "--num", "1", "--out", files[-1]])
    short, long = (np.load(file)["images"] for file in files)
    np.testing.assert_array_equal(short, long[: len(short)])


@pytest.mark.slow
def test_the_linear_model_writes_too(folder):
    main(["write", "Hello", "--model", "mixture"])
    assert (np.asarray(Image.open("hello.png")) < 64).mean() > 0.02
    argv = ["--model", "mixture", "--chars", "ACEHRTW", "--num", "10"]
    main(["sample", *argv, "--out", "s.npz"])
    samples = np.load("s.npz")
    reading = evaluation.read_images(evaluation.load_judge(), samples["images"])
    read = evaluation.legibility(reading, samples["chars"])
    assert read.strict.value > 0.8


def test_sample_holds_what_it_says(folder):
    main([*SAMPLE, "--chars", "Aa3", "--num", "6", "--out", "F.npz"])
    file = np.load("F.npz")
    images, chars = file["images"], file["chars"]
    assert images.dtype == np.uint8 and images.shape == (18, 28, 28)
    assert "".join(chars) == "AAAAAAaaaaaa333333"
    assert 20 < images.mean() < 90 and images.max() > 200  # ink is 255
    main([*SAMPLE, "--chars", "Aa3", "--num", "6", "--out", "F.png"])
    assert Image.open("F.png").size == (6 * 30 + 2, 3 * 30 + 2)


def test_samples_follow_their_label(folder):
    """An upright 1 is a column of ink; a 0 has none in the middle."""
    main([*SAMPLE, "--chars", "10", "--num", "16", "--out", "F.npz"])
    images = np.load("F.npz")["images"].astype(float) / 255
    ones, zeros = images[:16].mean(0), images[16:].mean(0)
    assert ones[12:16, 12:16].mean() > 0.4 > 0.2 > zeros[12:16, 12:16].mean()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["write", ""], "empty"),
        (["write", " \n "], "empty"),
        (["write", "hi!", "--model", "unet"], "'!'"),
        (["write", "ж"], "'ж'"),
        (["write", "a", "--steps", "0"], "got 0"),
        (["write", "a", "--steps", "1001"], "[1, 1000], got 1001"),
        (["write", "a", "--steps", "x"], "invalid int"),
        (["write", "a", "--guidance", "nan"], "nan"),
        (["write", "a", "--guidance", "inf"], "inf"),
        (["write", "a", "--seed", "-1"], "got -1"),
        (["write", "a", "--solver", "euler"], "ddpm"),
        (["write", "a", "--grid", "log"], "uniform"),
        (["write", "a", "--out", "nowhere/a.png"], "no folder nowhere"),
        (["write", "a", "--out", "a.jpg"], "a.jpg"),
        (["write", "a", "--weights", "missing"], "missing"),
        (["write", "a", "--ink", "nvy"], "'nvy'"),
        (["write", "a", "--width", "9"], "got 9"),
        (["write", "a", "--align", "middle"], "centre"),
        (["write", "a", "--jitter", "nan"], "got nan"),
        (["write", "word", "--width", "60", "--steps", "1"], "for the word 'word'"),
        (["write", "ab " * 4000, "--width", "600"], "at most 10000 characters"),
        (["write", "a", "--model", "mixture", "--guidance", "2"], "got 2.0"),
        (["write", "a", "--model", "mixture", "--weights", "a"], "not allowed with"),
        (["sample", "--chars", "ß", "--out", "a.npz"], "'ß'"),
        (["sample", "--chars", "", "--out", "a.npz"], "empty"),
        (["write", "a", "--out", ""], "--out must be a file"),
        (["write", "a", "--out", "~nosuchuser/a.png"], "a user with a home"),
        (["write", "a", "--out", "/proc/a.png"], "cannot write /proc/a.png"),
        (["write", "a", "--size", "0.01"], "in [4, 65000] pixels, got 0.01"),
        (["write", "a", "--ink", "rgb(999,0,0)"], "'rgb(999,0,0)'"),
        (["write", "a", "--guidance", "1e30"], "got 1e+30"),
        (["sample", "--num", "0", "--out", "a.npz"], "got 0"),
        (["sample", "--num", "9" * 20, "--out", "a.npz"], f"got {'9' * 20}"),
        ([*SAMPLE, "--num", "1" + "0" * 9, "--out", "a.npz"], "in [1, 14569], got 1"),
        (["evaluate", "unet", "--num", "1" + "0" * 9], "in [1, 171196], got 1"),
        (["sample", "--out", "a.jpg"], ".npz or .png"),
        (["sample", "--out", "nowhere/a.npz"], "no folder nowhere"),
        (["sample"], "--out"),
        ([], "command"),
    ],
)
def test_bad_input_is_one_sentence_and_no_file(folder, capsys, argv, says):
    assert says in fails(capsys, folder, *argv)


@pytest.mark.parametrize(
    ("argv", "unused"),
    [
        (["--help"], ["jax", "numpy"]),
        (["--version"], ["jax", "numpy"]),
        (["train", "--help"], ["jax", "numpy"]),
        (
            ["sample", "--chars", "a", "--num", "1", "--out", "a.npz"],
            ["PIL", "matplotlib", "optax", "orbax", "scipy"],
        ),
    ],
)
def test_what_a_command_does_not_use_is_not_imported(folder, argv, unused):
    program = (
        "import sys; from jdiff.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {unused} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *argv],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


class Explosive:
    def __reduce__(self):
        return (open, ("exploded", "w"))


def test_what_is_not_weights_is_refused(folder, capsys):
    whole = models.SHIPPED["unet"].read_bytes()
    wrong = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "one_byte_short": whole[:-1],
        "noise": np.random.default_rng(0).bytes(5000),
        "page": b"<!DOCTYPE html><html>404</html>",
        "pickle": pickle.dumps(Explosive()),
    }
    for name, content in wrong.items():
        (folder / name).write_bytes(content)
        assert name in fails(capsys, folder, "write", "a", "--weights", name)
    assert not (folder / "exploded").exists()


def test_weights_of_another_architecture_are_refused(folder, capsys):
    params, description = storage.load_weights(models.SHIPPED["unet"])
    description["num_channels"] *= 2
    storage.save_weights(folder / "other.safetensors", params, description)
    argv = ["write", "a", "--weights", "other.safetensors"]
    assert "another architecture" in fails(capsys, folder, *argv)
    del description["chars"]
    storage.save_weights(folder / "other.safetensors", params, description)
    assert "chars" in fails(capsys, folder, *argv)


# The command with a page that is there already.
WRITES_A_PAGE = """
import sys, types

def write(text, *args, **options):
    import numpy as np
    from jdiff import handwriting
    return handwriting.Page(np.full((9, 9), 255, np.uint8))

sys.modules["jdiff.writing"] = types.SimpleNamespace(write=write)
from jdiff.cli import main
main()
"""
WRITE = [sys.executable, "-c", WRITES_A_PAGE, "write", "a", "--no-gif"]


def run_in_shell(folder, line, **variables):
    """Runs a command line of a shell in which `write` writes a.png."""
    function = f'write() {{ {shlex.join(WRITE)} "$@"; }}'
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {function}; {line}"],
        cwd=folder,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.strip().splitlines()


@pytest.mark.parametrize("redirect", ["2>&-", ">&-", ">&- 2>&-", "| true", "| head -0"])
def test_a_page_is_written_whoever_reads_what_is_printed(folder, redirect):
    code, _ = run_in_shell(folder, f"write {redirect}")
    assert code == 0 and (folder / "a.png").is_file()


def test_a_name_that_the_terminal_cannot_show_is_written(folder):
    line = "write --out $'\\u00e9.png'"
    code, errors = run_in_shell(
        folder, line, PYTHONIOENCODING="ascii", LC_ALL="C.UTF-8"
    )
    assert code == 0 and (folder / "\u00e9.png").is_file()


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        (
            {"JAX_PLATFORMS": "cuda"},
            "must find a device, got none for JAX_PLATFORMS='cuda'",
        ),
        ({"PYTHONOPTIMIZE": "1"}, "run without -O and PYTHONOPTIMIZE"),
        ({"PYTHONOPTIMIZE": "2"}, "run without -O and PYTHONOPTIMIZE"),
    ],
)
def test_what_is_wrong_with_the_environment_is_one_sentence(folder, variables, says):
    code, errors = run_in_shell(folder, "write", **variables)
    assert code == 2 and says in errors[-1]
    assert not list(folder.iterdir())
