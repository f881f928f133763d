"""Compares exported detectors with PyTorch on a dataset: detection by detection, and in the metric of its config.

    python tools/deployment/compare_backends.py CONFIG CHECKPOINT detector.onnx [detector_int8.onnx ...]

The reference is the config's detector with greedy NMS, which is the graph's, and the config's own test pipeline. The
first row has the config's own NMS, so that the first two rows show what soft-NMS is worth. Exported files read, resize
and pad images as they themselves say.
"""

import argparse
import functools
import sys
import warnings
from pathlib import Path
from typing import Optional, Sequence

import pandas as pd
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config, DictAction
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from mmengine.utils import ProgressBar

from mmthunder.apis import (
    Agreement,
    ImagePipeline,
    detect,
    find_datasets,
    find_outcomes,
    load_detector,
    nms_type,
    use_greedy_nms,
)
from mmthunder.engine.runner.evaluator_check import replace_coco_metrics
from mmthunder.runtime import Detector
from mmthunder.runtime.sessions import ONNX_BACKENDS
from mmthunder.tools.arguments import at_least
from mmthunder.tools.runtimes import RUNTIMES


def build_evaluator(cfg: Config, dataset_meta: dict) -> Evaluator:
    """Build the config's evaluator, with our COCO metric as in tests."""
    evaluator = Evaluator(replace_coco_metrics(cfg.get('test_evaluator') or cfg.val_evaluator))
    evaluator.dataset_meta = dataset_meta
    return evaluator


def note_preprocessing(exported: dict, pipeline: ImagePipeline) -> None:
    """Print which files preprocess images in another way than the config."""
    try:
        own = pipeline.describe()
    except ValueError:
        own = None  # steps that no exported file has
    for name, runtime in exported.items():
        if runtime.preprocessing != own:
            steps = ', '.join(map(str, (runtime.preprocessing.loader, *runtime.preprocessing.steps)))
            print(f'note: {name} preprocesses images in another way than the test pipeline of the config: {steps}')


def compare(args: argparse.Namespace) -> None:
    """Run everything on the test set and print the table."""
    detector = load_detector(args.config, args.checkpoint, args.cfg_options)
    greedy = use_greedy_nms(detector)
    # With their paths, since every directory of ncnn has a detector.json.
    exported = {}
    for model in args.models:
        for backend in args.backends if model.endswith('.onnx') else [None]:
            runtime = Detector(model, threads=args.threads, **RUNTIMES.get(backend, {}))
            exported[f'{model}, {runtime.session.name}'] = runtime
    cfg = detector.cfg
    if not find_datasets(cfg, 'test', 'val'):
        raise ValueError(f'{args.config}: has neither test_dataloader nor val_dataloader to compare on')
    loader = cfg.get('test_dataloader') or cfg.val_dataloader
    dataset = DATASETS.build(loader.dataset)
    pipeline = ImagePipeline(cfg)
    own_nms, reference = f'PyTorch, {nms_type(detector.roi_head.test_cfg)}', 'PyTorch, nms'
    count = min(args.limit or len(dataset), len(dataset))
    names = [own_nms, reference, *exported]
    evaluators = {name: build_evaluator(cfg, dataset.metainfo) for name in names}
    agreements = {name: Agreement() for name in names}
    bar = ProgressBar(count, file=sys.stderr)
    for i in range(count):
        path = dataset.get_data_info(i)['img_path']
        image = pipeline.read(path)
        results = {own_nms: detect(detector, image, pipeline), reference: detect(greedy, image, pipeline)}
        for name, runtime in exported.items():
            own_image = runtime.read(path)
            if own_image is None:
                raise ValueError(f'{path}: not readable for {name}')
            results[name] = runtime(own_image)
        outcomes = functools.lru_cache(maxsize=1)(
            functools.partial(find_outcomes, greedy, image, pipeline, Agreement.min_score)
        )
        sample = dataset[i]['data_samples']
        for name, detections in results.items():
            boxes, scores, labels = map(torch.from_numpy, detections)
            sample.pred_instances = InstanceData(bboxes=boxes, scores=scores, labels=labels)
            evaluators[name].process([sample])
            if name == own_nms:
                agreements[name].add(results[reference], detections)
            else:
                agreements[name].add(results[reference], detections, outcomes)
        bar.update()

    scores = {name: evaluator.evaluate(count) for name, evaluator in evaluators.items()}
    # As ThunderCocoMetric and VOCMetric call them.
    keys = [key for key in scores[reference] if key.endswith(('mAP', 'mAP_50', 'AP50'))]
    print(
        f'\n{Path(args.config).stem}, {count} images of {find_datasets(cfg, "test", "val")[0].get("ann_file")}; '
        f'detections of score >= {Agreement.min_score} of both sides, compared with "{reference}"\n'
    )
    table = pd.DataFrame(
        {
            '': name,
            **{key: f'{scores[name][key]:.3f}' for key in keys},
            'detections': str(agreement.detections),
            'without partner': str(agreement.unmatched),
            'tied': str(agreement.tied),
            'largest box difference, px': f'{agreement.box_error:.4f}',
            'largest score difference': f'{agreement.score_error:.1e}',
        }
        for name, agreement in agreements.items()
    )
    print(table.to_markdown(index=False, disable_numparse=True))
    note_preprocessing(exported, pipeline)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config', help='config of the detector')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('models', nargs='*', help='files to compare: .onnx, .xml of OpenVINO, detector.json of ncnn')
    parser.add_argument(
        '--backends', nargs='+', choices=tuple(RUNTIMES), default=ONNX_BACKENDS, help='runtimes for .onnx files'
    )
    parser.add_argument('--limit', type=at_least(1), help='use the first images of the test set only')
    parser.add_argument('--threads', type=at_least(1), default=1, help='threads')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='overrides of the config')
    args = parser.parse_args(argv)
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
