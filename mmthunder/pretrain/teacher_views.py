"""Views of images with what a teacher computes from them."""

from pathlib import Path
from typing import Dict, Sequence, Union

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


class TeacherViews(Dataset):
    """Views and a teacher's outputs, written by ``tools/misc/make_teacher_views.py``.

    Training reads files of NumPy instead of running the teacher and decoding images. Half of the views are flipped
    horizontally, together with the teacher's maps; that is exact since their sides are odd.

    Args:
        data_root (str | Path): Directory of the files.
        targets (Sequence[str]): Names of the files of the teacher's outputs. Defaults to
            ``('stride16', 'stride32', 'logits')``.
    """

    def __init__(
        self, data_root: Union[str, Path], targets: Sequence[str] = ('stride16', 'stride32', 'logits')
    ) -> None:
        self.arrays = {name: np.load(Path(data_root) / f'{name}.npy', mmap_mode='r') for name in ('images', *targets)}

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.arrays['images'])

    def __getitem__(self, index: int) -> Dict[str, Tensor]:
        """Return a view, ``inputs`` with shape (3, H, W) as RGB in uint8, and the teacher's outputs by their names."""
        arrays = {name: array[index] for name, array in self.arrays.items()}
        arrays['images'] = arrays['images'].transpose(2, 0, 1)
        if np.random.random() < 0.5:
            arrays = {name: array[..., ::-1] if array.ndim == 3 else array for name, array in arrays.items()}
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        return dict(inputs=tensors.pop('images'), **tensors)
