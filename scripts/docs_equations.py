"""Equations of docstrings as blocks: the documentation keeps their lines.

mkdocstrings loads this; a docstring writes an equation as a paragraph of its own.
"""

import re

import griffe

EQUATION = re.compile(r"(?:(?<=\n\n)|\A)\S+ (?:=|~|<-) .*(?:\n\S.*)*")


class Equations(griffe.Extension):
    """Indents the paragraphs that begin with `name =`, which Markdown keeps as is."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Changes the docstring of an object that was read."""
        if obj.docstring:
            obj.docstring.value = EQUATION.sub(_indent, obj.docstring.value)


def _indent(paragraph: re.Match) -> str:
    return re.sub("^", "    ", paragraph[0], flags=re.MULTILINE)
