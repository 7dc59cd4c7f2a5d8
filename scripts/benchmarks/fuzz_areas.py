"""What `fuzz.py` tries: an area is good files, and a way to spoil and use them.

Each function here takes an empty folder, writes good inputs to it, and returns
`attempt(random)`, which spoils one and hands it to jdiff. A good attempt returns, or
raises what the command line says in one sentence; `Wrong` means that what was read is
not what was written.
"""

import contextlib
import functools
import gzip
import io
import json
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import jax
import numpy as np

import jdiff
from jdiff import cli, closed_form, data, handwriting, models, networks, storage

Attempt = Callable[[Random], None]

CHARS = "ab1"
NUMBERS = ["0", "1", "-1", "2", "3", "7", "10", "0.5", "1e-9", "-0.0", "nan", "inf"]
NUMBERS += ["-inf", "1e30", "1.7e308", "1e309", "9" * 20, "1_0", "\u0661", "\u00b2", ""]
NUMBERS += [
    "0x10",
    " 5",
    "1000000000",
    "2147483648",
    "4294967296",
    "-5",
    "none",
    "9" * 5000,
]
EDGES = [0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63]
HEADERS = ["'descr': '|u1'", "'descr': '<U999999'", "'descr': '|O'", "'descr': '<f8'"]
HEADERS += ["'shape': (-1,)", "'shape': (4294967296, 4294967296)", "'shape': ()"]
HEADERS += ["'shape': (3, 28, 28)", "'fortran_order': True", "'fortran_order': 0"]
HEADERS += [
    "[" * 500,
    "'" * 9,
    "2**99999999",
    "'shape': (True, 2.0)",
    "'descr': [('a', 'b')]",
]
STRANGE = [
    None,
    True,
    -1,
    0,
    1e308,
    10**9,
    2**63,
    "",
    "nan",
    [],
    {},
    [[]],
    [1, 2],
    "x" * 999,
]
STRANGE += [
    float("nan"),
    [20000, 20000, 1],
    ["a", "a"],
    "cosine",
    "\ud800",
    {"a": None},
]


class Wrong(Exception):
    """What was read is not what was written."""


def spoil(random: Random, content: bytes) -> bytes:
    """Returns bytes with up to four changes: other bytes, fewer, more, or repeated."""
    found = bytearray(content)
    for _ in range(random.randint(0, 4)):
        at = random.randrange(len(found) + 1)
        size = random.choice([1, 2, 4, 8, random.randint(1, 64)])
        match random.randrange(7):
            case 0 if at < len(found):
                found[at] ^= 1 << random.randrange(8)
            case 1:
                found[at : at + size] = random.randbytes(size)
            case 2:
                edge = random.choice(EDGES).to_bytes(
                    8, random.choice(["little", "big"])
                )
                found[at : at + size] = edge[:size]
            case 3:
                del found[at : at + size]
            case 4:
                found[at:at] = found[at : at + size]
            case 5:
                del found[at:]
            case 6:
                found[at:at] = random.randbytes(size)
    return bytes(found)


def spoil_json(random: Random, value: Any) -> Any:
    """Returns JSON with one entry, at any depth, replaced, removed or renamed."""
    if isinstance(value, dict) and value and random.random() < 0.8:
        name = random.choice(sorted(value))
        changed = dict(value)
        match random.randrange(4):
            case 0:
                del changed[name]
            case 1:
                changed[name + "x"] = changed.pop(name)
            case _:
                changed[name] = spoil_json(random, value[name])
        return changed
    return random.choice(STRANGE)


def spoil_npy(random: Random, content: bytes) -> bytes:
    """Returns an array in NumPy's format, spoiled in its header or behind it."""
    length = struct.unpack("<H", content[8:10])[0]
    header, body = content[10 : 10 + length], content[10 + length :]
    match random.randrange(4):
        case 0:
            header = spoil(random, header)
        case 1:
            parts = ", ".join(random.choices(HEADERS, k=random.randint(1, 3)))
            header = f"{{'fortran_order': False, {parts}}}\n".encode(
                "latin1", "replace"
            )
        case 2:
            body = spoil(random, body)
        case 3:
            return spoil(random, content)
    return content[:8] + struct.pack("<H", len(header) % 65536) + header + body


