"""Times a whole training step beside forward and backward of its bare feature network, in one run.

    python tools/analysis_tools/benchmark_train_step.py configs/thundernet/thundernet_snet49_4xb16-375k_coco.py

The feature network is backbone, neck, RPN convolutions and spatial attention, with the sum of its
outputs as loss. The step is mmengine's ``train_step``: preprocessing, all losses, backward and the
optimiser. The images are noise with boxes drawn at random; weights are random.
"""

import argparse
import logging
from pathlib import Path
from typing import Callable

import torch
from arguments import at_least
from benchmark_latency import cpu_name, markdown, time_rounds
from mmdet.testing import demo_mm_inputs
from mmengine.optim import build_optim_wrapper

from mmthunder.apis import load_detector


def random_batch(model: torch.nn.Module, batch: int, size: int, objects: int) -> dict:
    """Draw a batch for ``train_step``.

    Args:
        model (torch.nn.Module): The detector, for the number of classes.
        batch (int): Number of images.
        size (int): Their side, in pixels.
        objects (int): Boxes of an image, of any size.

    Returns:
        dict: ``inputs``, images of noise (3, size, size) in uint8, and ``data_samples``.
    """
    return demo_mm_inputs(
        batch, [[3, size, size]] * batch, num_items=[objects] * batch, num_classes=model.roi_head.bbox_head.num_classes
    )


def train_call(model: torch.nn.Module, data: dict) -> Callable[[], object]:
    """Make a call of ``train_step`` with the optimiser of the model's config, at the images' own size."""
    model.data_preprocessor.batch_augments = None
    optim_wrapper = build_optim_wrapper(model, model.cfg.optim_wrapper)
    return lambda: model.train_step(data, optim_wrapper)


def feature_call(model: torch.nn.Module, data: dict) -> Callable[[], None]:
    """Make a call of forward and backward of the feature network."""
    inputs = model.data_preprocessor(data, True)['inputs']

    def call() -> None:
        feats = model.extract_feat(inputs)
        cls_scores, bbox_preds = model.rpn_head(feats)
        sum(out.sum() for out in (feats[0], *cls_scores, *bbox_preds)).backward()
        model.zero_grad()

    return call


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config', help='config of a ThunderNet')
    parser.add_argument('--size', type=at_least(32), default=320, help='side of the images, in pixels')
    parser.add_argument('--batch', type=at_least(1), default=8, help='images of a step')
    parser.add_argument('--objects', type=at_least(1), default=7, help='boxes of an image')
    parser.add_argument('--threads', type=at_least(1), default=2, help='threads of torch')
    parser.add_argument('--rounds', type=at_least(1), default=20, help='rounds that count')
    parser.add_argument('--warmup', type=at_least(0), default=3, help='rounds before them')
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    try:
        model = load_detector(args.config).train()
    except (OSError, ValueError) as error:
        parser.error(str(error))
    data = random_batch(model, args.batch, args.size, args.objects)
    calls = {
        f'train_step of {Path(args.config).stem}': train_call(model, data),
        'feature network': feature_call(model, data),
    }
    times = time_rounds(calls, args.rounds, args.warmup)
    print(
        f'{cpu_name()}; torch {torch.__version__}; {args.threads} thread(s), batch {args.batch}, {args.size} px, '
        f'{args.rounds} rounds after {args.warmup}\n'
    )
    print(markdown(times, ['feature network']))


if __name__ == '__main__':
    main()
