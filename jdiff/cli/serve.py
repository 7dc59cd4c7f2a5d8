"""`jdiff serve`: the page that writes in a tab, on this machine alone.

The package carries the page. What would be megabytes more there is made the first time,
in the user's cache: the model as ONNX, and the runtime, unpacked.
"""

import argparse
import functools
import hashlib
import lzma
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from jdiff.cli import export

_PAGE = Path(__file__).parents[1] / "web"
_RUNTIME = Path("vendor", "ort-wasm-simd-threaded.wasm")
_STAMP = "made-of"  # beside what was made: a digest of what it was made of
_TO_PAGE = '<!doctype html><meta http-equiv="refresh" content="0; url=write/">'


def add_command(commands: Any) -> None:
    """Adds the command to `argparse`'s subparsers."""
    command = commands.add_parser(
        "serve", help="write in a browser tab", allow_abbrev=False
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("--weights", help="of pen strokes, a file or the folder of a run")
    add("--site", type=Path, help="what build_site.py wrote, in place of the page")
    add("--port", type=int, default=8000, help="on this machine; by default 8000")


def run(args: argparse.Namespace) -> None:
    """Serves until it is interrupted.

    Raises:
        ValueError: there is no page, the port is none, or the weights are of no pen.
        OSError: the port is taken.
    """
    import http.server

    from jdiff import models

    if not 0 <= args.port < 2**16:
        raise ValueError(f"--port must be in [0, 65535], got {args.port}.")
    if args.site and not (args.site / "write" / "index.html").is_file():
        raise ValueError(
            f"the site must be built by scripts/build_site.py, got none in {args.site}."
        )
    if args.weights is not None and models.find_pen(args.weights) is None:
        raise ValueError(f"the weights must be of pen strokes, got {args.weights}.")
    layers = [args.site / "write"] if args.site else [_prepare(), _PAGE]
    with tempfile.TemporaryDirectory() as folder:
        root = args.site or Path(folder)
        if not args.site:
            (root / "index.html").write_text(_TO_PAGE)
        if args.weights is not None:
            model = Path(folder) / "model"
            model.mkdir()
            export.write(args.weights, model / "model.onnx")
            layers.insert(0, model)
        handler = _make_handler(root, layers)
        with http.server.ThreadingHTTPServer(
            ("127.0.0.1", args.port), handler
        ) as server:
            # An exception, unlike the command's own way to end, leaves no folder.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, _stop)
            print(f"http://127.0.0.1:{server.server_port}/write/", flush=True)
            server.serve_forever()


def _prepare() -> Path:
    """Returns the folder of what the page needs and the package does not carry.

    Raises:
        ValueError: ONNX is missing.
    """
    from jdiff import models, storage

    folder = storage.user_cache() / "page"
    packed = _PAGE / f"{_RUNTIME}.xz"
    code = sorted((_PAGE.parent / "export").glob("*.py"))
    digest = hashlib.sha256()
    for path in (packed, models.SHIPPED_PEN, *code):
        digest.update(path.read_bytes())
    stamp = folder / _STAMP
    if not stamp.is_file() or stamp.read_text() != digest.hexdigest():
        print("preparing the page, once", file=sys.stderr, flush=True)
        (folder / _RUNTIME).parent.mkdir(parents=True, exist_ok=True)
        export.write(models.SHIPPED_PEN, folder / "model.onnx")
        with storage.atomic_write(folder / _RUNTIME) as draft:
            draft.write_bytes(lzma.decompress(packed.read_bytes()))
        with storage.atomic_write(stamp) as draft:  # last: where it is, all is
            draft.write_text(digest.hexdigest())
    return folder


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _make_handler(root: Path, layers: Sequence[Path]) -> Any:
    """Returns what serves a folder.

    Args:
        root: the folder.
        layers: folders whose files are those in `write/`, the first that has one.
    """
    import http.server

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
            ".mjs": "text/javascript"
        }
        is_packed = False

        def translate_path(self, path: str) -> str:
            """Returns the file of a path, or the same compressed, if that is there."""
            found = Path(super().translate_path(path))
            inside = found.relative_to(root).parts
            places = [found]
            if inside[:1] == ("write",):
                places = [layer.joinpath(*inside[1:]) for layer in layers]
            accepts = "br" in self.headers.get("Accept-Encoding", "")
            for place in places:
                packed = Path(f"{place}.br")
                self.is_packed = accepts and packed.is_file()
                if self.is_packed or place.is_file():
                    return str(packed if self.is_packed else place)
            return str(places[-1])

        def guess_type(self, path: Any) -> str:
            """Returns the type of a file, compressed or not."""
            return super().guess_type(str(path).removesuffix(".br"))

        def end_headers(self) -> None:
            """Sends the headers; a page that was built again is loaded again."""
            if self.is_packed:
                self.send_header("Content-Encoding", "br")
            self.send_header("Cache-Control", "no-cache")
            super().end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    return functools.partial(Handler, directory=str(root))