def spoil_zip(random: Random, content: bytes, within: Callable) -> bytes:
    """Returns a zip archive, spoiled as bytes or in one member, then packed anew."""
    if random.random() < 0.4:
        return spoil(random, content)
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    name = random.choice(sorted(members))
    match random.randrange(6):
        case 0:
            del members[name]
        case 1:
            members[random.choice(["../a", "/a", "?", "a" * 999, "x.npy"])] = (
                members.pop(name)
            )
        case _:
            members[name] = within(random, members[name])
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", random.choice([0, 8, 12, 14])) as file:
        for name, member in members.items():
            file.writestr(name, member)
    return target.getvalue()


def images_of(num: int, side: int = 28) -> np.ndarray:
    """Returns images of noise, uint8[num, side, side]."""
    return np.random.default_rng(0).integers(0, 256, (num, side, side), np.uint8)


def npz(**arrays: Any) -> bytes:
    """Returns the bytes of an .npz file."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def try_npz(folder: Path) -> Attempt:
    """Data sets and points in .npz files."""
    labels = np.arange(6) % 3
    images = [
        npz(images=images_of(6, 8), labels=labels, chars=CHARS),
        npz(images=images_of(3, 8), chars=np.array(list(CHARS))),
        npz(images=images_of(3, 8), labels=labels[:3], extra=np.zeros(10**6)),
    ]
    points = [npz(points=np.ones((5, 2)), labels=np.arange(5), num_classes=5)]
    path = folder / "a.npz"

    def attempt(random: Random) -> None:
        kind = random.choice([images, points])
        path.write_bytes(spoil_zip(random, random.choice(kind), spoil_npy))
        if kind is points:
            found, num_classes = data.load_points(str(path), 10)
            check(len(found.points) == len(found.labels) and num_classes >= 1)
            return
        images_, labels_, classes = data.load(str(path))
        check(images_.dtype == np.uint8 and images_.ndim == 4)
        check(0 <= labels_.min() <= labels_.max() < len(classes))

    return attempt


def try_strokes(folder: Path) -> Attempt:
    """Pen strokes in .npz files."""
    number = np.array([0, 1], np.uint16)
    good = npz(
        points=np.arange(12, dtype=np.int16).reshape(6, 2),
        stroke_lengths=np.array([1, 2, 3], np.uint16),
        num_strokes=np.array([1, 2], np.uint8),
        chars=np.array([65, 66], np.uint8),
        writers=number,
        documents=number,
        lines=number,
        x=np.array([0, 300], np.int32),
        has_baseline=np.array([True, False]),
    )
    path = folder / "pen.npz"

    def attempt(random: Random) -> None:
        path.write_bytes(spoil_zip(random, good, spoil_npy))
        pen = data.read_pen(path)
        check(
            all(stroke.shape[1] == 2 for strokes in pen.strokes for stroke in strokes)
        )
        check(0 <= pen.labels.min() <= pen.labels.max() < len(data.PEN_CHARS))

    return attempt


RECORDING = """.X_POINTS_PER_INCH 1000
.Y_POINTS_PER_INCH 1000
.COORD X Y P
.WRITER_ID ada
.PEN_DOWN
0 1000 1 100 1050 1
.PEN_UP
100 1000 0
.PEN_DOWN
200 1000 1 300 1050 1
"""
SEGMENTS = """.INCLUDE ada.dat
.SEGMENT CHARACTER 0-2 OK "n"
.SEGMENT CHARACTER 0 ? "A"
.SEGMENT CHARACTER 2:0-2:1,0 ? "b"
"""
LINES = [
    ".INCLUDE segments.dat",
    ".INCLUDE /etc/passwd",
    ".COORD P",
    ".X_POINTS_PER_MM 0",
]
LINES += [
    '.SEGMENT CHARACTER 0-99999999999 ? "x"',
    ".PEN_DOWN\n9e99 nan inf",
    ".WRITER_ID",
]
LINES += [
    ".INCLUDE " + "a" * 999,
    '.SEGMENT CHARACTER 1:2:3,,- OK "\\',
    ".INCLUDE ada.dat",
]


def try_unipen(folder: Path) -> Attempt:
    """Pen strokes in UNIPEN's own files."""
    good = {"ada.dat": RECORDING, "segments.dat": SEGMENTS}

    def attempt(random: Random) -> None:
        for name, text in good.items():
            lines = text.splitlines()
            for _ in range(random.randint(0, 2)):
                at = random.randrange(len(lines))
                match random.randrange(3):
                    case 0:
                        lines[at] = random.choice(LINES)
                    case 1:
                        del lines[at]
                    case 2:
                        lines[at:at] = [random.choice(LINES)] * random.choice([1, 99])
                lines = lines or [""]
            content = "\n".join(lines).encode()
            spoiled = spoil(random, content) if random.random() < 0.3 else content
            (folder / name).write_bytes(spoiled)
        pen = data.read_pen(folder)
        check(all(len(stroke) for strokes in pen.strokes for stroke in strokes))
        check(0 <= pen.labels.min() <= pen.labels.max() < len(data.PEN_CHARS))

    return attempt


