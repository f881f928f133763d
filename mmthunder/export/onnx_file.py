"""From a detector to an ONNX file that holds all of it."""

import json
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import onnx
import torch
from mmdet.datasets import CocoDataset
from mmdet.models.detectors import TwoStageDetector
from mmengine.config import Config

from mmthunder.apis import Agreement, detect, use_fixed_size, use_greedy_nms
from mmthunder.runtime import Detector
from mmthunder.runtime.metadata import FORMAT
from mmthunder.utils.atomic_write import atomic_files
from mmthunder.utils.test_resize import find_test_resize

from .to_onnx import to_onnx
from .two_stage_graph import TwoStageGraph

# COCO's 80 classes have ids with gaps.
COCO_IDS = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


class DisagreementError(RuntimeError):
    """The exported graph does not find what the detector finds."""


class InputSpec(NamedTuple):
    """What images a graph takes.

    Attributes:
        scale (tuple[int, int]): Width and height that images are resized to; with ``keep_ratio`` the
            longer and the shorter side stay within them.
        keep_ratio (bool): Whether images keep their proportions.
        dynamic (bool): Whether the graph takes every height and width; otherwise those of ``scale``.
        batch (int, optional): Images of a call; None for any number.
    """

    scale: Tuple[int, int]
    keep_ratio: bool
    dynamic: bool
    batch: Optional[int]

    @classmethod
    def from_config(
        cls, cfg: Config, shape: Optional[Tuple[int, int]] = None, dynamic: bool = False, batch: Optional[int] = 1
    ) -> 'InputSpec':
        """Take the size of the config's tests.

        Args:
            cfg (Config): The config.
            shape (tuple[int, int], optional): Height and width of a graph of fixed size; images are
                stretched to it. Defaults to None, the size of the config's test pipeline. Where that
                keeps proportions, sizes vary and the graph is dynamic.
            dynamic (bool): Whether the graph takes every size. Defaults to False.
            batch (int, optional): Images of a call; None for any number. Defaults to 1.

        Returns:
            InputSpec: What images the graph takes.

        Raises:
            ValueError: If the test pipeline does not have exactly one ``Resize`` with a scale.
        """
        if shape is not None:
            return cls((shape[1], shape[0]), False, dynamic, batch)
        resize = find_test_resize(cfg)
        keep_ratio = resize.get('keep_ratio', False)
        return cls(tuple(resize.scale), keep_ratio, dynamic or keep_ratio, batch)


def category_ids(cfg: Config, classes: Sequence[str]) -> List[int]:
    """Find the data set's ids of the classes.

    Args:
        cfg (Config): The config.
        classes (Sequence[str]): Names of the classes.

    Returns:
        list[int]: The ids of the test set's annotation file, if it is in COCO's form and there;
        otherwise COCO's own for COCO's classes and 1, 2, 3... for others.
    """
    dataset = cfg.test_dataloader.dataset
    path = Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')
    if path.suffix == '.json' and path.is_file():
        with open(path) as f:
            ids = {category['name']: category['id'] for category in json.load(f)['categories']}
        if set(classes) <= set(ids):
            return [ids[name] for name in classes]
    if tuple(classes) == CocoDataset.METAINFO['classes']:
        return COCO_IDS
    return list(range(1, len(classes) + 1))


def make_metadata(detector: TwoStageDetector, spec: InputSpec) -> dict:
    """Collect what a runtime needs to know about an exported detector.

    Args:
        detector (TwoStageDetector): What :func:`load_detector` returns.
        spec (InputSpec): What images the graph takes.

    Returns:
        dict: ``format``, ``classes``, ``category_ids``, ``scale`` (width, height), ``keep_ratio``,
        ``score_thr``, ``max_per_img``, ``nms``, and for the reader, since the graph has them in it,
        ``mean``, ``std`` and the name of the ``config``.
    """
    cfg, preprocessor = detector.roi_head.test_cfg, detector.data_preprocessor
    classes = list(detector.dataset_meta['classes'])
    return dict(
        format=FORMAT,
        classes=classes,
        category_ids=category_ids(detector.cfg, classes),
        scale=spec.scale,
        keep_ratio=spec.keep_ratio,
        score_thr=cfg.score_thr,
        max_per_img=cfg.max_per_img,
        nms=dict(type='nms', iou_threshold=cfg.nms.iou_threshold),
        mean=preprocessor.mean.flatten().tolist() if preprocessor._enable_normalize else None,
        std=preprocessor.std.flatten().tolist() if preprocessor._enable_normalize else None,
        config=Path(detector.cfg.filename).name if detector.cfg.filename else None,
    )


def build_model(detector: TwoStageDetector, spec: InputSpec) -> onnx.ModelProto:
    """Translate a detector into ONNX.

    Args:
        detector (TwoStageDetector): What :func:`load_detector` returns; it is not changed.
        spec (InputSpec): What images the graph takes.

    Returns:
        onnx.ModelProto: The model with its metadata.
    """
    graph = TwoStageGraph(detector)
    width, height = spec.scale
    free, fixed = torch.export.Dim.DYNAMIC, torch.export.Dim.STATIC
    sides = free if spec.dynamic else fixed
    # An example of one image would make the graph one for single images, and equal sides one for squares.
    example = torch.zeros((spec.batch or 2, height, width + 32 * spec.dynamic, 3), dtype=torch.uint8)
    model = to_onnx(graph, example, {0: free if spec.batch is None else fixed, 1: sides, 2: sides, 3: fixed})
    onnx.helper.set_model_props(
        model,
        {key: value if key == 'format' else json.dumps(value) for key, value in make_metadata(detector, spec).items()},
    )
    return model


def export_onnx(
    detector: TwoStageDetector,
    output: Union[str, Path],
    spec: InputSpec,
    images: Sequence[np.ndarray],
    threads: Optional[int] = None,
) -> Agreement:
    """Write a detector as an ONNX file, if the file finds what the detector finds.

    Args:
        detector (TwoStageDetector): What :func:`load_detector` returns.
        output (str or Path): The file to write.
        spec (InputSpec): What images the graph takes.
        images (Sequence[np.ndarray]): Images to compare on: BGR, uint8, (H, W, 3).
        threads (int, optional): Threads of ONNX Runtime. Defaults to None, its own choice.

    Returns:
        Agreement: How the file's detections compare with those of the detector with greedy NMS.

    Raises:
        DisagreementError: If a detection has no partner; nothing is written then.
    """
    output = Path(output)
    reference = use_greedy_nms(detector)
    if not spec.keep_ratio:
        reference = use_fixed_size(reference, spec.scale)
    agreement = Agreement()
    # Renamed when it is right, so that there is never a wrong or half a file under its name.
    with atomic_files(output.parent, [output.name]) as folder:
        onnx.save(build_model(detector, spec), folder / output.name)
        runtime = Detector(folder / output.name, 'onnxruntime', threads)
        for image, found in zip(images, runtime.detect(images)):
            agreement.add(detect(reference, image), found)
        if agreement.unmatched:
            raise DisagreementError(
                f'export: the graph and the detector disagree, so {output} is not written: {agreement}'
            )
    return agreement
