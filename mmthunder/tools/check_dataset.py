"""Check the datasets of a config: annotations, class lists, images and evaluators.

    python tools/check_dataset.py configs/thundernet/snet49_shapes.py
    python tools/check_dataset.py CONFIG --loaders train --cfg-options train_dataloader.dataset.data_root=/data/

A training or test does the same checks at its start and stops at the first error. This prints all errors and warnings
and what the datasets contain. The exit status is 0 without errors, 1 with errors, and 2 if the config cannot be read.
docs/data.md describes the checks.
"""

import argparse
import contextlib
import io
import logging
import math
import sys
from typing import Any, Dict, Iterator, List, Optional

from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

from mmthunder.datasets import DatasetReport, base_dataset_cfgs, check_dataset
from mmthunder.datasets.image_files import ImageReport, check_images
from mmthunder.engine.runner.class_check import find_model_errors
from mmthunder.engine.runner.evaluator_check import find_evaluator_errors, replace_coco_metrics

LOADERS = ('train', 'val', 'test')


class DatasetCheck:
    """Checks the datasets of a config and prints what it finds.

    Args:
        cfg (Config): The config.
        images (bool): Whether to decode the images.
    """

    def __init__(self, cfg: Config, images: bool) -> None:
        self.cfg, self.images = cfg, images
        self.strict = (cfg.get('dataset_check') or {}).get('strict', False)
        self.num_errors = self.num_warnings = 0
        self.trained: Optional[DatasetReport] = None

    def print_lines(self, errors: List[str], warnings: List[str]) -> None:
        """Print and count errors and warnings."""
        for kind, lines in dict(error=errors, warning=warnings).items():
            for line in lines:
                print(f'  {kind}: {line}')
        self.num_errors += len(errors)
        self.num_warnings += len(warnings)

    def check_dataset(self, cfg: dict, task: str, key: str) -> Optional[DatasetReport]:
        """Check a dataset; returns its report if it can be used."""
        print(f'{key}: ', end='')
        try:
            report = check_dataset(cfg, task == 'train', key)
        except (OSError, ValueError, TypeError, KeyError) as error:
            print(cfg.get('ann_file', ''))
            self.print_lines([f'{type(error).__name__}: {error}'], [])
            return None
        print(report.ann_file)
        print_contents(report)
        self.print_lines(report.errors, report.warnings)
        if report.errors:
            return None
        if self.images:
            with contextlib.redirect_stdout(io.StringIO()):  # pycocotools'
                dataset = DATASETS.build(dict(cfg, serialize_data=False))
            images = check_images(dataset, math.inf)
            print_images(images)
            training = task == 'train'
            errors = images.errors(training, self.strict, limit=None)
            self.print_lines(errors, [] if errors else images.warnings(training, limit=None))
        return report

    def check_loader(self, task: str) -> None:
        """Check the datasets of a data loader, and its evaluator."""
        key = f'{task}_dataloader'
        cfgs = list(base_dataset_cfgs((self.cfg.get(key) or {}).get('dataset'), f'{key}.dataset'))
        reports = [self.check_dataset(cfg, task, name) for name, cfg in cfgs]
        if not reports or None in reports:
            return
        classes = tuple(reports[0].classes)
        errors = []
        if task == 'train':
            self.trained = reports[0]
        elif self.trained and classes != tuple(self.trained.classes):
            errors.append(f'{key} has the classes {classes}, but train_dataloader {tuple(self.trained.classes)}')
        errors += [
            f'{report.key} has the classes {tuple(report.classes)}, but {reports[0].key} {classes}'
            for report in reports[1:]
            if tuple(report.classes) != classes
        ]
        if self.cfg.get('model') and classes:
            errors += find_model_errors(MODELS.build(self.cfg.model), classes, key)
        evaluator = replace_coco_metrics(self.cfg.get(f'{task}_evaluator'))
        errors += find_evaluator_errors(task, evaluator, reports, [cfg for _, cfg in cfgs])
        self.print_lines(errors, [])


def print_contents(report: DatasetReport) -> None:
    """Print how many images and objects of each class a dataset has."""
    if not report.is_checked:
        print('  annotations of another kind than COCO and Pascal VOC: not checked')
    elif not report.errors:
        print(f'  {len(report.image_ids)} images, {sum(report.counts.values())} objects')
        ids: Dict[Any, Any] = dict(zip(report.classes, report.category_ids or []))
        width = max(map(len, map(str, report.classes)))
        for name in report.classes:
            identifier = f'  id {ids[name]!r:>6}' if ids.get(name) is not None else ''
            print(f'    {name:<{width}}{identifier}  {report.counts.get(name, 0):>8} objects')


def print_images(report: ImageReport) -> None:
    """Print how many images of a dataset decode."""
    if report.skipped:
        print(f'  images: not checked, since {report.skipped}')
        return
    num_decoded = report.num_images - len(report.positions)
    part = f', {len(report.cut_off)} of them in part' if report.cut_off else ''
    print(f'  {num_decoded} of the {report.num_images} images that the config selects decode{part}')


def parse_args(args: Optional[List[str]]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('--loaders', nargs='+', choices=LOADERS, default=LOADERS, help='data loaders to check')
    parser.add_argument('--no-images', action='store_true', help='do not decode the images')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='overrides of the config')
    return parser.parse_args(args)


def tasks(cfg: Config, names: List[str]) -> Iterator[str]:
    """Choose the data loaders to check; a test set that is the validation set is checked once."""
    for task in LOADERS:
        is_same = task == 'test' and 'val' in names
        is_same &= all(cfg.get(f'test_{key}') == cfg.get(f'val_{key}') for key in ('dataloader', 'evaluator'))
        if task in names and cfg.get(f'{task}_dataloader') and not is_same:
            yield task


def main(args: Optional[List[str]] = None) -> int:
    """Check the datasets of a config; returns the exit status."""
    options = parse_args(args)
    try:
        cfg = Config.fromfile(options.config)
    except (OSError, SyntaxError) as error:
        print(f'{options.config}: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    cfg.merge_from_dict(options.cfg_options or {})
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    logging.disable(logging.INFO)
    check = DatasetCheck(cfg, not options.no_images)
    for task in tasks(cfg, options.loaders):
        check.check_loader(task)
    print(f'{check.num_errors} errors, {check.num_warnings} warnings')
    return int(check.num_errors > 0)


if __name__ == '__main__':
    sys.exit(main())
