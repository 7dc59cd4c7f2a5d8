"""Good bytes, JSON and archives, and what can go wrong with them."""

import contextlib
import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

CHARS = "ab1"
EDGES = [0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63]
HEADERS = """\
'descr': '|u1'
'descr': '<U999999'
'descr': '|O'
'descr': '<f8'
'descr': [('a', 'b')]
'shape': (-1,)
'shape': (4294967296, 4294967296)
'shape': ()
'shape': (3, 28, 28)
'shape': (True, 2.0)
'fortran_order': True
'fortran_order': 0
2**99999999""".splitlines()
HEADERS += ["[" * 500, "'" * 9]
STRANGE = [None, True, -1, 0, 1e308, 10**9, 2**63, float("nan"), "", "nan", "cosine"]
STRANGE += [[], {}, [[]], [1, 2], [20000, 20000, 1], ["a", "a"], {"a": None}]
STRANGE += ["x" * 999, "\ud800"]
MEMBERS = ["../a", "/a", "?", "a" * 999, "x.npy"]
STORED_DEFLATED_BZIP2_LZMA = [0, 8, 12, 14]


class Wrong(Exception):
    """What was read is not what was written."""


def check(is_right: Any) -> None:
    """Raises Wrong unless what was read is as it must be."""
    if not is_right:
        raise Wrong


def images_of(num: int, side: int = 28) -> np.ndarray:
    """Returns images of noise, uint8[num, side, side]."""
    return np.random.default_rng(0).integers(0, 256, (num, side, side), np.uint8)


def npz(**arrays: Any) -> bytes:
    """Returns the bytes of an .npz file."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def zipped(members: dict[str, bytes], method: int = 0) -> bytes:
    """Returns a zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return file.getvalue()


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
                order = random.choice(["little", "big"])
                found[at : at + size] = random.choice(EDGES).to_bytes(8, order)[:size]
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
    if not (isinstance(value, dict) and value and random.random() < 0.8):
        return random.choice(STRANGE)
    name, changed = random.choice(sorted(value)), dict(value)
    match random.randrange(4):
        case 0:
            del changed[name]
        case 1:
            changed[name + "x"] = changed.pop(name)
        case _:
            changed[name] = spoil_json(random, value[name])
    return changed


def spoil_json_bytes(random: Random, content: bytes) -> bytes:
    """Returns a file of JSON, spoiled as JSON if it is some, else as bytes."""
    with contextlib.suppress(ValueError):
        return json.dumps(spoil_json(random, json.loads(content))).encode()
    return spoil(random, content)


def spoil_npy(random: Random, content: bytes) -> bytes:
    """Returns an array in NumPy's format, spoiled in its header or behind it."""
    length = struct.unpack("<H", content[8:10])[0]
    header, body = content[10 : 10 + length], content[10 + length :]
    match random.randrange(4):
        case 0:
            header = spoil(random, header)
        case 1:
            parts = ", ".join(random.choices(HEADERS, k=random.randint(1, 3)))
            header = f"{{'fortran_order': False, {parts}}}\n".encode("latin1")
        case 2:
            body = spoil(random, body)
        case 3:
            return spoil(random, content)
    return content[:8] + struct.pack("<H", len(header) % 65536) + header + body


def spoil_zip(
    random: Random, content: bytes, within: Callable[[Random, bytes], bytes]
) -> bytes:
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
            members[random.choice(MEMBERS)] = members.pop(name)
        case _:
            members[name] = within(random, members[name])
    return zipped(members, random.choice(STORED_DEFLATED_BZIP2_LZMA))


def spoil_gzip(random: Random, content: bytes) -> bytes:
    """Returns a gzipped file, spoiled inside or outside."""
    if random.random() < 0.5:
        return gzip.compress(spoil(random, gzip.decompress(content)), 1)
    return spoil(random, content)


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
            description = spoil_json(random, json.loads(metadata["description"]))
            text = json.dumps(description)
            if random.random() < 0.1:
                text = random.choice(["[" * 10**5, '{"a": ' * 9999, "1"])
            metadata["description"] = text
            if random.random() < 0.9:
                metadata.pop("sha256", None)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body
