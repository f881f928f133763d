"""mmdet's data preprocessor as part of a graph."""

import torch
import torch.nn.functional as F
from mmdet.models.data_preprocessors import DetDataPreprocessor
from torch import Tensor


def preprocess(preprocessor: DetDataPreprocessor, images: Tensor) -> Tensor:
    """Order the channels, normalise and pad.

    Args:
        preprocessor (DetDataPreprocessor): The detector's data preprocessor.
        images (Tensor): Images with shape (N, H, W, C), in BGR or grayscale, uint8 or float32.

    Returns:
        Tensor: Images with shape (N, C, H', W'), padded at the right and the bottom.
    """
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
