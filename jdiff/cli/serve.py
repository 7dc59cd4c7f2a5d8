"""`jdiff serve`: the page that writes in a browser tab, on this machine alone.

`scripts/build_site.py` builds the page into the user's cache, where this command finds
it. The package does not carry it: ONNX Runtime alone would be megabytes, for few.
"""

import argparse
import functools
import tempfile
from pathlib import Path
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
    if not (site / "index.html").is_file():
        raise ValueError(
            f"the page must be built by scripts/build_site.py, got none in {site}."
        )
    with tempfile.TemporaryDirectory() as folder:
        if args.weights is not None:
            if models.find_pen(args.weights) is None:
                raise ValueError(
                    f"the weights must be of pen strokes, got {args.weights}."
                )
            export.write(args.weights, Path(folder) / "model.onnx")
        handler = _make_handler(site, Path(folder) if args.weights else site)
        with http.server.ThreadingHTTPServer(
            ("127.0.0.1", args.port), handler
        ) as server:
            print(f"http://127.0.0.1:{server.server_port}/", flush=True)
            server.serve_forever()


def _make_handler(site: Path, model: Path) -> Any:
    """Returns what serves a folder, and the files of a model from another."""
    import http.server

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
            ".mjs": "text/javascript"
        }

        def translate_path(self, path: str) -> str:
            """Returns the file of a path; names with `model.` first are the model's."""
            found = super().translate_path(path)
            name = Path(found).name
            return str(model / name) if name.startswith("model.") else found

        def end_headers(self) -> None:
            """Sends the headers; a page that was built again is loaded again."""
            self.send_header("Cache-Control", "no-cache")
            super().end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    return functools.partial(Handler, directory=str(site))
