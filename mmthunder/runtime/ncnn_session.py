"""A detector of two ncnn networks: features and, for all RoIs at once, the head."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Tuple

import numpy as np

from .errors import ModelFileError
from .metadata import FORMAT_1
from .two_stage import decode, propose, ps_roi_align, select_detections

if TYPE_CHECKING:
    import ncnn


class NcnnSession:
    """Runs the networks with ncnn and everything else with NumPy. It can be shared between threads.

    It is the reference for a program on a phone, which does the same in its own language.

    Args:
        path (Path): ``detector.json`` of ``tools/deployment/export_ncnn.py``; the networks are in the same directory.
        threads (int, optional): Threads; None leaves it to ncnn. Defaults to None.

    The attributes are those of :class:`OnnxRuntimeSession`.
    """

    def __init__(self, path: Path, threads: Optional[int] = None) -> None:
        import ncnn

        self._ncnn = ncnn
        self._path = path
        self.name = f'ncnn {ncnn.__version__}'
        try:
            self._settings = json.loads(path.read_text())
            metadata = self._settings['metadata']
            if metadata.get('format') == FORMAT_1:
                width, height = metadata['scale']
                self.input_shape: List[Optional[int]] = [1, height, width, 3]
            else:
                _, _, _, _ = self.input_shape = self._settings['input_shape']
        except (AttributeError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelFileError(
                f'{path}: not a detector of tools/deployment/export_ncnn.py ({type(error).__name__})'
            ) from None
        self.metadata: Dict[str, str] = {
            key: value if key == 'format' else json.dumps(value) for key, value in metadata.items()
        }
        self._features, self._head = (self._load(path.with_name(name), threads) for name in ('features', 'head'))

    def _load(self, path: Path, threads: Optional[int]) -> 'ncnn.Net':
        net = self._ncnn.Net()
        # The same numbers on every processor.
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_bf16_storage = False
        if threads is not None:
            net.opt.num_threads = threads
        for suffix, load in (('param', net.load_param), ('bin', net.load_model)):
            if load(f'{path}.{suffix}'):
                raise ModelFileError(
                    f'{path}.{suffix}: missing or not readable; it belongs in the directory of detector.json'
                )
        return net

    def _forward(self, net: 'ncnn.Net', inputs: np.ndarray, outputs: int) -> List[np.ndarray]:
        # ncnn reads the array's own memory, so the array must live until the end.
        inputs = np.ascontiguousarray(inputs, dtype=np.float32)
        extractor = net.create_extractor()
        extractor.input('in0', self._ncnn.Mat(inputs))
        return [np.array(extractor.extract(f'out{i}')[1]) for i in range(outputs)]

    def preprocess(self, image: np.ndarray) -> np.ndarray:
        """Normalise and pad an image.

        Args:
            image (np.ndarray): BGR, (H, W, 3), or grayscale, (H, W, 1).

        Returns:
            np.ndarray: Float32 with shape (C, H', W').
        """
        settings = self._settings['preprocess']
        inputs = image[..., ::-1] if settings['bgr_to_rgb'] else image
        inputs = (inputs.astype(np.float32) - np.float32(settings['mean'])) / np.float32(settings['std'])
        pad = [-size % settings['pad_size_divisor'] for size in image.shape[:2]]
        inputs = np.pad(inputs, ((0, pad[0]), (0, pad[1]), (0, 0)), constant_values=settings['pad_value'])
        return inputs.transpose(2, 0, 1)

    def _detect(self, image: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        head, metadata = self._settings['head'], self._settings['metadata']
        limits = np.float32([image.shape[1], image.shape[0]] * 2)
        feat, logits, deltas = self._forward(self._features, self.preprocess(image), 3)
        proposals = propose(logits, deltas, self._settings['rpn'], limits)
        if not len(proposals):
            return select_detections(
                np.zeros((0, 1, 4), np.float32), np.zeros((0, 1), np.float32), 0.0, 0.0, metadata['max_per_img']
            )
        pooled = ps_roi_align(feat, proposals, self._settings['ps_roi_align'])
        logits, deltas = self._forward(self._head, pooled.reshape(len(pooled), -1), 2)
        scores = np.exp(logits - logits.max(1, keepdims=True))
        scores = (scores / scores.sum(1, keepdims=True))[:, :-1]
        boxes = decode(
            proposals[:, None],
            deltas.reshape(len(deltas), -1, 4),
            np.float32(head['means']),
            np.float32(head['stds']),
            limits,
        )
        return select_detections(
            boxes, scores, metadata['score_thr'], metadata['nms']['iou_threshold'], metadata['max_per_img']
        )

    def run(self, images: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the detector; see :meth:`OnnxRuntimeSession.run`."""
        try:
            return tuple(np.stack(values) for values in zip(*(self._detect(image) for image in images)))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ModelFileError(
                f'{self._path}: a setting is missing, wrong or does not fit the networks '
                f'({type(error).__name__}: {error}); export it again'
            ) from None
