"""The documents: every line of code in them is run, and prints what stands below it."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize(
    "path", [path for path in DOCS.glob("*.md") if ">>>" in path.read_text()], ids=lambda p: p.stem
)
def test_every_line_does_what_stands_below_it(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testfile(str(path), module_relative=False, optionflags=FLAGS)
    assert found.attempted and not found.failed
