import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import nms

from mmthunder.export.nms import ONNX_TRANSLATION, nms_mask


def random_boxes(*shape: int) -> Tensor:
    corner = torch.rand(*shape, 2) * 50
    return torch.cat((corner, corner + torch.rand(*shape, 2) * 40), -1)


def test_matches_torchvision():
    boxes, scores = random_boxes(2, 60), torch.rand(2, 3, 60)
    mask = nms_mask(boxes, scores, 0.4, 0.3, 5)
    assert mask.shape == (2, 3, 60) and mask.dtype == torch.bool
    for image in range(2):
        for label in range(3):
            kept = [i for i in nms(boxes[image], scores[image, label], 0.4).tolist() if scores[image, label, i] > 0.3]
            assert len(kept) > 5  # so that the limit matters
            assert sorted(kept[:5]) == mask[image, label].nonzero().flatten().tolist()


def test_known_answer():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 5]]])
    scores = torch.tensor([[[0.9, 0.8, 0.7, 0.6], [0.1, 0.8, 0.05, 0.7]]])
    # IoU of the first with the second 0.9, with the last 0.5, which is not above the threshold.
    assert nms_mask(boxes, scores, 0.5, 0.1, 9).int().tolist() == [[[1, 0, 1, 1], [0, 1, 0, 0]]]


class Mask(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        return nms_mask(boxes, scores, 0.4, 0.3, 5)


@pytest.fixture(scope='module')
def session():
    program = torch.onnx.export(
        Mask().eval(),
        (random_boxes(2, 60), torch.rand(2, 3, 60)),
        dynamo=True,
        opset_version=18,
        verbose=False,
        custom_translation_table=ONNX_TRANSLATION,
    )
    model = program.model_proto
    assert {node.domain for node in model.graph.node} == {''}
    assert [node.op_type for node in model.graph.node].count('NonMaxSuppression') == 1
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString())


@pytest.mark.parametrize('offset', [0.0, -1.0])
def test_onnx(session, offset):
    """The translation marks the same boxes; none at all where no score is above the threshold."""
    boxes, scores = random_boxes(2, 60), torch.rand(2, 3, 60) + offset
    (mask,) = session.run(None, {i.name: t.numpy() for i, t in zip(session.get_inputs(), (boxes, scores))})
    expected = nms_mask(boxes, scores, 0.4, 0.3, 5).numpy()
    assert mask.dtype == np.bool_ and (mask == expected).all()
    assert expected.any() == (offset == 0)
