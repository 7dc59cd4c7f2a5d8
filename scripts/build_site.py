"""Builds the site: the page that writes in a browser tab, and the documentation.

    python scripts/build_site.py [--out FOLDER] [--model pen] [--part page|docs]
    jdiff serve

The files are static, for any web host. Beside a large one lies the same compressed,
F.br, for hosts that can send it. The page needs node, which compresses, and
`jdiffusion[export]`; the documentation needs `jdiffusion[docs]`.
"""

import argparse
import importlib.util
import lzma
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import docs_pages

from jdiff import cli, storage

ROOT = Path(__file__).parents[1]
WEB = ROOT / "jdiff" / "web"
MIN_PACKED = 2000  # bytes of a file that is worth compressing


def build_page(out: Path, model: str) -> None:
    """Writes the page and a model to a folder."""
    if shutil.which("node") is None:
        sys.exit("build_site.py: error: node must be installed, got none.")
    shutil.copytree(WEB, out, dirs_exist_ok=True)
    for packed in out.rglob("*.xz"):
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()
    cli.main(["export", model, "--out", str(out / "model.onnx")])
    files = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".br"]
    large = [path for path in files if path.stat().st_size >= MIN_PACKED]
    compress = ROOT / "scripts" / "compress.mjs"
    subprocess.run(["node", compress, *large], check=True)
    sent = [_compressed(path) if path in large else path for path in files]
    size, packed = (sum(p.stat().st_size for p in paths) for paths in (files, sent))
    print(f"wrote {out}: {size / 1e6:.2f} MB, {packed / 1e6:.2f} MB compressed")


def build_docs(out: Path) -> None:
    """Writes the documentation to a folder; what is wrong in it ends the program."""
    if importlib.util.find_spec("zensical") is None:
        sys.exit("build_site.py: error: jdiffusion[docs] must be installed, got none.")
    with tempfile.TemporaryDirectory() as draft:
        folder = Path(draft)
        shutil.copy(ROOT / "scripts" / "docs_equations.py", folder)
        (folder / "jdiff").symlink_to(ROOT / "jdiff")
        shutil.copytree(ROOT / "docs", folder / "docs")
        for page in folder.glob("docs/*.md"):
            page.write_text(_relinked(page.read_text()))
        config = (ROOT / "mkdocs.yml").read_text().splitlines()
        tutorial = next(i for i, line in enumerate(config) if "- Tutorial:" in line)
        for path in sorted(ROOT.glob("notebooks/*.ipynb"), reverse=True):
            docs_pages.write_notebook(path, folder / "docs" / "tutorial")
            config.insert(tutorial + 1, f"      - tutorial/{path.stem}.md")
        (folder / "mkdocs.yml").write_text("\n".join(config))
        for name in re.findall(r"reference/(\w+)\.md", "\n".join(config)):
            docs_pages.write_reference(f"jdiff.{name}", folder / "docs" / "reference")
        command = [sys.executable, "-m", "zensical", "build", "--strict"]
        subprocess.run(command, cwd=folder, check=True)
        shutil.copytree(folder / "site", out, dirs_exist_ok=True)
    print(f"wrote {out}: the documentation")


def _relinked(text: str) -> str:
    """Returns a page of docs/ whose links stay inside the site."""
    text = re.sub(r"\(\.\./notebooks/(\w+)\.ipynb\)", r"(tutorial/\1.md)", text)
    return re.sub(r"\[([^]]+)\]\(\.\./[^)]+\)", r"\1", text)


def _compressed(path: Path) -> Path:
    """Returns where the compressed file of another lies."""
    return path.with_name(f"{path.name}.br")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=storage.user_cache() / "site")
    parser.add_argument("--model", default="pen", help="weights, or a file of some")
    parser.add_argument("--part", choices=["page", "docs"], help="else both")
    args = parser.parse_args()
    if args.part != "page":
        build_docs(args.out)
    if args.part != "docs":
        build_page(args.out / "write", args.model)
