"""Compares exported detectors with PyTorch on a data set: detection by detection, and in the metric of its config.

    python tools/deployment/compare_backends.py CONFIG CHECKPOINT detector.onnx [detector_int8.onnx ...]

The reference is the config's detector with greedy NMS, which is the graph's; the first row has the
config's own NMS, so that the first two rows tell what soft-NMS is worth.
"""

import argparse
import math
import sys
import warnings
from pathlib import Path
from typing import Callable, Dict, Optional, Sequence

import numpy as np
import pandas as pd
import torch
from mmdet.evaluation import CocoMetric
from mmdet.registry import DATASETS
from mmengine.config import Config, DictAction
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from mmengine.utils import ProgressBar

from mmthunder.apis import Agreement, detect, load_detector, load_sample_images, use_greedy_nms
from mmthunder.runtime import Detections, Detector
from mmthunder.runtime.sessions import ONNX_BACKENDS


def build_evaluator(cfg: Config, dataset: BaseDataset, count: int) -> Evaluator:
    """Build the config's evaluator for the first images of the test set."""
    evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    for metric in evaluator.metrics:
        if count < len(dataset) and isinstance(metric, CocoMetric):
            # By default all images of the annotation file, and nothing is detected in those that are left out.
            metric.img_ids = [dataset.get_data_info(i)['img_id'] for i in range(count)]
    return evaluator


def compare(args: argparse.Namespace) -> None:
    """Run everything on the test set and print the table."""
    detector = load_detector(args.config, args.checkpoint, args.cfg_options)
    exported = {
        (model, backend): Detector(model, backend, args.threads)
        for model in args.models
        for backend in (args.backends if model.endswith('.onnx') else [None])
    }
    cfg = detector.cfg
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    greedy = use_greedy_nms(detector)
    own_nms, reference = f'PyTorch, {detector.roi_head.test_cfg.nms.type}', 'PyTorch, nms'
    calls: Dict[str, Callable[[np.ndarray], Detections]] = {own_nms: lambda image: detect(detector, image)}
    calls[reference] = lambda image: detect(greedy, image)
    # Whole paths, since every folder of ncnn has a detector.json.
    for (model, _), runtime in exported.items():
        calls[f'{model}, {runtime.session.name}'] = runtime
    count = min(args.limit or len(dataset), len(dataset))
    evaluators = {name: build_evaluator(cfg, dataset, count) for name in calls}
    agreements = {name: Agreement() for name in calls}
    bar = ProgressBar(count, file=sys.stderr)
    for i in range(count):
        (image,) = load_sample_images(cfg, [dataset.get_data_info(i)['img_path']], 1)
        results = {name: call(image) for name, call in calls.items()}
        sample = dataset[i]['data_samples']
        for name, detections in results.items():
            boxes, scores, labels = map(torch.from_numpy, detections)
            sample.pred_instances = InstanceData(bboxes=boxes, scores=scores, labels=labels)
            evaluators[name].process([sample])
            agreements[name].add(results[reference], detections)
        bar.update()

    scores = {name: evaluator.evaluate(count) for name, evaluator in evaluators.items()}
    # As CocoMetric and VOCMetric call them; CocoMetric gives none to a detector that finds nothing.
    keys = [key for key in max(scores.values(), key=len) if key.endswith(('mAP', 'mAP_50', 'AP50'))]
    print(
        f'\n{Path(args.config).stem}, {count} images of {cfg.test_dataloader.dataset.ann_file}; detections of score '
        f'>= 0.05 of both sides, compared with "{reference}"\n'
    )
    table = pd.DataFrame(
        {
            '': name,
            **{key: f'{scores[name].get(key, math.nan):.3f}' for key in keys},
            'detections': str(agreement.detections),
            'without partner': str(agreement.unmatched),
            'largest box difference, px': f'{agreement.box_error:.4f}',
            'largest score difference': f'{agreement.score_error:.1e}',
        }
        for name, agreement in agreements.items()
    )
    print(table.to_markdown(index=False, disable_numparse=True))


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config', help='config of the detector')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('models', nargs='*', help='files to compare: .onnx, .xml of OpenVINO, detector.json of ncnn')
    parser.add_argument(
        '--backends', nargs='+', choices=ONNX_BACKENDS, default=ONNX_BACKENDS, help='runtimes for .onnx files'
    )
    parser.add_argument('--limit', type=int, help='use the first images of the test set only')
    parser.add_argument('--threads', type=int, default=1, help='threads')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='overrides of the config')
    args = parser.parse_args(argv)
    if args.limit is not None and args.limit < 1:
        parser.error(f'--limit {args.limit} must be at least 1')
    MMLogger.get_current_instance().setLevel('ERROR')
    warnings.filterwarnings('ignore')
    torch.set_num_threads(args.threads)
    try:
        compare(args)
    except (OSError, ImportError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
