"""The documentation: it builds without a warning, and loads nothing from elsewhere."""

import base64
import functools
import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MISSING = [name for name in ("chromium", "node", "npm") if shutil.which(name) is None]
pytestmark = pytest.mark.slow
pytest.importorskip("zensical", reason="needs jdiffusion[docs]")

# What a page or a style sheet loads; links that a reader follows are not among it.
LOADS = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?"""
    r"""\b(?:src|srcset|data|poster)=["']?([^"'\s>]+)"""
    r"""|<link\b[^>]*?\bhref=["']?([^"'\s>]+)"""
    r"""|url\(["']?([^"')]+)|@import\s+["']([^"']+)"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = tmp_path_factory.mktemp("docs") / "site"
    build = [sys.executable, ROOT / "scripts" / "build_site.py", "--part", "docs"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([*build, "--out", site], check=True, env=environment)
    (site / "write").mkdir()
    (site / "write" / "index.html").write_text("<!doctype html><title>Write</title>")
    return site


def test_there_is_a_page_for_each_notebook_and_each_room(site):
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        page = (site / "tutorial" / notebook.stem / "index.html").read_text()
        assert "<math" in page and "$$" not in page
    schedules = (site / "reference" / "schedules" / "index.html").read_text()
    assert 'id="jdiff.schedules.cosine_schedule"' in schedules
    solvers = (site / "reference" / "solvers" / "index.html").read_text()
    equations = "\n".join(re.findall(r"<pre.*?</pre>", solvers, re.DOTALL))
    assert "x_0 = denoise(x_t, t),  eps = (x_t - alpha_t x_0) / sigma_t" in equations
    networks = (site / "reference" / "networks" / "index.html").read_text()
    assert 'id="jdiff.networks.mlp.make_mlp"' in networks


def test_a_notebook_is_shown_as_it_is_stored(tmp_path):
    path = ROOT / "scripts" / "docs_pages.py"
    spec = importlib.util.spec_from_file_location("docs_pages", path)
    docs_pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docs_pages)
    picture = {"image/png": base64.b64encode(b"png").decode(), "text/plain": "<Figure>"}
    outputs = [
        {"output_type": "stream", "text": ["two\n", "lines\n"]},
        {"output_type": "display_data", "data": picture},
        {"output_type": "execute_result", "data": {"text/html": "<b>bold</b>"}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "costs `$1$` and $x_t$"]},
        {"cell_type": "code", "source": ["print('$2$')"], "outputs": outputs},
    ]
    notebook = tmp_path / "one.ipynb"
    notebook.write_text(json.dumps({"cells": cells}))
    docs_pages.write_notebook(notebook, tmp_path / "out")
    page = (tmp_path / "out" / "one.md").read_text()
    assert page.startswith("# Title\ncosts `$1$` and <span")
    assert "<msub><mi>x</mi><mi>t</mi></msub>" in page
    assert "```python\nprint('$2$')\n```\n\n```text\ntwo\nlines\n" in page
    assert "<b>bold</b>" in page and "<Figure>" not in page
    assert "(one_0.png)" in page
    assert (tmp_path / "out" / "one_0.png").read_bytes() == b"png"


def test_pages_and_style_sheets_load_nothing_from_elsewhere(site):
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    loaded = [
        next(filter(None, groups))
        for path in files
        for groups in LOADS.findall(path.read_text())
    ]
    assert len(loaded) > len(files)
    assert not [url for url in loaded if re.match(r"(https?:)?//", url)]


@pytest.mark.parametrize(
    "text",
    [
        "<script async src='https://cdn.example/a.js'>",
        '<link rel="preconnect" href="//fonts.example">',
        "@font-face{src:url(https://fonts.example/a.woff2)}",
        '@import "https://fonts.example/a.css";',
    ],
)
def test_the_scan_would_see(text):
    (groups,) = LOADS.findall(text)
    assert re.match(r"(https?:)?//", next(filter(None, groups)))


@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
def test_a_browser_reads_and_searches_it_without_leaving_the_machine(site, tmp_path):
    for name in ("package.json", "package-lock.json"):
        shutil.copy(Path(__file__).with_name(name), tmp_path)
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(install, cwd=tmp_path, check=True)
    pages = [path.parent.relative_to(site) for path in site.rglob("*/index.html")]
    pages = [f"{page}/" for page in pages if page.name != "write"]
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(site)
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        script = Path(__file__).with_name("docs.mjs")
        done = subprocess.run(
            ["node", script, address, tmp_path / "node_modules", "", *pages],
            check=True,
            capture_output=True,
            timeout=900,
            env=os.environ | {"CHROMIUM": shutil.which("chromium")},
        )
        server.shutdown()
    seen = json.loads(done.stdout)
    assert seen["outside"] == [] and seen["errors"] == []
    assert seen["wide"] == []
    assert len(seen["complaints"]) == 6 and not any(seen["complaints"].values())
