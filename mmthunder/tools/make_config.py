r"""Plans the training of a detector for a data set of your own and writes its config.

    python tools/make_config.py data/my_data --minutes 20 --output configs/my_data.py
    mim train mmdet configs/my_data.py

Looks at the images and annotations, decides by rules, times a few training steps on this machine, and writes a config
in which each decision has its reason. See docs/own_data.md.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import List, Optional

from mmengine.config import DictAction
from rich.console import Console

from mmthunder.planning import Parts, PlanningError, plan_config
from mmthunder.planning.backbones import BACKBONES
from mmthunder.planning.layouts import FORMATS
from mmthunder.planning.report import print_plan


def main(argv: Optional[List[str]] = None) -> None:
    """Parse the command line and plan."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('data', type=Path, help='directory of the data set')
    parser.add_argument('--output', type=Path, required=True, help='config to write')
    parser.add_argument('--minutes', type=float, default=20, help='time that training may take on this machine')
    parser.add_argument('--format', choices=list(FORMATS), help='format of the annotations, if there are several')
    parser.add_argument('--train-annotations', type=Path, help='COCO JSON, list of VOC ids, or directory of XML or txt')
    parser.add_argument('--train-images', type=Path, help='directory of the training images')
    parser.add_argument('--val-annotations', type=Path, help='the same of the validation split')
    parser.add_argument('--val-images', type=Path, help='directory of the validation images')
    parser.add_argument('--classes', nargs='+', help='classes to detect; others are left out')
    parser.add_argument('--backbone', choices=list(BACKBONES), help='short for --decide backbone=...')
    parser.add_argument(
        '--decide',
        nargs='+',
        action=DictAction,
        default={},
        metavar='NAME=VALUE',
        help="decisions to make otherwise than the rules, by the names of the config's variables: lr=0.002 stride=8",
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the training')
    parser.add_argument('--force', action='store_true', help='replace a config that is there')
    args = parser.parse_args(argv)
    if args.output.suffix != '.py':
        parser.error(f'--output {args.output}: must end with .py')
    if args.output.exists() and not args.force:
        parser.error(f'{args.output} exists; give another --output, or --force to replace it')
    parts = Parts(args.train_annotations, args.train_images, args.val_annotations, args.val_images)
    decisions = {**args.decide, **({'backbone': args.backbone} if args.backbone else {})}
    command = ' '.join(['python tools/make_config.py', *map(shlex.quote, sys.argv[1:] if argv is None else argv)])
    try:
        plan = plan_config(
            args.data,
            args.output,
            args.minutes,
            args.format,
            parts,
            args.classes,
            decisions,
            args.seed,
            command.replace(os.linesep, ' '),
        )
    except PlanningError as error:
        parser.exit(2, f'error: {error}\n')
    print_plan(plan, Console(width=None if sys.stdout.isatty() else 140))
    print(f'wrote {args.output}, and pictures of what the network sees: {plan.directory}/*.*')
    print(f'train: mim train mmdet {args.output}')


if __name__ == '__main__':
    main()
