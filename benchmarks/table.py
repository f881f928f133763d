"""Print what ``pytest --benchmark-json FILE`` wrote as a Markdown table.

python benchmarks/table.py growth.json
"""

import json
import sys

import pandas as pd


def main() -> None:
    """Print a table per test, with a row per benchmark: its parameters, milliseconds and peak memory if measured."""
    with open(sys.argv[1]) as file:
        benchmarks = json.load(file)['benchmarks']
    rows = pd.DataFrame(
        {
            'benchmark': benchmark['fullname'].partition('[')[0],
            **{name: str(value) for name, value in (benchmark['params'] or {}).items()},
            'median, ms': f'{1000 * benchmark["stats"]["median"]:.2f}',
            'IQR, ms': f'{1000 * benchmark["stats"]["iqr"]:.2f}',
            'rounds': str(benchmark['stats']['rounds']),
            **({'peak, MB': str(benchmark['extra_info']['peak_mb'])} if benchmark['extra_info'] else {}),
        }
        for benchmark in benchmarks
    )
    for name, table in rows.groupby('benchmark', sort=False):
        table = table.drop(columns='benchmark').dropna(axis=1, how='all')
        print(f'{name}\n\n{table.to_markdown(index=False, disable_numparse=True)}\n')


if __name__ == '__main__':
    main()