def idx(array: np.ndarray) -> bytes:
    """Returns an IDX file, not yet gzipped."""
    return (
        struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
        + array.tobytes()
    )


def spoil_gzip(random: Random, content: bytes) -> bytes:
    """Returns a gzipped file, spoiled inside or outside."""
    if random.random() < 0.5:
        return gzip.compress(spoil(random, gzip.decompress(content)), 1)
    return spoil(random, content)


def idx_files(stem: str) -> dict[str, bytes]:
    """Returns images and labels of three digits, by their official names."""
    images, labels = images_of(3), np.arange(3, dtype=np.uint8)
    return {
        f"{stem}-images-idx3-ubyte.gz": gzip.compress(idx(images), 1),
        f"{stem}-labels-idx1-ubyte.gz": gzip.compress(idx(labels), 1),
    }


def try_idx(folder: Path) -> Attempt:
    """MNIST and EMNIST as gzipped IDX files."""
    files = idx_files("t10k") | idx_files("emnist-digits-test")

    def attempt(random: Random) -> None:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        name = random.choice(sorted(files))
        (folder / name).write_bytes(spoil_gzip(random, files[name]))
        if random.random() < 0.05:
            (folder / name).unlink()
            os.mkfifo(folder / name)
        try:
            load = functools.partial(data.emnist, "digits")
            found = (load if "digits" in name else data.mnist)("test", folder)
        finally:
            (folder / name).unlink()
        check_digits(found)

    return attempt


def try_zip(folder: Path) -> Attempt:
    """EMNIST as NIST packs it: gzipped IDX files in a zip archive."""
    files = {f"gzip/{k}": v for k, v in idx_files("emnist-digits-test").items()}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)

    def attempt(random: Random) -> None:
        spoiled = spoil_zip(random, target.getvalue(), spoil_gzip)
        (folder / "gzip.zip").write_bytes(spoiled)
        check_digits(data.emnist("digits", "test", folder))

    return attempt


def check_digits(found: data.Dataset) -> None:
    """Raises Wrong unless a data set is of digits, 28 x 28."""
    check(found.images.shape == (len(found.labels), 28, 28, 1))
    check(0 <= found.labels.min() <= found.labels.max() <= 9)


def check(is_right: Any) -> None:
    """Raises Wrong unless what was read is as it must be."""
    if not is_right:
        raise Wrong


def spoil_image(random: Random, content: bytes) -> bytes:
    """Returns an image file, spoiled; the check sums of PNG's chunks fit again."""
    content = spoil(random, content)
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or random.random() < 0.3:
        return content
    found, at = content[:8], 8
    while at + 12 <= len(content):
        length = struct.unpack(">I", content[at : at + 4])[0]
        chunk = content[at + 4 : at + 8 + length]
        found += content[at : at + 4] + chunk + struct.pack(">I", zlib.crc32(chunk))
        at += 12 + length
    return found


