"""The cache of compiled programs: kept, limited, and never in the way."""

import os
import subprocess
import sys

import jax
import pytest
from cases import COMPILES_FAST

pytest.importorskip("filelock")
FLAGS = COMPILES_FAST["XLA_FLAGS"]
WRITE = [sys.executable, "-m", "jdiff", "write", "ab", "--steps", "1", "--no-gif"]


def write(folder, cache, **variables):
    """Runs `jdiff write` in a folder; returns the bytes of the picture."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {"XDG_CACHE_HOME": str(cache), "XLA_FLAGS": FLAGS} | variables
    subprocess.run(WRITE, cwd=folder, env=environment, check=True, capture_output=True)
    return (folder / "ab.png").read_bytes()


def programs(cache):
    return {path.name for path in (cache / "jdiff" / "compiled").glob("*-cache")}


@pytest.mark.slow
def test_the_second_process_finds_what_the_first_has_compiled(tmp_path):
    cache = tmp_path / "cache"
    first = write(tmp_path, cache)
    kept = programs(cache)
    assert any("_draw_batch" in name for name in kept)
    assert write(tmp_path, cache) == first
    assert programs(cache) == kept
    # Damaged programs are compiled again.
    for name in programs(cache):
        (cache / "jdiff" / "compiled" / name).write_bytes(b"damaged")
    assert write(tmp_path, cache) == first


def test_a_cache_that_cannot_be_is_done_without(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert write(tmp_path, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_user_may_choose_another_folder_or_none(tmp_path):
    chosen = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "chosen")}
    write(tmp_path, tmp_path / "cache", **chosen)
    assert not (tmp_path / "cache").exists()
    write(tmp_path, tmp_path / "cache", JAX_ENABLE_COMPILATION_CACHE="false")
    assert not programs(tmp_path / "cache")


def test_a_cache_that_somebody_keeps_locked_is_done_without(tmp_path):
    filelock = pytest.importorskip("filelock")
    folder = tmp_path / "jdiff" / "compiled"
    folder.mkdir(parents=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    with filelock.FileLock(folder / ".lockfile"):
        done = subprocess.run(
            WRITE,
            cwd=tmp_path,
            env=environment | {"XDG_CACHE_HOME": str(tmp_path), "XLA_FLAGS": FLAGS},
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stderr.count("is locked") == 1
    assert not programs(tmp_path) and (tmp_path / "ab.png").is_file()


def test_the_tests_have_a_folder_of_their_own():
    """Or they would fill, and read, the user's."""
    assert (
        jax.config.jax_compilation_cache_dir == os.environ["JAX_COMPILATION_CACHE_DIR"]
    )
