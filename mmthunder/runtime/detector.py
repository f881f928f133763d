"""From images to detections in pixels of these images."""

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from .errors import ModelFileError
from .metadata import read_metadata
from .sessions import open_session


class Detections(NamedTuple):
    """What was found in one image, by falling score.

    Attributes:
        boxes (np.ndarray): x1, y1, x2, y2 in pixels of the image, float32 with shape (K, 4).
        scores (np.ndarray): Float32 with shape (K, ).
        labels (np.ndarray): Indices of :attr:`Detector.classes`, int64 with shape (K, ).
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class Detector:
    """An exported detector.

    Args:
        model (str or Path): A file of ``tools/deployment/export_onnx.py``, which says itself how
            images are to be resized and what the classes are called.
        backend (str, optional): ``'onnxruntime'``, ``'openvino'`` or ``'ncnn'``; None takes what fits the
            file and is installed. Defaults to None.
        threads (int, optional): Threads of an operator; None leaves it to the runtime. Defaults to
            None.

    Raises:
        FileNotFoundError: If there is no such file.
        ModelFileError: If the file is not an exported detector, also later, when its graph gives something else.
        ImportError: If the runtime is not installed.

    Attributes:
        classes (list[str]): Names of the labels.
        category_ids (list[int]): The data set's ids of the labels, for results in COCO's form.
        score_thr (float): Detections below this are not in the graph's output.

    Example:
        >>> detector = Detector('snet49.onnx')  # doctest: +SKIP
        >>> boxes, scores, labels = detector(cv2.imread('street.jpg'))  # doctest: +SKIP
    """

    def __init__(self, model: Union[str, Path], backend: Optional[str] = None, threads: Optional[int] = None) -> None:
        self.session = open_session(model, backend, threads)
        metadata = read_metadata(model, self.session.metadata)
        shape = self.session.input_shape
        if len(shape) != 4 or shape[3] != 3:
            raise ModelFileError(f'{model}: its input has shape {shape}, expected images (N, H, W, 3); export it again')
        self.classes = metadata.classes
        self.category_ids = metadata.category_ids
        self.score_thr = metadata.score_thr
        self._path, self._scale, self._keep_ratio = model, metadata.scale, metadata.keep_ratio

    def __call__(self, image: np.ndarray) -> Detections:
        """Detect objects in one image; see :meth:`detect`."""
        return self.detect([image])[0]

    def detect(self, images: Sequence[np.ndarray]) -> List[Detections]:
        """Detect objects in images of any sizes.

        Images that have one size after resizing run as one batch, if the graph takes batches.

        Args:
            images (Sequence[np.ndarray]): Images as OpenCV reads them: BGR, uint8, (H, W, 3).

        Returns:
            list[Detections]: The detections of each image.

        Raises:
            ValueError: If an image has another shape or type.
        """
        by_size: Dict[Tuple[int, int], List[int]] = {}
        for index, image in enumerate(images):
            if not isinstance(image, np.ndarray):
                raise ValueError(
                    f'image {index} is {type(image).__name__}, expected an array (H, W, 3) of uint8; '
                    'cv2.imread gives None for a file that it cannot read'
                )
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise ValueError(
                    f'image {index} has shape {image.shape} and type {image.dtype}; expected '
                    '(H, W, 3) and uint8, as cv2.imread gives'
                )
            by_size.setdefault(self.input_size(image), []).append(index)
        results: List[Optional[Detections]] = [None] * len(images)
        for size, indices in by_size.items():
            step = self.session.input_shape[0] or len(indices)
            for start in range(0, len(indices), step):
                chunk = indices[start : start + step]
                for index, detections in zip(chunk, self._detect_batch([images[i] for i in chunk], size)):
                    results[index] = detections
        return results

    def input_size(self, image: np.ndarray) -> Tuple[int, int]:
        """Tell the size that an image is resized to.

        Args:
            image (np.ndarray): The image, (H, W, 3).

        Returns:
            tuple[int, int]: Width and height in pixels, at least 1.
        """
        if not self._keep_ratio:
            return self._scale
        height, width = image.shape[:2]
        factor = min(max(self._scale) / max(height, width), min(self._scale) / min(height, width))
        return max(int(width * factor + 0.5), 1), max(int(height * factor + 0.5), 1)

    def make_batch(self, images: Sequence[np.ndarray], size: Tuple[int, int]) -> np.ndarray:
        """Make the graph's input of images that have one size after resizing.

        Args:
            images (Sequence[np.ndarray]): As for :meth:`detect`.
            size (tuple[int, int]): Width and height to resize to.

        Returns:
            np.ndarray: Uint8 with shape (N, H, W, 3); a graph of a fixed batch size that is larger gets
            the last image again.
        """
        batch = [cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) for image in images]
        batch += [batch[-1]] * ((self.session.input_shape[0] or len(batch)) - len(batch))
        return np.stack(batch)

    def _detect_batch(self, images: Sequence[np.ndarray], size: Tuple[int, int]) -> List[Detections]:
        results = []
        for image, boxes, scores, labels in zip(images, *self._run(self.make_batch(images, size))):
            found = labels >= 0
            height, width = image.shape[:2]
            scale = np.array([width / size[0], height / size[1]] * 2, dtype=np.float32)
            results.append(Detections(boxes[found] * scale, scores[found], labels[found]))
        return results

    def _run(self, batch: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the graph, which may be anybody's, and check that it gives boxes, scores and labels."""
        outputs = self.session.run(batch)
        shapes = [output.shape for output in outputs]
        slots = shapes[-1][1:2] if shapes else ()
        if shapes != [(len(batch), *slots, 4), (len(batch), *slots), (len(batch), *slots)]:
            raise ModelFileError(
                f'{self._path}: its outputs have the shapes {shapes}, expected boxes (N, M, 4), '
                'scores (N, M) and labels (N, M); export it again'
            )
        boxes, scores, labels = outputs
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all() and (labels < len(self.classes)).all()):
            raise ModelFileError(
                f'{self._path}: its outputs have infinite or NaN values, or labels beyond the '
                f'{len(self.classes)} classes of its metadata; export it again'
            )
        return boxes, scores, labels
