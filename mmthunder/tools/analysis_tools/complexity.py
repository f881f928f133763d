"""Counts the multiply-adds and parameters of detectors, part by part.

    python tools/analysis_tools/complexity.py configs/thundernet/*_coco.py --csv complexity.csv

A multiply-add counts as 1. Convolutions and fully connected layers are counted, as in the papers' tables,
and PSRoIAlign; normalisation, activations, pooling, NMS and mmcv's RoIAlign are not. The
counts are mmengine's, of one image at the config's test size with the config's number of proposals. No data
set is read and the weights are random.
"""

import argparse
import logging
from pathlib import Path
from typing import Any, Counter, Dict, List, Optional, Tuple

import pandas as pd
import torch
from mmdet.registry import MODELS
from mmengine.analysis import FlopAnalyzer, parameter_count
from mmengine.analysis.jit_handles import get_shape, prod
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmthunder.apis import ImagePipeline
from mmthunder.tools.arguments import at_least

# Part: the detector's module.
PARTS = {
    'backbone': 'backbone',
    'neck': 'neck',
    'RPN': 'rpn_head',
    'SAM': 'sam',
    'RoI sampling': 'roi_head.bbox_roi_extractor',
    'head': 'roi_head',
}
# Part: (multiply-adds, parameters); 'total' is among the parts.
Complexity = Dict[str, Tuple[int, int]]


def sampling_macs(inputs: List[Any], outputs: List[Any]) -> int:
    """Count bilinear sampling, mmengine's handle of ``grid_sample``, which is PSRoIAlign here.

    A sample of a channel weighs four cells, so it is 4 multiply-adds. The mean of a bin's samples is
    not counted. 200 RoIs of 7x7 bins, 2x2 samples and 5 channels are 0.784 M.

    Args:
        inputs (list): Inputs of the traced operator.
        outputs (list): Its outputs; the first has one entry for each sample and channel.

    Returns:
        int: The multiply-adds.
    """
    return 4 * prod(get_shape(outputs[0]))


def count_macs(module: nn.Module, inputs: Tensor) -> Counter[str]:
    """Count the multiply-adds of a forward.

    Args:
        module (nn.Module): The module, in eval mode.
        inputs (Tensor): Its input.

    Returns:
        Counter[str]: Multiply-adds by the name of the submodule, '' being the module itself.
    """
    analyzer = FlopAnalyzer(module, inputs).set_op_handle('aten::grid_sampler', sampling_macs)
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    counted = ('conv', 'linear', 'addmm', 'matmul', 'bmm', 'grid_sampler')
    return Counter(
        {
            name: sum(operators[operator] for operator in counted)
            for name, operators in analyzer.by_module_and_operator().items()
        }
    )


