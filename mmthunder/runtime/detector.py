"""Detection with an exported detector."""

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from .errors import ModelFileError
from .metadata import read_metadata
from .preprocessing import MAX_SIDE, Preprocessing
from .sessions import open_session


class Detections(NamedTuple):
    """Detections of one image, in descending order of scores.

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

    A detector can be shared between threads, with every backend: it keeps no state of a call.

    Args:
        model (str or Path): A file of ``tools/deployment/export_onnx.py`` or ``export_ncnn.py``, which
            contains how images are read, resized and padded, and the names of the classes.
        backend (str, optional): ``'onnxruntime'``, ``'openvino'`` or ``'ncnn'``; None takes what fits the
            file and is installed. Defaults to None.
        threads (int, optional): Threads of an operator; None leaves it to the runtime. Defaults to
            None.
        providers (sequence[str], optional): ONNX Runtime's execution providers, the preferred one first. Defaults to
            None: CUDA where the build of ONNX Runtime has it, otherwise the CPU.
        precision (str): ``'bf16'`` runs the networks in bfloat16, with OpenVINO on processors that have it; boxes and
            the softmax of scores stay in float32. Defaults to ``'f32'``.

    Raises:
        FileNotFoundError: If there is no such file.
        ModelFileError: If the file is not an exported detector, also later, when its graph gives something else.
        ImportError: If the runtime is not installed.
        ValueError: If there is no such backend, provider or precision, or not for this backend and processor.

    Attributes:
        classes (list[str]): Names of the labels.
        category_ids (list[int or str]): The dataset's ids of the labels, for results in COCO's format.
        score_thr (float): Detections below this are not in the graph's output.
        preprocessing (Preprocessing): Reading, resizing and padding of images.

    Example:
        >>> detector = Detector('snet49.onnx')  # doctest: +SKIP
        >>> boxes, scores, labels = detector(detector.read('street.jpg'))  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Union[str, Path],
        backend: Optional[str] = None,
        threads: Optional[int] = None,
        providers: Optional[Sequence[str]] = None,
        precision: str = 'f32',
    ) -> None:
        self.session = open_session(model, backend, threads, providers, precision)
        metadata = read_metadata(model, self.session.metadata)
        self.classes = metadata.classes
        self.category_ids = metadata.category_ids
        self.score_thr = metadata.score_thr
        self.preprocessing: Preprocessing = metadata.preprocessing
        self._path = model
        shape, channels = self.session.input_shape, self.preprocessing.loader.channels
        if len(shape) != 4 or shape[3] != channels:
            raise ModelFileError(
                f'{model}: its input has shape {shape}, expected images (N, H, W, {channels}); export it again'
            )

    def read(self, path: Union[str, Path]) -> Optional[np.ndarray]:
        """Read an image file as the test pipeline does, for example without applying the EXIF orientation.

        Args:
            path (str or Path): The file.

        Returns:
            np.ndarray, optional: Uint8, BGR (H, W, 3), or (H, W) for a detector of grayscale images; None if it cannot
            be read.
        """
        return self.preprocessing.loader.read(path)

    def __call__(self, image: np.ndarray) -> Detections:
        """Detect objects in one image; see :meth:`detect`."""
        return self.detect([image])[0]

    def detect(self, images: Sequence[np.ndarray]) -> List[Detections]:
        """Detect objects in images of any sizes.

        Images that have one size after preprocessing run as one batch, if the graph takes batches.

        Args:
            images (Sequence[np.ndarray]): Images as :meth:`read` gives them: uint8, BGR (H, W, 3), as OpenCV reads
                them, or (H, W) for a detector of grayscale images.

        Returns:
            list[Detections]: The detections of each image.

        Raises:
            ValueError: If an image has another shape or type.
        """
        by_size: Dict[Tuple[int, int], List[int]] = {}
        for index, image in enumerate(images):
            self._check(image, index)
            by_size.setdefault(self.preprocessing.output_size(image.shape[1::-1]), []).append(index)
        results: List[Optional[Detections]] = [None] * len(images)
        for size, indices in by_size.items():
            if max(size) > MAX_SIDE:
                raise ValueError(
                    f'image {indices[0]} has shape {images[indices[0]].shape} and would be resized to '
                    f'{size[0]}x{size[1]} px; sides of at most {MAX_SIDE} px are possible'
                )
            step = self.session.input_shape[0] or len(indices)
            for start in range(0, len(indices), step):
                chunk = indices[start : start + step]
                for index, detections in zip(chunk, self._detect_batch([images[i] for i in chunk])):
                    results[index] = detections
        return results

    def make_batch(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Make the graph's input of images that have one size after preprocessing.

        Args:
            images (Sequence[np.ndarray]): As for :meth:`detect`.

        Returns:
            np.ndarray: Images with shape (N, H, W, C); a graph of a larger fixed batch size gets the last image again.
        """
        batch = [self.preprocessing(image) for image in images]
        batch += [batch[-1]] * ((self.session.input_shape[0] or len(batch)) - len(batch))
        return np.stack(batch)

    def _check(self, image: np.ndarray, index: int) -> None:
        """Raise a ValueError if an image is not one that the detector takes."""
        if not isinstance(image, np.ndarray):
            raise ValueError(
                f'image {index} is {type(image).__name__}, expected an array of uint8; '
                'cv2.imread gives None for a file that it cannot read'
            )
        grayscale = self.preprocessing.loader.channels == 1
        right = image.shape[2:] in ((1,), ()) if grayscale else image.shape[2:] == (3,)
        if image.ndim < 2 or not right or image.dtype != np.uint8 or not image.size:
            raise ValueError(
                f'image {index} has shape {image.shape} and type {image.dtype}; expected '
                f'{"(H, W)" if grayscale else "(H, W, 3)"} and uint8, as '
                f'{"cv2.imread with cv2.IMREAD_GRAYSCALE" if grayscale else "cv2.imread"} gives'
            )

    def _detect_batch(self, images: Sequence[np.ndarray]) -> List[Detections]:
        results = []
        for image, boxes, scores, labels in zip(images, *self._run(self.make_batch(images))):
            found = labels >= 0
            # As mmdet maps boxes back: padding is at the right and the bottom and moves nothing.
            scale = 1 / np.array(self.preprocessing.scale_factors(image.shape[1::-1]) * 2)
            results.append(Detections(boxes[found] * scale.astype(np.float32), scores[found], labels[found]))
        return results

    def _run(self, batch: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the graph and check that its outputs are boxes, scores and labels; the file may come from anyone."""
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
