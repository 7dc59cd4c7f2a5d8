"""`jdiff serve` as a process: what it sends, with weights of one's own, and its end."""

import json
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


@pytest.fixture(scope="module")
def server(folder):
    command = [sys.executable, "-m", "jdiff", "serve", "--site", folder / "site"]
    command += ["--port", "0", "--weights", PEN]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(folder / "temporary"),
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        process.address = process.stdout.readline().decode().strip()
        yield process
        process.kill()


def fetch(server, name, accepted=""):
    request = Request(server.address + name, headers={"Accept-Encoding": accepted})
    with urlopen(request, timeout=30) as response:
        return response.headers, response.read()


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
