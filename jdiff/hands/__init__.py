"""Hands of one's own: a sheet, its photograph, the strokes on it, and their hand."""