class Classifier(nn.Module):
    """A backbone with global average pooling and a fully connected layer, as it is trained on ImageNet.

    Args:
        backbone (nn.Module): The backbone; its last map is classified.
        num_classes (int): Classes. Defaults to 1000.
    """

    def __init__(self, backbone: nn.Module, num_classes: int = 1000) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc = nn.LazyLinear(num_classes)
        self.eval()(torch.zeros(1, 3, 64, 64))  # gives the layer its width

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the logits (N, num_classes) of images (N, 3, H, W)."""
        return self.fc(self.backbone(inputs)[-1].mean((2, 3)))


def classifier_macs(backbone: nn.Module) -> int:
    """Count the multiply-adds of a backbone as a classifier of images of 224 px in 1000 classes.

    Args:
        backbone (nn.Module): The backbone.

    Returns:
        int: The multiply-adds.
    """
    return count_macs(Classifier(backbone), torch.zeros(1, 3, 224, 224))['']


class GivenProposals(nn.Module):
    """A two-stage detector's network with given proposals, from images to the outputs of its heads.

    Args:
        detector (nn.Module): The detector.
        num_proposals (int): Number of proposals, each of which covers the image.
    """

    def __init__(self, detector: nn.Module, num_proposals: int) -> None:
        super().__init__()
        self.detector = detector
        self.num_proposals = num_proposals

    def forward(self, inputs: Tensor) -> tuple:
        """Compute the outputs of RPN and RoI head for an image (1, C, H, W)."""
        feats = self.detector.extract_feat(inputs)
        height, width = inputs.shape[-2:]
        boxes = inputs.new_tensor([0, 0, width, height]).repeat(self.num_proposals, 1)
        return self.detector.rpn_head(feats), self.detector.roi_head(feats, [InstanceData(bboxes=boxes)])


def input_size(cfg: Config) -> Tuple[int, int]:
    """Find the size that the test pipeline of a config gives images.

    Args:
        cfg (Config): The config.

    Returns:
        tuple[int, int]: Height and width in pixels.

    Raises:
        ValueError: If the config has no test pipeline, or it does not resize images.
    """
    return tuple(ImagePipeline(cfg).input_size())


def image_size(cfg: Config) -> Tuple[int, int]:
    """Find :func:`input_size`, padded as the data preprocessor pads images."""
    divisor = cfg.model.get('data_preprocessor', {}).get('pad_size_divisor', 1)
    height, width = (-(-side // divisor) * divisor for side in input_size(cfg))
    return height, width


def detector_complexity(cfg: Config, size: Optional[Tuple[int, int]] = None) -> Complexity:
    """Count a detector's multiply-adds and parameters by part.

    Args:
        cfg (Config): Config of a two-stage detector.
        size (tuple[int, int], optional): Height and width of the image, in pixels. Defaults to the
            config's test size.

    Returns:
        dict[str, tuple[int, int]]: Multiply-adds and parameters of each part that the detector has and
        of the 'total'.

    Raises:
        ValueError: If the config's model has no RPN or RoI head, or no number of proposals.
    """
    if not {'rpn_head', 'roi_head'} <= set(cfg.model):
        kind = getattr(cfg.model.type, '__name__', cfg.model.type)
        raise ValueError(f'{cfg.filename}: {kind} has no rpn_head and roi_head; give configs of two-stage detectors')
    proposals = cfg.model.test_cfg.rpn.max_per_img
    if proposals < 1:
        raise ValueError(
            f'{cfg.filename}: model.test_cfg.rpn.max_per_img is {proposals}, expected the number of proposals to count'
        )
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    detector = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
    channels = next(module.in_channels for module in detector.backbone.modules() if isinstance(module, nn.Conv2d))
    macs = count_macs(GivenProposals(detector, proposals), torch.zeros(1, channels, *(size or image_size(cfg))))
    params = parameter_count(detector)
    counts = {
        part: (macs[f'detector.{name}'], params[name]) for part, name in PARTS.items() if f'detector.{name}' in macs
    }
    sampling = counts['RoI sampling']
    counts['head'] = tuple(whole - part for whole, part in zip(counts['head'], sampling))
    counts['total'] = macs[''], params['']
    return counts


def table(cfgs: List[Config], size: Optional[Tuple[int, int]] = None) -> pd.DataFrame:
    """Count the configs' detectors and arrange the counts in a table.

    Args:
        cfgs (list[Config]): The configs.
        size (tuple[int, int], optional): Height and width of the images, in pixels. Defaults to the
            configs' test sizes.

    Returns:
        pd.DataFrame: A row for each config, with counts as text; parts that a detector lacks are 0.
    """
    parts = [*PARTS, 'total']
    rows = []
    for cfg in cfgs:
        init_default_scope(cfg.get('default_scope', 'mmdet'))
        height, width = size or image_size(cfg)
        counts = detector_complexity(cfg, (height, width))
        macs, params = zip(*(counts.get(part, (0, 0)) for part in parts))
        rows.append(
            {
                'config': Path(cfg.filename).stem,
                'px': f'{width}x{height}',
                'proposals': str(cfg.model.test_cfg.rpn.max_per_img),
                **{f'{part} MMACs': f'{value / 1e6:.1f}' for part, value in zip(parts, macs)},
                **{f'{part} Mparams': f'{value / 1e6:.3f}' for part, value in zip(parts, params)},
            }
        )
    return pd.DataFrame(rows)


def main(args: Optional[List[str]] = None) -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('configs', nargs='+', help='configs of two-stage detectors')
    parser.add_argument(
        '--size',
        type=at_least(1),
        nargs='+',
        help="side of the image, or height and width, in pixels; without it the config's test size",
    )
    parser.add_argument('--csv', type=Path, help='file to write the table to as CSV')
    options = parser.parse_args(args)
    if options.size and len(options.size) > 2:
        parser.error(f'--size takes one or two numbers, not {len(options.size)}')
    logging.disable(logging.WARNING)
    size = (options.size[0], options.size[-1]) if options.size else None
    try:
        rows = table([Config.fromfile(config) for config in options.configs], size)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(rows.to_markdown(index=False, disable_numparse=True))
    if options.csv:
        rows.to_csv(options.csv, index=False)


if __name__ == '__main__':
    main()
