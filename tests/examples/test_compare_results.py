"""The command that compares files of detections."""

import json
from pathlib import Path
from typing import Callable

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """A function that writes two detections, the second with overrides, and returns the path."""

    def write(name: str, **options) -> str:
        first = dict(file_name='a.jpg', bbox=[1.0, 2.0, 30.0, 40.0], score=0.9, category_id=3)
        second = dict(file_name='b.jpg', bbox=[5.0, 6.0, 70.0, 80.0], score=0.2, category_id=1)
        path = tmp_path / f'{name}.json'
        path.write_text(json.dumps([first, {**second, **options}]))
        return str(path)

    return write


@pytest.mark.parametrize(
    ('options', 'unmatched'),
    [
        (dict(bbox=[5.3, 6.0, 70.0, 80.0], score=0.2004), 0),
        (dict(bbox=[5.0, 6.0, 70.0, 80.6]), 2),
        (dict(score=0.202), 2),
        (dict(category_id=3), 2),
        (dict(file_name='c.jpg'), 2),
    ],
)
def test_partners(compare_results, write, capsys, options, unmatched):
    code = compare_results['main']([write('first'), write('second', **options)])
    assert code == (unmatched > 0) and f'{unmatched} without a partner' in capsys.readouterr().out


def test_min_score(compare_results, write):
    files = [write('first'), write('second', category_id=3)]
    assert compare_results['main']([*files, '--min-score', '0.5']) == 0
