"""Builds the site: the page that writes in a browser tab, and the documentation.

    python scripts/build_site.py [--out FOLDER] [--model pen]
    jdiff serve

The files are static, for any web host. Beside a large one lies the same compressed,
F.br, for hosts that can send it. The page needs npm, which brings what
`web/package-lock.json` pins, and `jdiffusion[export]`.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from jdiff import cli, storage

WEB = Path(__file__).parents[1] / "web"
VENDOR = [
    "onnxruntime-web/dist/ort.wasm.min.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
    "gifenc/dist/gifenc.esm.js",
]
MIN_PACKED = 2000  # bytes of a file that is worth compressing


def build_page(out: Path, model: str) -> None:
    """Writes the page, its packages and a model to a folder."""
    if shutil.which("npm") is None:
        sys.exit("build_site.py: error: npm must be installed, got none.")
    command = ["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=WEB, check=True)
    (out / "vendor").mkdir(parents=True, exist_ok=True)
    for path in WEB.iterdir():
        if path.suffix in (".html", ".css", ".js"):
            shutil.copy(path, out)
    for source in VENDOR:
        shutil.copy(WEB / "node_modules" / source, out / "vendor")
    cli.main(["export", model, "--out", str(out / "model.onnx")])
    files = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".br"]
    large = [path for path in files if path.stat().st_size >= MIN_PACKED]
    subprocess.run(["node", WEB / "compress.mjs", *large], check=True)
    sent = [_compressed(path) if path in large else path for path in files]
    size, packed = (sum(p.stat().st_size for p in paths) for paths in (files, sent))
    print(f"wrote {out}: {size / 1e6:.2f} MB, {packed / 1e6:.2f} MB compressed")


def _compressed(path: Path) -> Path:
    """Returns where the compressed file of another lies."""
    return path.with_name(f"{path.name}.br")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=storage.user_cache() / "site")
    parser.add_argument("--model", default="pen", help="weights, or a file of some")
    args = parser.parse_args()
    build_page(args.out / "write", args.model)
