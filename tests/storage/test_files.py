"""Files that appear whole or not at all, and folders that cannot take them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jdiff import storage

DRAFT = (
    "import time; from jdiff import storage\n"
    "with storage.atomic_write('a.png') as draft:\n"
    "    draft.write_text('half'); print(draft.name, flush=True); time.sleep(60)"
)


def begin_draft(folder):
    """A process that has written half a file, and the name of its draft."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRAFT], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_draft_of_a_killed_process_goes_with_the_next_write(tmp_path):
    process, draft = begin_draft(tmp_path)
    process.kill()
    process.wait()
    assert names_in(tmp_path) == [draft]
    with storage.atomic_write(tmp_path / "b.txt") as own:
        own.write_text("whole")
    assert names_in(tmp_path) == ["b.txt"]


def test_the_draft_of_a_process_that_lives_stays(tmp_path):
    process, draft = begin_draft(tmp_path)
    foreign = draft.replace(draft.split("-")[1], "00000000")  # of another machine
    (tmp_path / foreign).touch()
    with storage.atomic_write(tmp_path / "b.txt") as own:
        own.write_text("whole")
    assert names_in(tmp_path) == sorted([draft, foreign, "b.txt"])
    process.kill()
    process.wait()


def test_output_is_refused_before_work_where_it_cannot_be_written(tmp_path):
    """Permissions do not show it: root may write anywhere, and /proc takes no file."""
    (tmp_path / "file").touch()
    for path, words in [
        ("/proc/a.png", "cannot write /proc/a.png: "),
        (tmp_path / ("a" * 300 + ".png"), "File name too long"),
        (tmp_path / "a\0.png", "null character"),
        (tmp_path / "no" / "a.png", "there is no folder"),
        (tmp_path / "file" / "a.png", "there is no folder"),
        (tmp_path, "it is a folder"),
        ("", "it is a folder"),
        ("~nosuchuser/a.png", "a user with a home"),
    ]:
        with pytest.raises((ValueError, OSError), match=words):
            storage.check_output(path)
    assert names_in(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is full")
def test_a_full_disk_is_noticed_before_work(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", lambda *_: open_full())
    with pytest.raises(OSError, match="No space left on device"):
        storage.check_output(tmp_path / "a.png")
    assert not names_in(tmp_path)


def open_full():
    with open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")


def test_a_home_is_only_needed_for_a_path_that_names_it(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert storage.expand("a/~b") == Path("a/~b")
    with pytest.raises(ValueError, match="a user with a home"):
        storage.user_cache()
