"""Pages of the documentation that are made of something else: notebooks, docstrings."""

import ast
import base64
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$]+?)\$", re.DOTALL)
CODE = re.compile(r"(```.*?```|`[^`]+`)", re.DOTALL)
PICTURES = {"image/png": "png", "image/gif": "gif", "image/jpeg": "jpg"}


def write_notebook(path: Path, folder: Path) -> None:
    """Writes a notebook as it is stored, as Markdown, pictures and a copy of it."""
    shown = [f"[Download this notebook]({path.name})"]
    pictures = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            shown.append(_with_mathml(source))
            continue
        shown.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", "")})
            kind = next(filter(data.get, [*PICTURES, "text/html", "text/plain"]), None)
            if kind in PICTURES:
                name = f"{path.stem}_{len(pictures)}.{PICTURES[kind]}"
                pictures.append((name, "".join(data[kind])))
                shown.append(f"![what the code above draws]({name})")
            elif kind == "text/html":
                shown.append(f"<div>{''.join(data[kind])}</div>")
            elif kind:
                shown.append(f"```text\n{''.join(data[kind])}\n```")
    shown[:2] = shown[1::-1]  # the title stands first
    folder.mkdir(parents=True, exist_ok=True)
    for name, encoded in pictures:
        (folder / name).write_bytes(base64.b64decode(encoded))
    (folder / path.name).write_bytes(path.read_bytes())
    (folder / f"{path.stem}.md").write_text("\n\n".join(shown) + "\n")


def _with_mathml(text: str) -> str:
    """Returns Markdown with its formulas as MathML, which browsers set themselves."""
    from latex2mathml.converter import convert

    def formula(match: re.Match) -> str:
        display = "block" if match[1] else "inline"
        tex = (match[1] or match[2]).replace(r"\rVert", r"\Vert")
        tex = re.sub(r"\\tag\{(.+?)\}", r"\\qquad(\1)", tex)
        shown = convert(tex, display=display).replace("*", "&#x2a;")
        # A span, since Markdown takes <math> at a line's beginning for a block.
        return f'<span class="math-{display}">{shown}</span>'

    parts = CODE.split(text)
    parts[::2] = [MATH.sub(formula, part) for part in parts[::2]]
    return "".join(parts)


def write_reference(name: str, folder: Path) -> None:
    """Writes the page of a room or module: what is public there, file by file."""
    if _path(name).name == "__init__.py":
        files = _exports(name)
    else:
        files = {name: _exports("jdiff.core").get(name)}
    shown = [f"# {name}"]
    for module, members in files.items():
        options = {"show_root_heading": module != name}
        if members is not None:
            options["members"] = members
        shown.append(f"::: {module}\n    options: {json.dumps(options)}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name.removeprefix('jdiff.')}.md").write_text("\n\n".join(shown) + "\n")


def _exports(name: str) -> dict[str, list[str] | None]:
    """Returns what a module makes public: names of each file, or None for all."""
    files: dict[str, list[str] | None] = {name: []}
    for node in ast.parse(_path(name).read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for member in [alias.name for alias in node.names if alias.asname]:
                if _path(f"{node.module}.{member}"):
                    files[f"{node.module}.{member}"] = None
                elif (names := files.setdefault(node.module, [])) is not None:
                    names.append(member)
        elif isinstance(node, ast.FunctionDef) and node.name[0] != "_":
            files[name].append(node.name)
    return files


def _path(name: str) -> Path | None:
    """Returns the file of a module, if there is one."""
    path = ROOT.joinpath(*name.split("."))
    files = [path.with_suffix(".py"), path / "__init__.py"]
    return next(filter(Path.is_file, files), None)
