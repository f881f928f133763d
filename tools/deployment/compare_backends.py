"""Compares exported detectors with PyTorch on a data set: detection by detection, and in COCO AP.

    python tools/deployment/compare_backends.py CONFIG CHECKPOINT detector.onnx [detector_int8.onnx ...]

The reference is the config's detector with greedy NMS, which is the graph's; the first row has the
config's own NMS, so that the first two rows tell what soft-NMS is worth.
"""

import argparse
import sys
import warnings
from pathlib import Path
from typing import Callable, Dict, Optional, Sequence

import cv2
import numpy as np
import torch
from mmdet.registry import DATASETS, METRICS
from mmengine.config import DictAction
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.utils import ProgressBar

from mmthunder.apis import Agreement, detect, load_detector, use_greedy_nms
from mmthunder.runtime import Detections, Detector
from mmthunder.runtime.sessions import ONNX_BACKENDS


def add_result(metric: BaseMetric, info: dict, image: np.ndarray, detections: Detections) -> None:
    """Hand the detections of one image to a metric of mmdet."""
    instances = {key: torch.from_numpy(value) for key, value in zip(('bboxes', 'scores', 'labels'), detections)}
    metric.process({}, [
        dict(img_id=info['img_id'], ori_shape=image.shape[:2], pred_instances=instances, instances=info['instances'])
    ])


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config', help='config of the detector')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('models', nargs='*', help='files to compare: .onnx, .xml of OpenVINO, detector.json of ncnn')
    parser.add_argument('--backends', nargs='+', choices=ONNX_BACKENDS, default=ONNX_BACKENDS,
                        help='runtimes for .onnx files')
    parser.add_argument('--limit', type=int, help='use the first images of the test set only')
    parser.add_argument('--threads', type=int, default=1, help='threads')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='overrides of the config')
    args = parser.parse_args(argv)
    MMLogger.get_current_instance().setLevel('ERROR')
    warnings.filterwarnings('ignore')
    torch.set_num_threads(args.threads)
    try:
        detector = load_detector(args.config, args.checkpoint, args.cfg_options)
        exported = {(model, backend): Detector(model, backend, args.threads) for model in args.models
                    for backend in (args.backends if model.endswith('.onnx') else [None])}
        cfg = detector.cfg
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    except (OSError, ImportError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    greedy = use_greedy_nms(detector)
    own_nms, reference = f'PyTorch, {detector.roi_head.test_cfg.nms.type}', 'PyTorch, nms'
    calls: Dict[str, Callable[[np.ndarray], Detections]] = {own_nms: lambda image: detect(detector, image)}
    calls[reference] = lambda image: detect(greedy, image)
    # Whole paths, since every folder of ncnn has a detector.json.
    for (model, _), runtime in exported.items():
        calls[f'{model}, {runtime.session.name}'] = runtime
    metrics = {name: METRICS.build(cfg.test_evaluator) for name in calls}
    agreements = {name: Agreement() for name in calls}
    count = min(args.limit or len(dataset), len(dataset))
    bar = ProgressBar(count, file=sys.stderr)
    for i in range(count):
        info = dataset.get_data_info(i)
        image = cv2.imread(info['img_path'])
        results = {name: call(image) for name, call in calls.items()}
        for name, detections in results.items():
            add_result(metrics[name], info, image, detections)
            agreements[name].add(results[reference], detections)
        bar.update()

    print(f'\n{Path(args.config).stem}, {count} images of {cfg.test_dataloader.dataset.ann_file}; detections of score '
          f'>= 0.05 of both sides, compared with "{reference}"\n')
    print('| | AP | AP50 | detections | without partner | largest box difference, px | largest score difference |')
    print('| --- | --- | --- | --- | --- | --- | --- |')
    for name, metric in metrics.items():
        metric.dataset_meta = dataset.metainfo
        scores, agreement = metric.evaluate(count), agreements[name]
        print(f'| {name} | {scores["coco/bbox_mAP"]:.3f} | {scores["coco/bbox_mAP_50"]:.3f} | {agreement.detections} | '
              f'{agreement.unmatched} | {agreement.box_error:.4f} | {agreement.score_error:.1e} |')
    return 0


if __name__ == '__main__':
    sys.exit(main())
