"""`jdiff serve` as a process: what it sends, with weights of one's own, and its end."""

import contextlib
import json
import lzma
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

import jdiff
from jdiff import models

ROOT = Path(__file__).parents[2]
PAGE = Path(jdiff.__file__).parent / "web"
PEN = Path(jdiff.__file__).parent / "weights" / "pen_unipen.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    page = folder / "site" / "write"
    page.mkdir(parents=True)
    (folder / "temporary").mkdir()
    (page / "index.html").write_text("<!doctype html>")
    (page / "model.json").write_text("as built")
    (page / "worker.js").write_text("plain")
    (page / "worker.js.br").write_text("packed")
    return folder


@contextlib.contextmanager
def serving(folder, *options):
    command = [sys.executable, "-m", "jdiff", "serve", "--port", "0", *options]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(folder / "temporary"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        process.address = process.stdout.readline().decode().strip()
        yield process
        process.terminate()


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder, "--site", folder / "site", "--weights", PEN) as process:
        yield process


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The page as the package carries it, twice: the second time all is made."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "temporary").mkdir()
    with serving(folder):
        made = folder / "cache" / "jdiff" / "page"
        times = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    with serving(folder) as process:
        assert times and times == {p: p.stat().st_mtime_ns for p in made.rglob("*")}
        process.made = made
        yield process


def fetch(server, name, accepted=""):
    request = Request(server.address + name, headers={"Accept-Encoding": accepted})
    with urlopen(request, timeout=30) as response:
        return response.headers, response.read()


def test_the_package_has_the_whole_page(package):
    headers, page = fetch(package, "")
    assert headers["Content-Type"] == "text/html" and b"main.js" in page
    for name, kind in (("main.js", "text/javascript"), ("style.css", "text/css")):
        headers, body = fetch(package, name, "gzip, br")
        assert headers["Content-Type"] == kind and headers["Content-Encoding"] is None
        assert body == (PAGE / name).read_bytes()
    headers, body = fetch(package, "vendor/ort-wasm-simd-threaded.wasm")
    assert headers["Content-Type"] == "application/wasm"
    packed = PAGE / "vendor" / "ort-wasm-simd-threaded.wasm.xz"
    assert body == lzma.decompress(packed.read_bytes()) and body[:4] == b"\0asm"
    facts = json.loads(fetch(package, "model.json")[1])
    for name in facts["files"].values():
        assert fetch(package, name)[1] == (package.made / name).read_bytes()


def test_the_root_leads_to_the_page(package):
    with urlopen(package.address.removesuffix("write/"), timeout=30) as response:
        assert b"url=write/" in response.read()


def test_without_onnx_it_says_what_is_missing(tmp_path):
    hidden = "import sys; sys.modules['onnx'] = None; from jdiff.cli import main; "
    command = [sys.executable, "-c", hidden + "main(['serve', '--port', '0'])"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": tmp_path}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert done.returncode == 2
    assert b"pip install 'jdiffusion[export]'" in done.stderr


def test_the_model_is_that_of_the_weights(server):
    headers, body = fetch(server, "model.json")
    facts = json.loads(body)
    assert facts["classes"] == models.load_pen().classes
    assert headers["Content-Type"] == "application/json"
    for name in facts["files"].values():
        assert len(fetch(server, name)[1]) > 1e4


def test_files_come_compressed_to_those_who_can_read_them(server):
    headers, body = fetch(server, "worker.js", "gzip, br")
    assert (headers["Content-Encoding"], body) == ("br", b"packed")
    assert headers["Content-Type"].endswith("/javascript")
    headers, body = fetch(server, "worker.js", "gzip")
    assert (headers["Content-Encoding"], body) == (None, b"plain")


def test_what_is_not_there_is_not_found(server):
    with pytest.raises(HTTPError, match="404") as error:
        fetch(server, "nothing.js", "br")
    assert error.value.headers["Content-Encoding"] is None


def test_other_machines_cannot_reach_it(server):
    assert server.address.startswith("http://127.0.0.1:")


def test_sigterm_ends_it_and_leaves_nothing(server, folder):
    """The last test: the server is gone then."""
    assert list((folder / "temporary").iterdir())
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 143
    assert not list((folder / "temporary").iterdir())
