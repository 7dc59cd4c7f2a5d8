"""Hands in the order in which they can be read."""

import numpy as np
import pytest
import rank_hands

from jdiff import models, storage


def test_hands_are_sorted_by_their_errors_with_all_that_belongs_to_them(
    tmp_path, monkeypatch
):
    params, description = storage.load_weights(models.pen.SHIPPED_PEN)
    num, size = params["hands"]["codes"].shape
    codes = np.arange(float(num * size)).reshape(num, size)
    params["hands"]["codes"] = codes
    storage.save_weights(tmp_path / "old.safetensors", params, description)
    errors = np.random.default_rng(0).permutation(num) / num
    monkeypatch.setattr(rank_hands.shutil, "which", lambda name: "tesseract")
    monkeypatch.setattr(rank_hands, "measure_hand", lambda model, k: errors[k])
    out = tmp_path / "new.safetensors"
    rank_hands.main([str(tmp_path / "old.safetensors"), "--out", str(out)])
    ordered = models.load_pen(out).hands
    np.testing.assert_array_equal(ordered[0], codes[errors.argmin()])
    np.testing.assert_array_equal(ordered[-1], codes[errors.argmax()])


def test_a_missing_engine_is_one_sentence(monkeypatch):
    monkeypatch.setattr(rank_hands.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="tesseract must be installed"):
        rank_hands.main(["old.safetensors", "--out", "new.safetensors"])
