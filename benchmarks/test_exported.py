"""Latency of exported detectors against image size, proposals, classes and threads; one of them varies at a time.

Weights are random. No box reaches the final NMS, as if images were empty; with ``crowded`` every box of every class
does, so that images with objects are between the two.
"""

import numpy as np
import pytest

from mmthunder.apis import limit_detections, load_detector
from mmthunder.runtime.sessions import ONNX_BACKENDS
from mmthunder.tools.analysis_tools.exported import exported_calls, to_graph

KEYS = dict(
    proposals='model.test_cfg.rpn.max_per_img',
    classes='model.roi_head.bbox_head.num_classes',
    crowded='model.roi_head.bbox_head.num_classes',
)


@pytest.mark.parametrize(
    ('axis', 'value'),
    [
        *(('size', value) for value in (224, 320, 416, 512, 640)),
        *(('proposals', value) for value in (50, 100, 200, 500, 1000)),
        *(('classes', value) for value in (1, 20, 80, 300, 1000)),
        *(('crowded', value) for value in (1, 20, 80, 300, 1000)),
        *(('threads', value) for value in (1, 2)),
    ],
)
@pytest.mark.parametrize('backend', ONNX_BACKENDS)
def test_latency(config, benchmark, backend, axis, value):
    """From 320 px and one thread, with the config's numbers of proposals and classes."""
    options = {KEYS[axis]: value} if axis in KEYS else {}
    if axis == 'proposals':
        options['model.test_cfg.rpn.nms_pre'] = max(1000, 2 * value)  # chosen among at least twice as many anchors
    detector = load_detector(config, cfg_options=options)
    if axis in ('classes', 'crowded'):  # the exporter compares the names with the head
        detector.dataset_meta = dict(classes=[str(label) for label in range(value)])
    # Nothing scores above 1, everything above 0.
    limit_detections(detector, 0.0 if axis == 'crowded' else 1.0)
    size, threads = (value if axis == name else default for name, default in (('size', 320), ('threads', 1)))
    images = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    benchmark(exported_calls(to_graph(detector), images, [backend], threads)[backend])
