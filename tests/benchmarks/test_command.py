"""The command line of the benchmarks."""

import argparse

import command
import pytest


def test_what_is_wrong_is_one_sentence_and_exit_code_2(capsys):
    def main():
        command.check_positive(argparse.Namespace(num_rounds=0), "num_rounds")

    with pytest.raises(SystemExit) as stop:
        command.run(main)
    assert stop.value.code == 2
    _, _, sentence = capsys.readouterr().err.partition(": error: ")
    assert sentence == "--num-rounds must be >= 1, got 0.\n"
