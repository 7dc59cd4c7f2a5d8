"""Builds the page that writes in a browser tab: static files for any web host.

    python scripts/build_site.py [--out FOLDER] [--model pen]
    jdiff serve

It needs npm, which brings what `web/package-lock.json` pins, and `jdiffusion[export]`.
"""

import argparse
import gzip
import shutil
import subprocess
import sys
from pathlib import Path

from jdiff import cli, storage

WEB = Path(__file__).parents[1] / "web"
VENDOR = {
    "onnxruntime-web/dist/ort.wasm.min.mjs": "ort.wasm.min.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.mjs": "ort-wasm-simd-threaded.mjs",
    "gifenc/dist/gifenc.esm.js": "gifenc.esm.js",
}
RUNTIME = "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"


def build(out: Path, model: str) -> None:
    """Writes the page, its packages and a model to a folder."""
    if shutil.which("npm") is None:
        sys.exit("build_site.py: error: npm must be installed, got none.")
    packages = WEB / "node_modules"
    command = ["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=WEB, check=True)
    (out / "vendor").mkdir(parents=True, exist_ok=True)
    for path in WEB.iterdir():
        if path.suffix in (".html", ".css", ".js"):
            shutil.copy(path, out)
    for source, name in VENDOR.items():
        shutil.copy(packages / source, out / "vendor" / name)
    # Zipped here, because many hosts do not; the worker unzips it.
    runtime = gzip.compress((packages / RUNTIME).read_bytes(), 9, mtime=0)
    (out / "vendor" / "ort.wasm.gz").write_bytes(runtime)
    cli.main(["export", model, "--out", str(out / "model.onnx")])
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"wrote {out}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=storage.user_cache() / "site")
    parser.add_argument("--model", default="pen", help="weights, or a file of some")
    args = parser.parse_args()
    build(args.out, args.model)
