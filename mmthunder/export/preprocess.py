"""mmdet's data preprocessor as part of a graph."""

import torch
import torch.nn.functional as F
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.detectors import BaseDetector
from torch import Tensor, nn


def fold_channel_order(detector: BaseDetector) -> None:
    """Let the convolution that reads the images take BGR, where the data preprocessor turns them to RGB for it.

    Args:
        detector (BaseDetector): The detector; it is changed, if one convolution of its backbone takes three channels.
    """
    preprocessor = detector.data_preprocessor
    stems = [
        module for module in detector.backbone.modules() if isinstance(module, nn.Conv2d) and module.in_channels == 3
    ]
    if not preprocessor._channel_conversion or len(stems) != 1 or stems[0].groups != 1:
        return
    stems[0].weight = nn.Parameter(stems[0].weight.flip(1))
    preprocessor._channel_conversion = False
    if preprocessor._enable_normalize:
        preprocessor.mean, preprocessor.std = preprocessor.mean.flip(0), preprocessor.std.flip(0)


def preprocess(preprocessor: DetDataPreprocessor, images: Tensor) -> Tensor:
    """Order the channels, normalise and pad.

    Args:
        preprocessor (DetDataPreprocessor): The detector's data preprocessor.
        images (Tensor): Images with shape (N, H, W, C), in BGR or grayscale, uint8 or float32.

    Returns:
        Tensor: Images with shape (N, C, H', W'), padded at the right and the bottom.
    """
    if preprocessor._enable_normalize and not preprocessor._channel_conversion:
        # In rows of pixels, which runtimes vectorise and need not transpose for convolutions that read NHWC.
        num_imgs, height, width, channels = images.shape
        rows = images.reshape(num_imgs, height, width * channels).to(torch.float32)
        mean, std = (value.flatten().repeat(width) for value in (preprocessor.mean, preprocessor.std))
        inputs = ((rows - mean) / std).reshape(images.shape).permute(0, 3, 1, 2)
    else:
        # Bytes are cheaper to move than floats, so the type comes last.
        inputs = images.permute(0, 3, 1, 2)
        if preprocessor._channel_conversion:
            inputs = inputs.flip(1)
        inputs = inputs.to(torch.float32)
        if preprocessor._enable_normalize:
            inputs = (inputs - preprocessor.mean) / preprocessor.std
    divisor = preprocessor.pad_size_divisor
    pad_h, pad_w = -images.shape[1] % divisor, -images.shape[2] % divisor
    # A graph for every size has the padding always, one for a fixed size only where it is needed.
    if isinstance(pad_h, int) and isinstance(pad_w, int) and pad_h == pad_w == 0:
        return inputs
    return F.pad(inputs, (0, pad_w, 0, pad_h), value=preprocessor.pad_value)