def try_folder(folder: Path) -> Attempt:
    """Folders of image files."""
    from PIL import Image

    files, root = [], folder / "set"
    for suffix in ("png", "jpg", "gif", "webp", "bmp", "tif"):
        for mode in ("L", "RGB", "P"):
            file = io.BytesIO()
            picture = Image.fromarray(images_of(1, 16)[0]).convert(mode)
            with contextlib.suppress(OSError):  # not every format has palettes
                kind = {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix)
                picture.save(file, kind)
                files.append((suffix, mode, file.getvalue()))

    def attempt(random: Random) -> None:
        shutil.rmtree(root, ignore_errors=True)
        mode = random.choice(["L", "RGB", "P"])
        some = [file for file in files if file[1] == mode or random.random() < 0.05]
        for k, label in enumerate("ab"):
            (root / label).mkdir(parents=True)
            for j in range(2):
                suffix, _, content = random.choice(some)
                path = root / label / f"{j}.{suffix}"
                path.write_bytes(content)
                if random.random() < 0.4 or j == k:
                    path.write_bytes(spoil_image(random, content))
        strange = root / random.choice("abc") / "z.png"
        match random.randrange(12):
            case 0 if strange.parent.is_dir():
                os.mkfifo(strange)
            case 1:
                strange.mkdir(parents=True)
            case 2 if strange.parent.is_dir():
                strange.symlink_to(strange)
            case 3 if strange.parent.is_dir():
                strange.symlink_to("/dev/zero")
        with contextlib.redirect_stderr(io.StringIO()):
            source = data.open_source(
                f"folder:{root}", skip_broken=random.random() < 0.5
            )
            images, labels = source.read(slice(None))
        check(images.shape[1:] == source.image_shape and images.dtype == np.uint8)
        check(0 <= labels.min() <= labels.max() < len(source.classes))

    return attempt


