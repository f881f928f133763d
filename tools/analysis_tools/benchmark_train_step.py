"""Times a whole training step beside forward and backward of its bare feature network, in one run.

    python tools/analysis_tools/benchmark_train_step.py configs/thundernet/snet49_coco.py

The feature network is backbone, neck, RPN convolutions and spatial attention, with the sum of its
outputs as loss. The step is mmengine's ``train_step``: preprocessing, all losses, backward and the
optimiser. The images are noise with boxes drawn at random; weights are random.
"""

import argparse
import logging
from pathlib import Path
from typing import Callable

import torch
from benchmark_latency import cpu_name, markdown, time_rounds
from mmdet.testing import demo_mm_inputs
from mmengine.optim import build_optim_wrapper

from mmthunder.export import load_detector


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
    parser.add_argument('--size', type=int, default=320, help='side of the images, in pixels')
    parser.add_argument('--batch', type=int, default=8, help='images of a step')
    parser.add_argument('--objects', type=int, default=7, help='boxes of an image')
    parser.add_argument('--threads', type=int, default=2, help='threads of torch')
    parser.add_argument('--rounds', type=int, default=20, help='rounds that count')
    parser.add_argument('--warmup', type=int, default=3, help='rounds before them')
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = load_detector(args.config).train()
    model.data_preprocessor.batch_augments = None  # one size, that of --size
    optim_wrapper = build_optim_wrapper(model, model.cfg.optim_wrapper)
    data = demo_mm_inputs(
        args.batch, [[3, args.size, args.size]] * args.batch,
        num_items=[args.objects] * args.batch,
        num_classes=model.roi_head.bbox_head.num_classes)
    calls = {
        f'train_step of {Path(args.config).stem}': lambda: model.train_step(data, optim_wrapper),
        'feature network': feature_call(model, data)
    }
    times = time_rounds(calls, args.rounds, args.warmup)
    print(f'{cpu_name()}; torch {torch.__version__}; {args.threads} thread(s), batch {args.batch}, {args.size} px, '
          f'{args.rounds} rounds after {args.warmup}\n')
    print(markdown(times, ['feature network']))


if __name__ == '__main__':
    main()
