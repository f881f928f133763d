"""From a ThunderNet to two networks of ncnn, through pnnx."""

import copy
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
from mmdet.models.task_modules import DeltaXYWHBBoxCoder
from torch import Tensor, nn

from mmthunder.apis import Agreement, detect, use_fixed_size, use_greedy_nms
from mmthunder.models.backbones.snet import SNet, SNetBlock
from mmthunder.models.detectors import ThunderNet
from mmthunder.models.layers import PSRoIAlign
from mmthunder.runtime import Detector
from mmthunder.utils.atomic_write import atomic_files

from .nms import check_supported as check_nms
from .onnx_file import DisagreementError, InputSpec, make_metadata

FILES = ('features.param', 'features.bin', 'head.param', 'head.bin', 'detector.json')
# The share of detections that may have no partner where weights are rounded to 16 bits.
FP16_UNMATCHED = 0.2


class ShuffledBlock(nn.Module):
    """An SNet block of stride 1 whose channels are split by a shuffle: ncnn takes no every-other channel.

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


def check_supported(detector: nn.Module) -> None:
    """Refuse detectors of other forms.

    Raises:
        NotImplementedError: If the detector is not a ThunderNet of an SNet and a fully connected head, or has another
            NMS or decoding of boxes than :mod:`mmthunder.runtime.two_stage`.
    """
    head = getattr(getattr(detector, 'roi_head', None), 'bbox_head', None)
    known = isinstance(detector, ThunderNet) and isinstance(detector.backbone, SNet)
    known = known and isinstance(head, ConvFCBBoxHead) and detector.rpn_head.use_sigmoid_cls
    if (
        not known
        or head.num_shared_fcs == 0
        or any((head.num_shared_convs, head.num_cls_convs, head.num_cls_fcs, head.num_reg_convs, head.num_reg_fcs))
    ):
        raise NotImplementedError(
            'export: ncnn takes a ThunderNet with an SNet, a sigmoid RPN and a head of shared '
            'fully connected layers; use tools/deployment/export_onnx.py for others'
        )
    check_nms(detector)
    for coder, name in ((detector.rpn_head.bbox_coder, 'rpn_head'), (head.bbox_coder, 'roi_head.bbox_head')):
        if type(coder).decode is not DeltaXYWHBBoxCoder.decode or not coder.clip_border or coder.add_ctr_clamp:
            raise NotImplementedError(
                f'export: model.{name}.bbox_coder is not of the kind that ncnn takes: '
                'DeltaXYWHBBoxCoder with clip_border=True and add_ctr_clamp=False'
            )


def _convert(module: nn.Module, inputs: Tensor, path: Path, fp16: bool, any_length: bool = False) -> None:
    """Trace a network and write ``path``.param and ``path``.bin; the first size of its input may be free.

    Raises:
        RuntimeError: If pnnx fails.
    """
    import pnnx

    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
        # Shapes are constants of the trace, which is meant.
        warnings.simplefilter('ignore')
        torch.jit.trace(module.eval(), inputs, check_trace=False).save(f'{folder}/net.pt')
        length, *rest = inputs.shape
        shapes = [
            f'{key}=[{",".join(map(str, shape))}]f32'
            for key, shape in (('inputshape', (length, *rest)), ('inputshape2', (length // 2, *rest)))
        ]
        # Not through pnnx.export, which prints every step and runs the code that it makes.
        command = [
            pnnx.EXEC_PATH,
            f'{folder}/net.pt',
            *(shapes if any_length else shapes[:1]),
            f'fp16={int(fp16)}',
            f'ncnnparam={path}.param',
            f'ncnnbin={path}.bin',
            f'ncnnpy={folder}/ncnn.py',
            f'pnnxparam={folder}/net.param',
            f'pnnxbin={folder}/net.bin',
            f'pnnxpy={folder}/net.py',
            f'pnnxonnx={folder}/net.onnx',
        ]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode or not Path(f'{path}.bin').is_file():
        last_line = result.stdout.strip().split('\n')[-1]
        raise RuntimeError(
            f'export: pnnx could not write {path}.bin (exit code {result.returncode}, last line: {last_line!r})'
        )


def _write(detector: ThunderNet, folder: Path, spec: InputSpec, fp16: bool) -> None:
    """Write the networks and ``detector.json``, as :func:`export_ncnn` has them, without a comparison."""
    fused = fuse_conv_bn(copy.deepcopy(detector)).eval()
    roi_layer: PSRoIAlign = fused.roi_head.bbox_roi_extractor.roi_layers[0]
    preprocessor, rpn, head = fused.data_preprocessor, fused.rpn_head, fused.roi_head.bbox_head
    divisor = preprocessor.pad_size_divisor
    width, height = (side + -side % divisor for side in spec.scale)
    _convert(FeatureNetwork(fused), torch.rand(1, 3, height, width), folder / 'features', fp16)
    _convert(
        HeadNetwork(head),
        torch.rand(rpn.test_cfg.max_per_img, head.shared_fcs[0].in_features),
        folder / 'head',
        fp16,
        any_length=True,
    )
    metadata = make_metadata(detector, spec)
    settings = dict(
        metadata=metadata,
        preprocess=dict(
            bgr_to_rgb=preprocessor._channel_conversion,
            mean=metadata['mean'] or [0.0] * 3,
            std=metadata['std'] or [1.0] * 3,
            pad_size_divisor=divisor,
            pad_value=preprocessor.pad_value,
        ),
        rpn=dict(
            base_anchors=rpn.prior_generator.base_anchors[0].tolist(),
            stride=rpn.prior_generator.strides[0],
            means=rpn.bbox_coder.means,
            stds=rpn.bbox_coder.stds,
            nms_pre=rpn.test_cfg.nms_pre if rpn.test_cfg.nms_pre > 0 else None,
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
    (folder / 'detector.json').write_text(json.dumps(settings, indent=1))


def export_ncnn(
    detector: ThunderNet, output: Union[str, Path], spec: InputSpec, images: Sequence[np.ndarray], fp16: bool = False
) -> Agreement:
    """Write a folder with ``features.param|bin``, ``head.param|bin`` and ``detector.json``.

    Args:
        detector (ThunderNet): What :func:`load_detector` returns.
        output (str or Path): The folder.
        spec (InputSpec): What images the networks take; of a fixed size.
        images (Sequence[np.ndarray]): Images to compare on: BGR, uint8, (H, W, 3).
        fp16 (bool): Whether weights are stored in 16 bits. Defaults to False.

    Returns:
        Agreement: How the detections compare with those of the detector with greedy NMS.

    Raises:
        DisagreementError: If a detection has no partner, or with ``fp16`` more than a fifth of them within
            2 px and a score of 0.01; nothing is written then.
        NotImplementedError: If ncnn cannot run the detector.
        ValueError: If the size is not fixed.
    """
    check_supported(detector)
    if spec.dynamic or spec.batch != 1:
        raise ValueError('export: the networks of ncnn have one size and take one image; give --shape HEIGHT WIDTH')
    output = Path(output)
    reference = use_fixed_size(use_greedy_nms(detector), spec.scale)
    # Rounded weights change scores in the third digit, and with that, now and then, which box an NMS keeps.
    agreement = Agreement(box_tolerance=2.0, score_tolerance=1e-2) if fp16 else Agreement()
    with atomic_files(output, FILES) as folder:
        _write(detector, folder, spec, fp16)
        runtime = Detector(folder / 'detector.json', 'ncnn')
        for image, found in zip(images, runtime.detect(images)):
            agreement.add(detect(reference, image), found)
        if agreement.unmatched > (FP16_UNMATCHED * agreement.detections if fp16 else 0):
            raise DisagreementError(
                f'export: the networks and the detector disagree, so {output} is not written: {agreement}'
            )
    return agreement
