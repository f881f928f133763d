"""Compares two files of detections in COCO's result format, such as an example's and that of mmthunder.runtime.

    python examples/compare_results.py results/detections.json reference/detections.json

Both runs must have found them in the same images. The exit code is 1 if a detection has no partner.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np

from mmthunder.apis import Agreement
from mmthunder.runtime import Detections


def read_results(path: Path) -> Dict[str, Detections]:
    """Read a file of detections.

    Args:
        path (Path): JSON list in COCO's result format, with ``file_name``.

    Returns:
        dict[str, Detections]: Detections of each image in which there are some; labels are category ids.
    """
    found: Dict[str, List[dict]] = defaultdict(list)
    for result in json.loads(path.read_text()):
        found[result['file_name']].append(result)
    detections = {}
    for name, results in found.items():
        x, y, width, height = np.array([result['bbox'] for result in results]).T
        scores, labels = (np.array([result[key] for result in results]) for key in ('score', 'category_id'))
        detections[name] = Detections(np.stack((x, y, x + width, y + height), 1), scores, labels)
    return detections


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('files', nargs=2, type=Path, help='files of detections')
    parser.add_argument('--min-score', type=float, default=0.0, help='detections below this need no partner')
    args = parser.parse_args(argv)
    first, second = map(read_results, args.files)
    nothing = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    agreement = Agreement(args.min_score)
    for name in sorted({*first, *second}):
        agreement.add(first.get(name, nothing), second.get(name, nothing))
    print(agreement)
    return int(agreement.unmatched > 0)


if __name__ == '__main__':
    sys.exit(main())
