r"""Draws the outputs of the modules of a ThunderNet for an image, as one picture.

    python tools/analysis_tools/visualize_modules.py data/shapes/val/000008.jpg \
        configs/thundernet/snet49_shapes.py \
        work_dirs/snet49_shapes/epoch_5.pth --out docs/modules_shapes.jpg

Above the image, the best proposals and the detections; below the CEM map before SAM, SAM's attention and the map after
SAM, with the detections outlined in white. Without SAM there is only the CEM map. Each cell of 16 px has many channels:

- of the CEM map and the map after SAM, the distance of a cell's channels from the mean over all cells is drawn, that is
  how much the cell stands out. Their own values say less, since a convolution adds a constant to each channel.
- of the attention, the mean over the channels is drawn. It need not be high on objects: each channel has its own
  weight, and a training may as well learn to pass less, but other, channels there.
"""

import argparse
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import matplotlib
import mmcv
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from torch import Tensor, nn

from mmthunder.apis import ImagePipeline, load_detector
from mmthunder.models.detectors import ThunderNet
from mmthunder.tools.arguments import at_least

DRAWN_SIDE = 400  # px; smaller images are enlarged to it, so that labels are legible


class ModuleOutputs:
    """Keeps the outputs of the modules of a ThunderNet in each forward.

    Attributes:
        maps (dict[str, Tensor]): Maps with shape (C, H, W) of the first image: ``'CEM'`` and, with a SAM,
            ``'attention'`` and ``'SAM'``.
        proposals (Tensor): Boxes with shape (K, 4) in pixels of the network's input, the best first.

    Args:
        model (nn.Module): The detector.
    """

    def __init__(self, model: nn.Module) -> None:
        self.maps: Dict[str, Tensor] = {}
        self.proposals: Optional[Tensor] = None
        self._keep_map(model.neck, 'CEM')
        if model.sam is not None:
            self._keep_map(model.sam.theta, 'attention')
            self._keep_map(model.sam, 'SAM')
        model.roi_head.bbox_roi_extractor.register_forward_hook(self._keep_proposals)

    def _keep_map(self, module: nn.Module, name: str) -> None:

        def hook(module: nn.Module, inputs: tuple, output: object) -> None:
            self.maps[name] = (output[0] if isinstance(output, tuple) else output)[0]

        module.register_forward_hook(hook)

    def _keep_proposals(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        self.proposals = inputs[1][:, 1:]


def draw_boxes(image: np.ndarray, boxes: Tensor) -> np.ndarray:
    """Draw boxes without labels, the first on top.

    Args:
        image (np.ndarray): RGB image with shape (H, W, 3).
        boxes (Tensor): Boxes with shape (K, 4).

    Returns:
        np.ndarray: RGB image with shape (H, W, 3).
    """
    visualizer = DetLocalVisualizer(name='proposals')
    visualizer.set_image(image)
    # From yellow for the best to dark purple.
    colors = matplotlib.colormaps['plasma'](np.linspace(0, 1, max(len(boxes), 1)))[:, :3] * 255
    visualizer.draw_bboxes(boxes.flip(0), edge_colors=[tuple(int(v) for v in color) for color in colors], line_widths=2)
    return visualizer.get_image()


def draw_detections(image: np.ndarray, sample: DetDataSample, dataset_meta: dict, score_thr: float) -> np.ndarray:
    """Draw the predictions of a sample, as mmdet does; see :func:`draw_boxes` for the shapes."""
    visualizer = DetLocalVisualizer(name='detections')
    visualizer.dataset_meta = dataset_meta
    visualizer.add_datasample('detections', image, sample, draw_gt=False, pred_score_thr=score_thr)
    return visualizer.get_image()


def distance_from_mean(feature_map: Tensor) -> Tensor:
    """Measure how much each cell of a map (C, H, W) differs from the mean cell; (H, W)."""
    return (feature_map - feature_map.mean((1, 2), keepdim=True)).norm(dim=0)


def draw_map(axes: Axes, values: Tensor, sample: DetDataSample, boxes: Tensor) -> None:
    """Draw a map over the extent of the image.

    Args:
        axes (Axes): Where to draw.
        values (Tensor): Map with shape (H, W).
        sample (DetDataSample): Has the sizes of the image and of the network's input.
        boxes (Tensor): Boxes with shape (K, 4) in pixels of the image, to outline.
    """
    scale_x, scale_y = sample.scale_factor
    padded_height, padded_width = sample.batch_input_shape
    extent = (0, padded_width / scale_x, padded_height / scale_y, 0)
    drawn = axes.imshow(values.cpu().numpy(), extent=extent, cmap='viridis')
    for x1, y1, x2, y2 in boxes.tolist():
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor='white', linewidth=1.2))
    height, width = sample.ori_shape
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.figure.colorbar(drawn, ax=axes, location='bottom', fraction=0.04, pad=0.02)


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Convert an image in BGR (H, W, 3) or grayscale (H, W) to RGB, uint8, (H, W, 3)."""
    image = image.astype(np.uint8)
    return mmcv.gray2rgb(image) if image.ndim == 2 else mmcv.bgr2rgb(image)


def visualize(
    model: ThunderNet,
    image_path: str,
    out: str,
    num_proposals: int,
    score_thr: float,
    shape: Optional[Tuple[int, int]] = None,
) -> None:
    """Write the picture.

    Args:
        model (ThunderNet): A detector of :func:`mmthunder.apis.load_detector`.
        image_path (str): The image.
        out (str): The picture.
        num_proposals (int): Number of proposals to draw.
        score_thr (float): Lowest score of the detections to draw.
        shape (tuple[int, int], optional): Height and width of the detector's input. Defaults to None, the size of the
            test pipeline.

    Raises:
        ValueError: If the file is not an image, or the config has no test pipeline and no shape is given.
    """
    pipeline = ImagePipeline(model.cfg, shape)
    outputs = ModuleOutputs(model)
    image = pipeline.read(image_path)
    with torch.no_grad():
        sample = model.test_step(pipeline(image))[0].cpu()
    image = to_rgb(image)
    proposals = outputs.proposals.cpu() / torch.tensor(sample.scale_factor).repeat(2)
    detections = sample.pred_instances.bboxes[sample.pred_instances.scores >= score_thr]

    factor = max(1, DRAWN_SIDE / min(image.shape[:2]))
    large = mmcv.imrescale(image, factor)
    sample.pred_instances.bboxes *= factor
    panels = {
        'image': large,
        f'{min(num_proposals, len(proposals))} best of {len(proposals)} proposals, the best yellow': draw_boxes(
            large, proposals[:num_proposals] * factor
        ),
        f'detections of score {score_thr} and above': draw_detections(large, sample, model.dataset_meta, score_thr),
    }
    maps = {'CEM: distance from the mean cell': distance_from_mean(outputs.maps['CEM'])}
    if 'SAM' in outputs.maps:
        maps['SAM attention: mean over the channels'] = outputs.maps['attention'].mean(0)
        maps['CEM x attention: distance from the mean cell'] = distance_from_mean(outputs.maps['SAM'])

    fig = Figure(figsize=(13.5, 9 * large.shape[0] / large.shape[1]), layout='constrained')
    axes = fig.subplots(2, 3)
    for ax in axes.flat:
        ax.axis('off')
    for ax, (title, picture) in zip(axes[0], panels.items()):
        ax.imshow(picture)
        ax.set_title(title)
    for ax, (title, values) in zip(axes[1], maps.items()):
        draw_map(ax, values, sample, detections)
        ax.set_title(title)
    Path(out).resolve().parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(out, dpi=100)


def main(argv: Optional[List[str]] = None) -> None:
    """Parse the command line and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('image', help='image to look at')
    parser.add_argument('config', help='config of a ThunderNet')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('--out', default='modules.jpg', help='picture to write, jpg or png')
    parser.add_argument('--proposals', type=int, default=20, help='proposals to draw')
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score of detections to draw')
    parser.add_argument(
        '--shape',
        type=at_least(1),
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the input; by default that of the test pipeline, which a config need not have',
    )
    parser.add_argument('--device', default='cpu', help='device of torch, for example cuda:0')
    args = parser.parse_args(argv)
    try:
        cfg = Config.fromfile(args.config)
        # Also of names with a scope, and of pure Python configs, whose types are classes.
        kind = MODELS.get(cfg.model.type) if isinstance(cfg.model.type, str) else cfg.model.type
        if kind is None or not issubclass(kind, ThunderNet):
            parser.error(
                f'{args.config} has a {getattr(kind, "__name__", cfg.model.type)}; give the config of a ThunderNet'
            )
        model = load_detector(args.config, args.checkpoint).to(args.device)
        visualize(model, args.image, args.out, args.proposals, args.score_thr, args.shape)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
