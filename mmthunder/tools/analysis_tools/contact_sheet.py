r"""Arranges pictures of equal size in a grid, for example the detections that ``mim test --show-dir`` draws.

    mim test mmdet configs/thundernet/snet49_shapes.py \
        --checkpoint work_dirs/snet49_shapes/epoch_5.pth \
        --work-dir work_dirs/snet49_shapes/test --show-dir pictures
    python tools/analysis_tools/contact_sheet.py \
        work_dirs/snet49_shapes/test/*/pictures/00000[0-7].jpg \
        --columns 2 --quality 65 --out docs/shapes_detections.jpg

``--show-dir`` draws the ground truth on the left of each picture and the detections on the right.
"""

import argparse
from typing import List, Optional

import cv2
import mmcv
import numpy as np

from mmthunder.tools.arguments import at_least, image_file

MARGIN = 8  # px


def contact_sheet(pictures: List[np.ndarray], columns: int) -> np.ndarray:
    """Arrange pictures row by row on white.

    Args:
        pictures (list[np.ndarray]): Pictures with shape (H, W, 3); each is scaled to the first one's size.
        columns (int): Pictures per row.

    Returns:
        np.ndarray: The grid, with shape (rows * (H + MARGIN) + MARGIN, columns * (W + MARGIN) + MARGIN, 3).
    """
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + MARGIN) + MARGIN, columns * (width + MARGIN) + MARGIN, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        y, x = MARGIN + row * (height + MARGIN), MARGIN + column * (width + MARGIN)
        sheet[y : y + height, x : x + width] = mmcv.imresize(picture, (width, height), interpolation='area')
    return sheet


def main(argv: Optional[List[str]] = None) -> None:
    """Parse the command line and write the grid."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('pictures', type=image_file, nargs='+', help='pictures, in the order of the grid')
    parser.add_argument('--columns', type=at_least(1), default=2, help='pictures per row')
    parser.add_argument('--out', default='contact_sheet.jpg', help='file to write')
    parser.add_argument('--quality', type=int, default=80, help='quality of a jpg, up to 100')
    args = parser.parse_args(argv)
    sheet = contact_sheet([mmcv.imread(path) for path in args.pictures], args.columns)
    mmcv.imwrite(sheet, args.out, [cv2.IMWRITE_JPEG_QUALITY, args.quality])
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
