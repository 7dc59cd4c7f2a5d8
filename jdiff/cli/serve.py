"""`jdiff serve`: the site with the page that writes in a tab, on this machine alone.

`scripts/build_site.py` builds it into the user's cache, where this command finds
it. The package does not carry it: ONNX Runtime alone would be megabytes, for few.
"""

import argparse
import functools
import signal
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

from jdiff.cli import export


def add_command(commands: Any) -> None:
    """Adds the command to `argparse`'s subparsers."""
    command = commands.add_parser(
        "serve", help="write in a browser tab", allow_abbrev=False
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("--weights", help="a file of weights, or the folder of a run; else as built")
    add("--site", type=Path, help="where build_site.py wrote the page")
    add("--port", type=int, default=8000, help="on this machine; by default 8000")


def run(args: argparse.Namespace) -> None:
    """Serves until it is interrupted.

    Raises:
        ValueError: there is no page, the port is none, or the weights are of no pen.
        OSError: the port is taken.
    """
    import http.server

    from jdiff import models, storage

    if not 0 <= args.port < 2**16:
        raise ValueError(f"--port must be in [0, 65535], got {args.port}.")
    site = args.site or storage.user_cache() / "site"
    page = site / "write"
    if not (page / "index.html").is_file():
        raise ValueError(
            f"the page must be built by scripts/build_site.py, got none in {page}."
        )
    with tempfile.TemporaryDirectory() as folder:
        if args.weights is not None:
            if models.find_pen(args.weights) is None:
                raise ValueError(
                    f"the weights must be of pen strokes, got {args.weights}."
                )
            export.write(args.weights, Path(folder) / "model.onnx")
        handler = _make_handler(site, Path(folder) if args.weights else page)
        with http.server.ThreadingHTTPServer(
            ("127.0.0.1", args.port), handler
        ) as server:
            # An exception, unlike the command's own way to end, leaves no folder.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, _stop)
            print(f"http://127.0.0.1:{server.server_port}/write/", flush=True)
            server.serve_forever()


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _make_handler(site: Path, model: Path) -> Any:
    """Returns what serves a folder, and the files of a model from another."""
    import http.server

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
            ".mjs": "text/javascript"
        }
        is_packed = False

        def translate_path(self, path: str) -> str:
            """Returns the file of a path, or the same compressed, if that is there.

            Names with `model.` first are the model's.
            """
            found = super().translate_path(path)
            name = Path(found).name
            if name.startswith("model."):
                found = str(model / name)
            packed = f"{found}.br"
            accepted = self.headers.get("Accept-Encoding", "")
            self.is_packed = "br" in accepted and Path(packed).is_file()
            return packed if self.is_packed else found

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

    return functools.partial(Handler, directory=str(site))
