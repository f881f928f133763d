"""Times what mmdet's ``test_step`` of a two-stage detector adds to the detector's modules, on the CPU.

    python tools/analysis_tools/profile_test_step.py configs/thundernet/thundernet_snet49_4xb16-375k_coco.py

The bare modules are backbone, neck, RPN with its proposals and RoI head with its final NMS, called on a
normalised tensor; ``test_step`` goes from the uint8 image to data samples with boxes of the original
image. Then come the parts; extract_feat is backbone, neck and, in ThunderNet, RPN trunk and SAM. All rows
take turns in every round, and ratios are taken round by round. Without a checkpoint weights are random,
and few boxes reach the final NMS.
"""

import argparse
import logging
import warnings
from typing import Callable, Dict

import torch
from arguments import at_least
from benchmark_latency import cpu_name, markdown, package_versions, time_rounds
from mmdet.models.detectors import TwoStageDetector
from mmdet.utils import get_test_pipeline_cfg
from mmengine.dataset import Compose

from mmthunder.apis import load_detector, load_sample_images

BARE = 'bare modules'


def part_calls(detector: TwoStageDetector, inputs: torch.Tensor, sample) -> Dict[str, Callable[[], object]]:
    """Make a call of ``test_step``, of the bare modules and of each part.

    Args:
        detector (TwoStageDetector): The detector, in eval mode.
        inputs (Tensor): The image, uint8 with shape (3, H, W).
        sample (DetDataSample): What the test pipeline tells of it.

    Returns:
        dict[str, Callable]: The calls by name.
    """

    def batch() -> dict:
        return dict(inputs=[inputs], data_samples=[sample])

    data = detector.data_preprocessor(batch())
    images, samples = data['inputs'], data['data_samples']
    feats = detector.extract_feat(images)
    outputs = detector.rpn_head(feats)
    metas = [sample.metainfo for sample in samples]
    proposals = detector.rpn_head.predict(feats, samples)
    results = detector.roi_head.predict(feats, proposals, samples, rescale=True)
    backbone_feats = detector.backbone(images)

    def bare() -> object:
        feats = detector.extract_feat(images)
        return detector.roi_head.predict(feats, detector.rpn_head.predict(feats, samples), samples, rescale=True)

    return {
        'test_step': lambda: detector.test_step(batch()),
        BARE: bare,
        'data preprocessor': lambda: detector.data_preprocessor(batch()),
        'backbone': lambda: detector.backbone(images),
        'neck': lambda: detector.neck(backbone_feats),
        'extract_feat': lambda: detector.extract_feat(images),
        'RPN convolutions': lambda: detector.rpn_head(feats),
        'proposals from their outputs': lambda: detector.rpn_head.predict_by_feat(*outputs, batch_img_metas=metas),
        'RoI head': lambda: detector.roi_head.predict(feats, proposals, samples, rescale=True),
        'data samples': lambda: detector.add_pred_to_datasample(samples, results),
    }


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config', help='config of the detector')
    parser.add_argument('checkpoint', nargs='?', help='its weights; random ones if left out')
    parser.add_argument('--image', help='image to detect in; by default the first of the test set')
    parser.add_argument('--threads', type=at_least(1), default=1, help='threads')
    parser.add_argument('--rounds', type=at_least(1), default=50, help='rounds that count')
    parser.add_argument('--warmup', type=at_least(0), default=5, help='rounds before them')
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings('ignore')
    torch.set_num_threads(args.threads)
    try:
        detector = load_detector(args.config, args.checkpoint)
        if not isinstance(detector, TwoStageDetector):
            parser.error(f'{args.config} has a {type(detector).__name__}; give the config of a two-stage detector')
        (image,) = load_sample_images(detector.cfg, args.image and [args.image], 1)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    steps = get_test_pipeline_cfg(detector.cfg)
    steps[0].type = 'mmdet.LoadImageFromNDArray'
    data = Compose(steps)(dict(img=image, img_id=0))
    with torch.inference_mode():
        calls = part_calls(detector, data['inputs'], data['data_samples'])
        found = len(calls['test_step']()[0].pred_instances)
        times = time_rounds(calls, args.rounds, args.warmup)
    height, width = data['inputs'].shape[1:]
    print(
        f'{cpu_name()}; {package_versions(["torch", "mmdet"])}; {args.threads} thread(s), {width}x{height} px, '
        f'{found} detections, {args.rounds} rounds after {args.warmup}\n\n'
        f'{markdown(times, [BARE])}'
    )


if __name__ == '__main__':
    main()
