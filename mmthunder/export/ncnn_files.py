"""Export of a ThunderNet to two ncnn networks, through pnnx."""

import copy
import functools
import json
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Sequence, Tuple, Union

import numpy as np
import torch
from mmcv.cnn import fuse_conv_bn
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from torch import Tensor, nn

from mmthunder.apis import Agreement, detect, find_outcomes, use_greedy_nms
from mmthunder.models.backbones.snet import SNetBlock
from mmthunder.models.detectors import ThunderNet
from mmthunder.models.layers import PSRoIAlign
from mmthunder.runtime import Detector
from mmthunder.utils.atomic_write import atomic_files

from .input_spec import InputSpec
from .metadata import make_metadata
from .onnx_file import DisagreementError
from .supported import check_ncnn

FILES = ('features.param', 'features.bin', 'head.param', 'head.bin', 'detector.json')
# The share of detections that may have no partner where weights are rounded to FP16.
FP16_UNMATCHED = 0.2


class ShuffledBlock(nn.Module):
    """An SNet block of stride 1 whose channels are split by a shuffle: ncnn cannot take every other channel.

    Args:
        block (SNetBlock): The block.
        channels (int): Its channels.
    """

    def __init__(self, block: SNetBlock, channels: int) -> None:
        super().__init__()
        self.branch = block.branch
        self.shuffle = nn.ChannelShuffle(2 if block.shuffle == 'interleave' else channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Compute what the block computes."""
        past, through = self.shuffle(x).chunk(2, 1)
        return torch.cat((past, self.branch(through)), 1)


class FeatureNetwork(nn.Module):
    """Everything before the proposals.

    Args:
        detector (ThunderNet): The detector, with batch norms fused; its backbone is changed.
    """

    def __init__(self, detector: ThunderNet) -> None:
        super().__init__()
        self.detector = detector
        for stage in detector.backbone.stages:
            for i, block in enumerate(stage):
                if block.stride == 1:
                    stage[i] = ShuffledBlock(block, 2 * block.branch[0].in_channels)

    def forward(self, inputs: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Compute the map for RoI features (1, C, H, W), objectness (1, A, H, W) and deltas (1, 4 * A, H, W)."""
        feats = self.detector.extract_feat(inputs)
        (logits,), (deltas,) = self.detector.rpn_head(feats)
        return feats[0], logits, deltas


class HeadNetwork(nn.Module):
    """The fully connected head for all RoIs at once, in rows, as ncnn takes them.

    Args:
        head (ConvFCBBoxHead): The head, which has shared fully connected layers only.
    """

    def __init__(self, head: ConvFCBBoxHead) -> None:
        super().__init__()
        self.shared_fcs = head.shared_fcs
        self.fc_cls, self.fc_reg = head.fc_cls, head.fc_reg

    def forward(self, features: Tensor) -> Tuple[Tensor, Tensor]:
        """Compute logits (R, C + 1) and deltas (R, 4) or (R, 4 * C) of features (R, channels * p_h * p_w)."""
        for fc in self.shared_fcs:
            features = fc(features).relu()
        return self.fc_cls(features), self.fc_reg(features)


def _convert(module: nn.Module, inputs: Tensor, path: Path, fp16: bool, any_length: bool = False) -> None:
    """Trace a network and write ``path``.param and ``path``.bin; the first size of its input may be free.

    Raises:
        RuntimeError: If pnnx fails.
    """
    import pnnx

    with tempfile.TemporaryDirectory() as directory, torch.no_grad(), warnings.catch_warnings():
        # Shapes are constants of the trace, which is meant.
        warnings.simplefilter('ignore')
        torch.jit.trace(module.eval(), inputs, check_trace=False).save(f'{directory}/net.pt')
        length, *rest = inputs.shape
        shapes = [
            f'{key}=[{",".join(map(str, shape))}]f32'
            for key, shape in (('inputshape', (length, *rest)), ('inputshape2', (length // 2, *rest)))
        ]
        # Not through pnnx.export, which prints every step and runs the code that it makes.
        command = [
            pnnx.EXEC_PATH,
            f'{directory}/net.pt',
            *(shapes if any_length else shapes[:1]),
            f'fp16={int(fp16)}',
            f'ncnnparam={path}.param',
            f'ncnnbin={path}.bin',
            f'ncnnpy={directory}/ncnn.py',
            f'pnnxparam={directory}/net.param',
            f'pnnxbin={directory}/net.bin',
            f'pnnxpy={directory}/net.py',
            f'pnnxonnx={directory}/net.onnx',
        ]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode or not Path(f'{path}.bin').is_file():
        last_line = result.stdout.strip().split('\n')[-1]
        raise RuntimeError(
            f'export: pnnx could not write {path}.bin (exit code {result.returncode}, last line: {last_line!r})'
        )


def _write(detector: ThunderNet, directory: Path, spec: InputSpec, fp16: bool) -> None:
    """Write the networks and ``detector.json``, as :func:`export_ncnn` has them, without a comparison."""
    fused = fuse_conv_bn(copy.deepcopy(detector)).eval()
    roi_layer: PSRoIAlign = fused.roi_head.bbox_roi_extractor.roi_layers[0]
    preprocessor, rpn, head = fused.data_preprocessor, fused.rpn_head, fused.roi_head.bbox_head
    divisor = preprocessor.pad_size_divisor
    width, height = (side + -side % divisor for side in spec.size)
    _convert(FeatureNetwork(fused), torch.rand(1, spec.channels, height, width), directory / 'features', fp16)
    _convert(
        HeadNetwork(head),
        torch.rand(rpn.test_cfg.max_per_img, head.shared_fcs[0].in_features),
        directory / 'head',
        fp16,
        any_length=True,
    )
    metadata = make_metadata(detector, spec)
    nms_pre = rpn.test_cfg.get('nms_pre', -1)
    settings = dict(
        metadata=metadata,
        input_shape=[1, spec.size[1], spec.size[0], spec.channels],
        preprocess=dict(
            bgr_to_rgb=preprocessor._channel_conversion,
            mean=metadata['mean'] or [0.0] * spec.channels,
            std=metadata['std'] or [1.0] * spec.channels,
            pad_size_divisor=divisor,
            pad_value=preprocessor.pad_value,
        ),
        rpn=dict(
            base_anchors=rpn.prior_generator.base_anchors[0].tolist(),
            stride=rpn.prior_generator.strides[0],
            means=rpn.bbox_coder.means,
            stds=rpn.bbox_coder.stds,
            nms_pre=nms_pre if nms_pre > 0 else None,
            iou_threshold=rpn.test_cfg.nms.iou_threshold,
            max_per_img=rpn.test_cfg.max_per_img,
            min_bbox_size=rpn.test_cfg.get('min_bbox_size', -1),
        ),
        ps_roi_align={
            key: getattr(roi_layer, key)
            for key in ('output_size', 'spatial_scale', 'sampling_ratio', 'pool_mode', 'aligned', 'min_size')
        },
        head=dict(means=head.bbox_coder.means, stds=head.bbox_coder.stds),
    )
    (directory / 'detector.json').write_text(json.dumps(settings, indent=1))


def export_ncnn(
    detector: ThunderNet, output: Union[str, Path], spec: InputSpec, images: Sequence[np.ndarray], fp16: bool = False
) -> Agreement:
    """Write a directory with ``features.param|bin``, ``head.param|bin`` and ``detector.json``.

    Args:
        detector (ThunderNet): What :func:`load_detector` returns.
        output (str or Path): The directory.
        spec (InputSpec): Input of the networks, of a fixed size.
        images (Sequence[np.ndarray]): Images to compare on, as ``spec.pipeline`` reads them.
        fp16 (bool): Whether weights are stored in FP16. Defaults to False.

    Returns:
        Agreement: How the detections compare with those of the detector with greedy NMS.

    Raises:
        DisagreementError: If a detection has no partner, not because of equal scores, or with ``fp16`` more
            than a fifth of them within 2 px and a score of 0.01; nothing is written then.
        NotImplementedError: If ncnn cannot run the detector.
        ValueError: If the size is not fixed.
    """
    check_ncnn(detector)
    if spec.dynamic or spec.batch != 1:
        raise ValueError('export: the networks of ncnn have one size and take one image; give --shape HEIGHT WIDTH')
    output = Path(output)
    reference = use_greedy_nms(detector)
    # Rounded weights change scores in the third digit, and thereby sometimes which box NMS keeps.
    agreement = Agreement(box_tolerance=2.0, score_tolerance=1e-2) if fp16 else Agreement()
    with atomic_files(output, FILES) as directory:
        _write(detector, directory, spec, fp16)
        runtime = Detector(directory / 'detector.json', 'ncnn')
        for image, found in zip(images, runtime.detect(images)):
            outcomes = functools.partial(find_outcomes, reference, image, spec.pipeline, agreement.min_score)
            agreement.add(detect(reference, image, spec.pipeline), found, outcomes)
        if agreement.unmatched > (FP16_UNMATCHED * agreement.detections if fp16 else 0):
            raise DisagreementError(
                f'export: the networks and the detector disagree, so {output} is not written: {agreement}'
            )
    return agreement