def filled(shapes: Any) -> Any:
    """Returns weights of these shapes, none of them 0."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: (0.1 + 0.1 * rng.random(leaf.shape)).astype(np.float32), shapes
    )


def save_models(folder: Path) -> dict[str, Path]:
    """Writes tiny weights of every kind; returns their files by the kind."""
    key = jax.random.key(0)
    common = {"schedule": "cosine", "num_steps": 20, "prediction": "v"}
    common |= {"chars": CHARS, "image_shape": [8, 8, 1]}
    found = {}

    def save(name, params, description):
        found[name] = folder / f"{name}.safetensors"
        storage.save_weights(found[name], filled(params), description)

    network = networks.make_unet(len(CHARS), 16, 1)
    init = functools.partial(models.init_params, network=network, image_shape=(8, 8, 1))
    save(
        "unet",
        jax.eval_shape(init, key),
        common | {"num_channels": 16, "num_blocks": 1},
    )

    description = common | {"autoencoder": "mlp", "num_latents": 3, "widths": [4]}
    description |= {"num_features": 8, "num_layers": 1, "guidance": 2.0}
    network = networks.make_residual_mlp(len(CHARS), 8, 1)
    init = functools.partial(models.init_params, network=network, image_shape=(3,))
    params = jax.eval_shape(init, key) | jax.eval_shape(
        models.build_autoencoder(description).init, key
    )
    save("latent", params, description)
    save("distilled", params, description | {"distilled": True})

    description = {"model": "pen", "classes": data.PEN_CHARS, "guidance": 2.0}
    description |= {"num_features": 8, "num_layers": 1, "num_conditions": 8}
    description |= {"judge_features": 8, "schedule": "cosine", "num_steps": 20}
    description |= {"prediction": "v"}
    init = functools.partial(models.init_pen, description=description, num_codes=4)
    hands = {"codes": np.zeros((3, 4), np.float32)}
    sides = {"sides": np.zeros((len(data.PEN_CHARS), 2), np.float32)}
    params = jax.eval_shape(init, key) | {"hands": hands, "spacing": sides}
    save("pen", params, description)

    images, labels = images_of(30, 8)[..., None], np.array(list(CHARS * 10))
    found["mixture"] = folder / "mixture.safetensors"
    fitted = closed_form.mixtures.fit(images, labels, 2, 4, 2, 10.0, 0)
    closed_form.mixtures.save(found["mixture"], fitted)
    return found


def spoil_weights(random: Random, content: bytes) -> bytes:
    """Returns weights, spoiled as bytes, in the header, or in the description."""
    if random.random() < 0.4:
        return spoil(random, content)
    size = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    match random.randrange(5):
        case 0:
            header = spoil_json(random, header)
        case 1:
            name = random.choice(sorted(set(header) - {"__metadata__"}))
            kinds = ["F8_E4M3", "BF16", "I64", "BOOL", "F64", "F4", "C64", "", 7]
            header[name]["dtype"] = random.choice(kinds)
        case _:
            metadata = header["__metadata__"]
            description = json.loads(metadata["description"])
            metadata["description"] = json.dumps(spoil_json(random, description))
            if random.random() < 0.1:
                metadata["description"] = random.choice(
                    ["[" * 10**5, '{"a": ' * 9999, "1"]
                )
            if random.random() < 0.9:
                metadata.pop("sha256", None)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def try_weights(folder: Path) -> Attempt:
    """Weights of every kind, read by what reads them."""
    files = save_models(folder)
    contents = {name: path.read_bytes() for name, path in files.items()}
    originals = {name: storage.load_weights(path) for name, path in files.items()}
    path = folder / "spoiled.safetensors"

    def attempt(random: Random) -> None:
        name = random.choice(sorted(files))
        path.write_bytes(spoil_weights(random, contents[name]))
        load = models.load_pen if name == "pen" else models.load_model
        model = load(path)
        params, description = storage.load_weights(path)
        same = jax.tree.map(np.array_equal, params, originals[name][0])
        check(all(jax.tree.leaves(same)))
        if description != originals[name][1]:  # it may say another thing that fits
            key, labels = jax.random.key(0), range(len(CHARS))
            if name == "pen":
                hand = models.draw_hand(model, 0)
                batches = models.generate_strokes(key, model, labels, hand, 1)
            else:
                labels = range(len(model.classes))
                batches = models.generate(key, model, labels, 1, with_path=False)
            del batches  # its checks have passed

    return attempt


def try_checkpoints(folder: Path) -> Attempt:
    """Checkpoints, read as weights and as a state to go on from."""
    files = save_models(folder)
    params, description = storage.load_weights(files["unet"])
    import optax

    state = jdiff.init_train_state(jax.random.key(0), params, optax.sgd(0.1))
    good, spoiled = folder / "good", folder / "spoiled"
    for step in (1, 2):
        metadata = {"description": description, "seconds": 1.0, "loss": 1.0}
        storage.save_checkpoint(good, step, state, metadata)

    def attempt(random: Random) -> None:
        shutil.rmtree(spoiled, ignore_errors=True)
        shutil.copytree(good, spoiled)
        inside = sorted(path for path in spoiled.rglob("*") if path.is_file())
        for path in random.sample(inside, random.randint(1, 3)):
            content = path.read_bytes()
            path.unlink()
            match random.randrange(8):
                case 0:
                    pass
                case 1:
                    path.mkdir()
                case 2:
                    os.mkfifo(path)
                case 3:
                    with contextlib.suppress(ValueError):
                        changed = spoil_json(random, json.loads(content))
                        path.write_text(json.dumps(changed))
                case _:
                    path.write_bytes(spoil(random, content))
        if random.random() < 0.5:
            found, _ = storage.load_ema_weights(spoiled)
        else:
            found = storage.restore_checkpoint(spoiled, state)[0].ema_params
        same = jax.tree.map(np.array_equal, found, params)
        check(all(jax.tree.leaves(same)))

    return attempt


def command(*argv: str) -> None:
    """Runs `jdiff` here; raises ValueError for its one sentence and exit code 2."""
    errors = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(errors),
        ):
            cli.main(argv)
    except SystemExit as stop:
        sentence = (errors.getvalue().strip().splitlines() or [""])[-1]
        if stop.code == 2 and "error: " in sentence:
            raise ValueError(sentence) from stop
        if stop.code not in (0, None):
            raise


def try_resume(folder: Path) -> Attempt:
    """Runs that go on, with what they began with spoiled."""
    (folder / "a.npz").write_bytes(npz(images=images_of(6, 8), labels=np.arange(6) % 3))
    begin = ["train", "autoencoder", "--autoencoder", "pca", "--num-latents", "3"]
    run = folder / "run"
    command(*begin, "--data", str(folder / "a.npz"), "--out", str(run))
    good = (run / "arguments.json").read_bytes()

    def attempt(random: Random) -> None:
        spoiled = spoil(random, good)
        if random.random() < 0.7:
            spoiled = json.dumps(spoil_json(random, json.loads(good))).encode()
        (run / "arguments.json").write_bytes(spoiled)
        options = ["--steps", "--minutes", "--seed", "--batch-size", "--ema-decay"]
        argv = [f"{random.choice(options)}={random.choice(NUMBERS)}"]
        argv = argv if random.random() < 0.3 else []
        if b'"autoencoder": "pca"' not in spoiled:  # it may train then: not for long
            argv.insert(0, "--minutes=1e-9")
        command("train", "autoencoder", "--resume", "--out", str(run), *argv)

    return attempt


TEXTS = [
    "ab",
    "1",
    "a b",
    "a\\nb",
    "a\nb",
    "",
    " ",
    "\t",
    "\u00e9",
    "\U0001f600",
    "\ud800",
]
TEXTS += ["a\0b", "-a", "--", "ab" * 6000, "a" * 300, "\u202e", "a,b", "\r", "\u2019a"]
TEXTS += ["b" * 60 + " a", "\u0301", "AZ09.,!?", "a\\", "\\n"]
PATHS = ["a.png", "b.gif", "c.svg", "d.apng", "e.webp", "f.npz", "g.json", "", ".", "/"]
PATHS += ["..", "/proc/a.png", "/sys/a.npz", "nowhere/a.png", "~nosuchuser/a.png", "\0"]
PATHS += [
    "a" * 300 + ".png",
    "\u00e9.png",
    "\udcff.png",
    "folder.png",
    "fifo.png",
    "a.jpg",
]
PATHS += ["/dev/null", "/dev/full", "noext", "A.PNG", ".png", "a.png/", "a.png/b.png"]
COLOURS = [
    "navy",
    "#102040",
    "rgb(999,0,0)",
    "#12",
    "",
    "hsl(0,100%,50%)",
    "nvy",
    "#fff8e7ff",
]
COLOURS += ["rgb(1,2,3)", "hsv(400,0%,0%)", "\0", "transparent", "rgb(-1,0,0)"]
SAMPLING = {"--seed": NUMBERS, "--steps": NUMBERS, "--guidance": NUMBERS}
SAMPLING |= {"--solver": ["ddpm", "ddim", "heun", "dpmpp_2m", "unipc", "euler", ""]}
SAMPLING |= {"--grid": ["karras", "uniform", ""]}
WRITE = {
    f"--{name}": NUMBERS for name in ("width", "height", "size", "margin", "jitter")
}
WRITE |= {
    f"--{n}": NUMBERS for n in ("dpi", "slant", "weight", "letter-width", "draws")
}
WRITE |= {f"--{name}": NUMBERS for name in ("roundness", "style-seed", "neatness")}
WRITE |= {
    "--ink": COLOURS,
    "--paper": COLOURS,
    "--out": PATHS,
    "--align": ["left", "up"],
}
WRITE |= {"--animate": ["pen", "noise", "x"], "--no-gif": None, "--transparent": None}
WRITE |= {"--no-counter": None, "--no-hold": None, "--bogus": None, "--wid": ["9"]}
RUN = {f"--{n}": NUMBERS for n in ("minutes", "steps", "batch-size", "learning-rate")}
RUN |= {f"--{n}": NUMBERS for n in ("save-minutes", "ema-decay", "seed")}
DIFFUSION = {"--label-dropout": NUMBERS, "--num-steps": NUMBERS}
DIFFUSION |= {
    "--schedule": ["cosine", "flow", "karras", "x"],
    "--prediction": ["v", "eps"],
}
DATA = [
    "a.npz",
    "missing.npz",
    "emnist/klingon",
    "mnist",
    "folder:.",
    "folder:",
    "tfds:x",
]
DATA += ["folder:nowhere", "", "glyph", "emnist/byclass", "fifo.npz", "folder:images"]
SIZES = {f"--num-{n}": NUMBERS for n in ("channels", "blocks", "levels", "latents")}
SIZES |= {f"--num-{name}": NUMBERS for name in ("features", "layers", "points")}
SIZES |= {"--widths": NUMBERS, "--beta": NUMBERS, "--accumulate": NUMBERS}
POINTS = {
    f"--{n}": NUMBERS for n in ("labelled", "epochs", "seconds", "beta-end", "clip")
}
MIXTURE = {f"--{n}": NUMBERS for n in ("cells", "latents", "rank", "shrinkage", "seed")}


def choose(random: Random, options: dict[str, Any], most: int = 4) -> list[str]:
    """Returns a few options of a command line, with a value each."""
    argv = []
    for name in random.choices(sorted(options), k=random.randint(0, most)):
        values = options[name]
        argv.append(name if values is None else f"{name}={random.choice(values)}")
    return argv


def make_place(folder: Path) -> dict[str, Path]:
    """Fills a folder with what command lines name, and goes there."""
    files = save_models(folder)
    arrays = {"images": images_of(6, 8), "labels": np.arange(6) % 3, "chars": CHARS}
    (folder / "a.npz").write_bytes(npz(**arrays))
    (folder / "folder.png").mkdir()
    for name in ("fifo.png", "fifo.npz", "fifo.safetensors"):
        os.mkfifo(folder / name)
    os.chdir(folder)
    os.environ["JDIFF_DATA_DIR"] = str(folder)
    return files


def try_commands(folder: Path) -> Attempt:
    """Command lines of `write`, `sample` and `evaluate`, drawn with tiny weights."""
    files = make_place(folder)
    weights = [str(path.name) for path in files.values()]
    weights += ["missing", "fifo.safetensors", ".", "a.npz", "~nosuchuser/a", "", "\0"]
    known = {path.name for path in folder.iterdir()}

    def attempt(random: Random) -> None:
        chosen = random.choice(
            weights[: len(files)] if random.random() < 0.8 else weights
        )
        argv = choose(random, SAMPLING, 2)
        # A few programs, which are compiled once.
        argv += ["--steps=2"] if random.random() < 0.7 else []
        match random.choice(["write", "write", "sample", "evaluate"]):
            case "write":
                text = random.choice(TEXTS)
                argv += choose(random, WRITE) + [f"--weights={chosen}", "--", text]
                argv = ["write", *argv]
            case "sample":
                more = {"--chars": TEXTS, "--num": NUMBERS, "--out": PATHS}
                argv += choose(random, more, 3) + [f"--weights={chosen}"]
                argv = ["sample", "--out=f.npz", "--num=2", *argv]
            case _:
                more = {"--reference": DATA, "--num": NUMBERS, "--out": PATHS}
                more |= {"--data-dir": PATHS, "--natural": None, "--fast": None}
                argv += choose(random, more, 3) + ["--", chosen]
                argv = ["evaluate", "--reference=a.npz", *argv]
        try:
            command(*argv)
        finally:
            for path in folder.iterdir():
                if path.name not in known and not path.name.startswith(".jdiff-"):
                    path.unlink()

    return attempt


def try_training(folder: Path) -> Attempt:
    """Command lines of `train`, on tiny data; few of them get to train."""
    make_place(folder)
    options = {
        "unet": RUN | SIZES | DIFFUSION | {"--dry-run": None, "--start": PATHS},
        "autoencoder": RUN | SIZES | {"--autoencoder": ["mlp", "conv", "pca", "x"]},
        "latent": RUN | SIZES | DIFFUSION | {"--autoencoder": PATHS},
        "distill": RUN | {"--paths": NUMBERS, "--updates": NUMBERS, "--weights": PATHS},
        "pen": RUN | SIZES | {"--judge-steps": NUMBERS},
        "mixture": MIXTURE | {"--out": PATHS, "--model": ["article", "affine", "x"]},
        "points": POINTS | SIZES | SAMPLING | {"--gif": PATHS, "--out": PATHS},
    }
    tiny = {"unet": ["--num-channels=16", "--num-blocks=1", "--steps=1"]}
    tiny |= {"autoencoder": ["--autoencoder=pca", "--num-latents=2"]}
    tiny |= {"mixture": ["--cells=2", "--latents=3", "--rank=2", "--out=m.safetensors"]}
    tiny |= {"points": ["--data=moons", "--num-points=64", "--epochs=1"]}

    def attempt(random: Random) -> None:
        recipe = random.choice(sorted(options))
        argv = ["train", recipe, *tiny.get(recipe, ["--steps=1"])]
        if recipe not in ("distill", "points"):
            argv.append("--data=a.npz")
        argv += choose(random, options[recipe], 3)
        if random.random() < 0.2:
            argv.append(f"--data={random.choice(DATA)}")
        if recipe not in ("mixture", "points"):
            argv.append("--out=run")
        try:
            command(*argv)
        finally:
            shutil.rmtree("run", ignore_errors=True)

    return attempt


NUMBERS = [0, 1, -1, 2, 5, 10, 0.5, -0.5, 1e-30, 1e30, 1e308, 1e309, float("nan")]
NUMBERS += [-float("inf"), 10**20, True, None, "3", np.int64(4), np.float32(3), [1], 1j]


def try_numbers(folder: Path) -> Attempt:
    """Numbers given to the functions of the core and to `generate`."""
    files = save_models(folder)
    loaded = [models.load_model(files[name]) for name in ("unet", "latent", "mixture")]
    schedules = [jdiff.cosine_schedule(10), jdiff.flow_schedule(10)]
    schedules += [jdiff.karras_schedule(10)]

    def attempt(random: Random) -> None:
        # What is no number is Python's to refuse.
        with contextlib.suppress(TypeError), np.errstate(all="ignore"):
            if random.random() < 0.8:
                call_core(random, random.choice(schedules))
            else:
                call_generate(random, random.choice(loaded))

    return attempt


def call_core(random: Random, schedule: jdiff.Schedule) -> None:
    """Calls a function of the core with numbers drawn at random."""
    a, b, c = random.choices(NUMBERS, k=3)
    x = np.ones(3, np.float32)
    match random.randrange(8):
        case 0:
            makes = [jdiff.linear_schedule, jdiff.cosine_schedule]
            makes += [jdiff.quadratic_schedule, jdiff.sigmoid_schedule]
            makes += [jdiff.karras_schedule]
            made = random.choice(makes)(random.choice([10, a]), b, c)
            check(np.isfinite(made.alpha).all() and np.isfinite(made.sigma).all())
        case 1:
            check_grid(jdiff.karras_timesteps(schedule, random.choice([5, a]), b, c))
        case 2:
            check_grid(jdiff.timesteps(schedule, a))
        case 3:
            jdiff.log_snr(schedule, a)
        case 4:
            jdiff.q_sample(schedule, x, a, x)
        case 5:
            check(jdiff.q_posterior(schedule, x, x, a, b).variance >= 0)
        case 6:
            solver = jdiff.ddim(schedule, 0.0 if random.random() < 0.8 else a)
            denoise = jdiff.guide(lambda x, t: x, lambda x, t: x, 2.0)
            solver.step(jax.random.key(0), denoise, solver.init(x), a, b)
        case 7:
            check_grid(jdiff.spaced_timesteps(schedule, 5, sigma_min=a, sigma_max=b))


def call_generate(random: Random, model: models.Model) -> None:
    """Calls `generate` with one of its arguments drawn at random."""
    a, b, c = random.choices(NUMBERS, k=3)
    options = {"num_steps": 2, "guidance": 1.0, "batch_size": 4, "labels": [0, 1]}
    options[random.choice(sorted(options))] = random.choice([a, [a], [a, b]])
    if random.random() < 0.1:
        options["style"] = [a, b, c, 0.0]
    jdiff.generate(jax.random.key(0), model, **options)


def check_grid(times: np.ndarray) -> None:
    """Raises Wrong unless a grid descends to 0."""
    check(times[-1] == 0 and (np.diff(times) < 0).all())


def try_pages(folder: Path) -> Attempt:
    """Texts and numbers given to the typesetting of glyphs."""
    glyphs = images_of(40, 28)
    numbers = [0, 1, 3, 4, 44, 700, 0.06, 0.1, 0.5, 10, 1e9, 1e308, -1, float("nan")]
    numbers += [None, 65_000, 10**20]
    characters = "ab .\n\tj-\u00e9\U0001f600\r"
    aligns = [handwriting.FLUSH_LEFT, handwriting.JUSTIFIED, handwriting.CENTRED]

    def attempt(random: Random) -> None:
        text = "".join(random.choices(characters, k=random.randint(0, 40)))
        names = ["cap_height", "width", "height", "margin", "jitter", "pen"]
        options = {n: random.choice(numbers) for n in random.sample(names, 2)}
        if options.get("cap_height", 1) is None or options.get("margin", 1) is None:
            return
        drawn = sum(not char.isspace() for char in text)
        with contextlib.suppress(TypeError):
            layout = handwriting.typeset(
                text, glyphs[:drawn], align=random.choice(aligns), **options
            )
            page = handwriting.glyph_page(layout, glyphs[:drawn])
            check(page.image.size <= 89_000_000)

    return attempt


AREAS: dict[str, Callable[[Path], Attempt]] = {
    "commands": try_commands,
    "training": try_training,
    "resume": try_resume,
    "numbers": try_numbers,
    "pages": try_pages,
    "weights": try_weights,
    "checkpoints": try_checkpoints,
    "npz": try_npz,
    "strokes": try_strokes,
    "unipen": try_unipen,
    "idx": try_idx,
    "zip": try_zip,
    "folder": try_folder,
}
