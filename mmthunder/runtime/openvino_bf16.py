"""Which part of a detector OpenVINO computes in bfloat16."""

from typing import TYPE_CHECKING, List, Set

if TYPE_CHECKING:
    import openvino

# The operators that bfloat16 makes faster.
LAYERS = ('Convolution', 'GroupConvolution', 'MatMul')


def keep_boxes_in_f32(model: 'openvino.Model') -> None:
    """Keep the arithmetic of boxes out of bfloat16, whose 8 bits of significand are steps of 2 px at 300 px.

    Under a bf16 hint OpenVINO's CPU plugin computes in float32 what is between the last layers and the outputs: the
    proposals, the softmax and the boxes. What it computes of the proposals for layers after them, which is the weights
    of RoI features, would be in bfloat16. It becomes an output too here. Marks of precision-sensitive nodes do not
    survive the fusion of elementwise operators into subgraphs (OpenVINO 2026.4).

    Args:
        model (openvino.Model): A detector's graph; the new outputs come after its own.
    """
    boxes: Set[str] = set()  # nodes that depend on the chosen anchors
    features: Set[str] = set()  # of these, layers and what depends on them
    borders: List[openvino.Output] = []
    for node in model.get_ordered_ops():
        kind, name = node.get_type_name(), node.get_friendly_name()
        sources = {value.get_node().get_friendly_name(): value for value in node.input_values()}
        of_boxes = [value for source, value in sources.items() if source in boxes]
        if features & sources.keys() or (kind in LAYERS and of_boxes):
            features.add(name)
            borders += [value for value in of_boxes if value.element_type.is_real()]
        elif kind == 'TopK' or of_boxes:
            boxes.add(name)
    model.add_outputs(borders)
