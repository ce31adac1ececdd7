"""The table of changes fits the code: what nobody can make any more would be noticed by nobody."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.table import MUTANTS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("file", sorted({mutant.file for mutant in MUTANTS}))
def test_every_change_can_be_made_and_is_python(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    tree = ast.dump(ast.parse(text))
    for mutant in MUTANTS:
        if mutant.file == file:
            assert text.count(mutant.before) == 1, mutant
            assert ast.dump(ast.parse(text.replace(mutant.before, mutant.after))) != tree, mutant


@pytest.mark.parametrize("file", sorted({test.split("::")[0] for mutant in MUTANTS for test in mutant.tests.split()}))
def test_every_test_that_is_to_notice_exists(file):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    known = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    named = {test for mutant in MUTANTS for test in mutant.tests.split() if test.split("::")[0] == file}
    assert {test.split("::")[-1].split("[")[0] for test in named} <= known


def test_no_change_is_named_twice():
    assert Counter(mutant[:3] for mutant in MUTANTS).most_common(1)[0][1] == 1
