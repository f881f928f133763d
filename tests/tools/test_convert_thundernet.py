"""The authors' layouts, against networks written from their description in plain PyTorch.

They are computed in float64, in which rounding hides no difference.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import Tensor, nn

from mmthunder.models import SNet

DETECTOR, CLASSIFIER = 'ThunderNet of qinzheng93/ThunderNet', 'SNet classifier of qinzheng93/ThunderNet'
DAYBREAK, DAYBREAK_DETECTOR = 'SNet classifier of DayBreak-u/Snet', 'ThunderNet of DayBreak-u/Thundernet_Pytorch'
WIDTHS = {'49': (24, 60, 120, 240), '146': (24, 132, 264, 528), '535': (48, 248, 496, 992)}
SIZE = 96  # px


class Weights(dict):
    """Random weights under the names that a layout has for them."""

    def conv(self, name: str, cout: int, cin: int, kernel: int = 1, bias: bool = False) -> None:
        self[f'{name}.weight'] = torch.randn(cout, cin, kernel, kernel).double() * (2 / (cin * kernel**2)) ** 0.5
        if bias:
            self[f'{name}.bias'] = torch.rand(cout).double()

    def norm(self, name: str, channels: int) -> None:
        for key, low, high in (
            ('weight', 0.6, 1.2),
            ('bias', -0.2, 0.2),
            ('running_mean', -0.2, 0.2),
            ('running_var', 0.8, 1.5),
        ):
            self[f'{name}.{key}'] = torch.empty(channels).uniform_(low, high).double()
        self[f'{name}.num_batches_tracked'] = torch.tensor(7)

    def linear(self, name: str, cout: int, cin: int, bias: bool = True) -> None:
        self[f'{name}.weight'] = torch.randn(cout, cin).double() * (2 / cin) ** 0.5
        if bias:
            self[f'{name}.bias'] = torch.rand(cout).double()

    def apply_conv(self, name: str, x: Tensor, **kwargs) -> Tensor:
        return F.conv2d(x, self[f'{name}.weight'], self.get(f'{name}.bias'), **kwargs)

    def apply_norm(self, name: str, x: Tensor) -> Tensor:
        keys = ('running_mean', 'running_var', 'weight', 'bias')
        return F.batch_norm(x, *(self[f'{name}.{key}'] for key in keys))

    def apply_linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self[f'{name}.weight'], self.get(f'{name}.bias'))


RELEASE = dict(stem='first_conv', stages=('stage.0', 'stage.1', 'stage.2'), branch='branch', left='branch_left')
OTHER = dict(stem='conv1', stages=('stage1', 'stage2', 'stage3'), branch='branch_main', left='branch_proj')


def blocks(names: dict, prefix: str):
    """The names of the blocks, and whether each is the first of its stage."""
    for stage, repeats in zip(names['stages'], (4, 8, 4)):
        for block in range(repeats):
            yield f'{prefix}{stage}.{block}', block == 0


def add_snet(weights: Weights, arch: str, names: dict, prefix: str = '') -> None:
    """Convolutions and normalisations are numbered through, with 2 and 7 for activations."""
    stem, *widths = WIDTHS[arch]
    weights.conv(f'{prefix}{names["stem"]}.0', stem, 3, 3)
    weights.norm(f'{prefix}{names["stem"]}.1', stem)
    width, stages = stem, iter(widths)
    for name, first in blocks(names, prefix):
        out = next(stages) if first else width
        cin, mid = (width if first else width // 2), out // 2
        for number, (cout, channels, kernel) in {0: (mid, cin, 1), 3: (mid, 1, 5), 5: (out - cin, mid, 1)}.items():
            weights.conv(f'{name}.{names["branch"]}.{number}', cout, channels, kernel)
            weights.norm(f'{name}.{names["branch"]}.{number + 1}', cout)
        if first:
            for number, channels, kernel in ((0, 1, 5), (2, cin, 1)):
                weights.conv(f'{name}.{names["left"]}.{number}', cin, channels, kernel)
                weights.norm(f'{name}.{names["left"]}.{number + 1}', cin)
        width = out
    if arch == '49':
        weights.conv(f'{prefix}conv5.0', 512, width)
        weights.norm(f'{prefix}conv5.1', 512)


def snet(weights: Weights, x: Tensor, names: dict, prefix: str = '', interleave: bool = False) -> list:
    """The outputs of the three stages, the last after Conv5 if there is one."""

    def unit(name: str, number: int, x: Tensor, **kwargs) -> Tensor:
        return weights.apply_norm(f'{name}.{number + 1}', weights.apply_conv(f'{name}.{number}', x, **kwargs))

    x = unit(f'{prefix}{names["stem"]}', 0, x, stride=2, padding=1).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    outs = []
    for name, first in blocks(names, prefix):
        if first:
            outs.append(x)
            past = through = x
        elif interleave:
            half = x.shape[1] // 2
            order = [i // 2 + (i % 2) * half for i in range(2 * half)]
            past, through = x[:, order[:half]], x[:, order[half:]]
        else:
            past, through = x[:, 0::2], x[:, 1::2]
        depthwise = dict(stride=2 if first else 1, padding=2)
        main = f'{name}.{names["branch"]}'
        through = unit(main, 0, through).relu()
        through = unit(main, 3, through, groups=through.shape[1], **depthwise)
        through = unit(main, 5, through).relu()
        if first:
            left = f'{name}.{names["left"]}'
            past = unit(left, 2, unit(left, 0, past, groups=past.shape[1], **depthwise)).relu()
        x = torch.cat((past, through), 1)
    if f'{prefix}conv5.0.weight' in weights:
        x = unit(f'{prefix}conv5', 0, x).relu()
    return [*outs[1:], x]


def max_ps_roi_align(feat: Tensor, rois: Tensor) -> Tensor:
    """The largest of 2x2 bilinear samples of each bin, of one map with stride 16."""
    plane = feat[0].reshape(5, 7, 7, *feat.shape[-2:]).numpy()
    height, width = plane.shape[-2:]

    def read(i: int, j: int, y: float, x: float) -> np.ndarray:
        if not (-1 <= y <= height and -1 <= x <= width):
            return np.zeros(5)
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        y0, x0 = int(y), int(x)
        y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
        rows = [plane[:, i, j, row, x0] * (1 - x + x0) + plane[:, i, j, row, x1] * (x - x0) for row in (y0, y1)]
        return rows[0] * (1 - y + y0) + rows[1] * (y - y0)

    out = np.zeros((len(rois), 5, 7, 7))
    for k, (x1, y1, x2, y2) in enumerate((rois[:, 1:] / 16).tolist()):
        bin_h, bin_w = max(y2 - y1, 0.1) / 7, max(x2 - x1, 0.1) / 7
        for i, j in np.ndindex(7, 7):
            samples = [
                read(i, j, y1 + (i + a) * bin_h, x1 + (j + b) * bin_w) for a in (0.25, 0.75) for b in (0.25, 0.75)
            ]
            out[k, :, i, j] = np.max(samples, 0)
    return torch.from_numpy(out)


def released_detector() -> Weights:
    weights = Weights()
    add_snet(weights, '146', RELEASE, 'backbone.')
    for name, channels in (('C4', 264), ('C5', 528), ('Cglb', 528)):
        weights.conv(f'neck.{name}', 245, channels, bias=True)
    weights.conv('rpn_head.rpn_conv.0', 245, 1, 5)
    weights.norm('rpn_head.rpn_conv.1', 245)
    weights.conv('rpn_head.rpn_conv.3', 256, 245)
    weights.norm('rpn_head.rpn_conv.4', 256)
    weights.conv('rpn_head.sam_convs.0', 245, 256)
    weights.norm('rpn_head.sam_convs.1', 245)
    weights.conv('rpn_head.rpn_cls', 25, 256, bias=True)
    weights.conv('rpn_head.rpn_reg', 100, 256, bias=True)
    weights.linear('roi_head.bbox_head.shared_fcs.0', 1024, 245)
    weights.linear('roi_head.bbox_head.shared_fcs.1', 1024, 1024)
    weights.linear('roi_head.bbox_head.fc_cls', 81, 1024)
    weights.linear('roi_head.bbox_head.fc_reg', 320, 1024)
    return weights


def expected_tensors(weights: Weights, img: Tensor, rois: Tensor) -> dict:
    """What the released detector computes, under the names of the golden file."""
    _, c4, c5 = snet(weights, img, RELEASE, 'backbone.')
    cem = weights.apply_conv('neck.C4', c4) + weights.apply_conv('neck.Cglb', c5.mean((2, 3), keepdim=True))
    cem = cem + F.interpolate(weights.apply_conv('neck.C5', c5), size=c4.shape[-2:], mode='nearest')
    x = weights.apply_conv('rpn_head.rpn_conv.0', cem, padding=2, groups=245)
    x = weights.apply_norm('rpn_head.rpn_conv.1', x).relu()
    x = weights.apply_norm('rpn_head.rpn_conv.4', weights.apply_conv('rpn_head.rpn_conv.3', x)).relu()
    sam = cem * weights.apply_norm('rpn_head.sam_convs.1', weights.apply_conv('rpn_head.sam_convs.0', x)).sigmoid()
    pooled = max_ps_roi_align(sam, rois)
    fc = weights.apply_linear('roi_head.bbox_head.shared_fcs.0', pooled.flatten(1)).relu()
    fc = weights.apply_linear('roi_head.bbox_head.shared_fcs.1', fc).relu()
    return dict(
        stage3=c4,
        stage4=c5,
        cem=cem,
        rpn_cls=weights.apply_conv('rpn_head.rpn_cls', x),
        rpn_reg=weights.apply_conv('rpn_head.rpn_reg', x),
        sam=sam,
        pooled=pooled,
        cls_score=weights.apply_linear('roi_head.bbox_head.fc_cls', fc),
        bbox_pred=weights.apply_linear('roi_head.bbox_head.fc_reg', fc),
    )


def build_released_detector(repo) -> nn.Module:
    cfg = Config.fromfile(repo / 'configs/thundernet/thundernet_snet146-release_1xb64-400e_coco.py')
    cfg.model.backbone.norm_cfg = cfg.model.rpn_head.norm_cfg = cfg.model.sam.norm_cfg = dict(type='BN')
    return MODELS.build(cfg.model).eval()


@torch.no_grad()
def computed_tensors(model: nn.Module, img: Tensor, rois: Tensor) -> dict:
    """What this project's detector computes."""
    c4, c5 = model.backbone(img)
    (cem,) = model.neck((c4, c5))
    feats = model.extract_feat(img)
    (rpn_cls,), (rpn_reg,) = model.rpn_head(feats)
    pooled = model.roi_head.bbox_roi_extractor(feats[:1], rois)
    cls_score, bbox_pred = model.roi_head.bbox_head(pooled)
    return dict(
        stage3=c4,
        stage4=c5,
        cem=cem,
        rpn_cls=rpn_cls,
        rpn_reg=rpn_reg,
        sam=feats[0],
        pooled=pooled,
        cls_score=cls_score,
        bbox_pred=bbox_pred,
    )


def converted(result: tuple, layout: str) -> dict:
    code, out, err, dst = result
    assert (code, err) == (0, '') and layout in out
    return torch.load(dst, weights_only=True)['state_dict']


@pytest.fixture(scope='module')
def detector() -> Weights:
    torch.manual_seed(0)
    return released_detector()


@pytest.fixture(scope='module')
def img() -> Tensor:
    """An image like a normalised one, with structure of several sizes."""
    y, x = torch.meshgrid(torch.linspace(-3, 3, SIZE).double(), torch.linspace(-3, 3, SIZE).double(), indexing='ij')
    return torch.stack((torch.sin(3 * x * y), torch.cos(5 * x + y), torch.sin(7 * y) * x))[None]


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_released_detector(run, repo, detector, img, prefix):
    """Every tensor on the way is that of the released network."""
    state = {prefix + key: value for key, value in detector.items()}
    state = converted(run(dict(meta=dict(epoch=80), state_dict=state, optimizer=dict(lr=0.01))), DETECTOR)
    assert len(state) == len(detector) == 366
    model = build_released_detector(repo).double()
    model.load_state_dict(state, strict=True)
    # Inside, across the border, within a cell, and points and slivers, which count as a tenth of a cell.
    rois = torch.tensor(
        [
            (0, 0, 0, 96, 96),
            (0, 10.3, 20.7, 50.1, 90.9),
            (0, -10, 60, 40, 110),
            (0, 33, 33, 39, 41),
            (0, 50, 50, 50, 50),
            (0, 8, 8, 9, 88),
        ]
    ).double()
    expected, computed = expected_tensors(detector, img, rois), computed_tensors(model, img, rois)
    for name, value in expected.items():
        assert 0.05 < value.std() < 100
        torch.testing.assert_close(computed[name], value, rtol=0, atol=1e-9, msg=name)


def test_golden_detector(run, repo, shared):
    """The golden tensors, one part after the other and each from the golden input of its part."""
    golden = torch.load(shared / 'golden/release_layout_expected.pth', weights_only=True)
    state = converted(run(torch.load(shared / 'golden/release_layout_random.pth', weights_only=True)), DETECTOR)
    model = build_released_detector(repo)
    model.load_state_dict(state, strict=True)
    computed = computed_tensors(model, golden['img'], golden['rois'])
    # The random network multiplies rounding by 40: with one thread instead of two, convolutions add up in another
    # order, and the largest values of sam, which are above 10, differ by 0.00012.
    for name in ('stage3', 'stage4', 'cem', 'rpn_cls', 'rpn_reg', 'sam', 'pooled', 'cls_score', 'bbox_pred'):
        torch.testing.assert_close(computed[name], golden[name], rtol=1e-5, atol=1e-4, msg=name)
    with torch.no_grad():
        (cem,) = model.neck((golden['stage3'], golden['stage4']))
        x = model.rpn_head.trunk(golden['cem'])
        parts = dict(
            stage3=computed['stage3'],
            stage4=computed['stage4'],
            cem=cem,
            rpn_cls=model.rpn_head.rpn_cls(x),
            rpn_reg=model.rpn_head.rpn_reg(x),
            sam=model.sam(golden['cem'], x),
            pooled=model.roi_head.bbox_roi_extractor((golden['sam'],), golden['rois']),
        )
        parts['cls_score'], parts['bbox_pred'] = model.roi_head.bbox_head(golden['pooled'])
    assert {
        name: (value - golden[name]).abs().max().item()
        for name, value in parts.items()
        if (value - golden[name]).abs().max() > 1e-4
    } == {}


def test_init_cfg_loads_every_backbone_tensor(run, repo):
    """Of the released classifier, in the released detector."""
    weights = Weights()
    add_snet(weights, '146', RELEASE)
    weights.linear('classifier.0', 1000, 528, bias=False)
    *_, dst = run(dict(state_dict=dict(weights)))
    cfg = Config.fromfile(repo / 'configs/thundernet/thundernet_snet146-release_1xb64-400e_coco.py')
    cfg.model.backbone.init_cfg.checkpoint = str(dst)
    model = MODELS.build(cfg.model)
    model.init_weights()
    loaded, file = model.backbone.state_dict(), torch.load(dst, weights_only=True)['state_dict']
    assert len(loaded) == 330 == len(file) - 2
    for key, value in loaded.items():
        assert torch.equal(value, file[f'backbone.{key}'].to(value.dtype)), key


@pytest.mark.parametrize(
    ('arch', 'names', 'prefix', 'layout'),
    [
        ('146', RELEASE, '', CLASSIFIER),
        ('146', RELEASE, 'module.', CLASSIFIER),
        ('49', OTHER, 'module.', DAYBREAK),
        ('146', OTHER, '', DAYBREAK),
        ('535', OTHER, '', DAYBREAK),
    ],
)
def test_classifiers(run, img, arch, names, prefix, layout):
    """The maps and the logits are those of the file's network, with its own shuffle."""
    weights, released = Weights(), names is RELEASE
    add_snet(weights, arch, names)
    channels = 512 if arch == '49' else WIDTHS[arch][-1]
    fc = 'classifier.0' if released else 'classifier1'
    weights.linear(fc, 10, channels, bias=not released)
    unused = {} if released else {f'cem.{name}': torch.zeros(1) for name in ('conv4.weight', 'convlast.bias')}
    result = run(dict(epoch=3, state_dict={prefix + key: value for key, value in {**weights, **unused}.items()}))
    assert f'dropped: {", ".join(unused) or "nothing"}; ' in result[1]
    assert ("backbone.shuffle='interleave'" in result[1]) != released
    state = converted(result, layout)
    backbone = SNet(arch, out_indices=(0, 1, 2), shuffle='even_odd' if released else 'interleave').double().eval()
    backbone.load_state_dict({key[len('backbone.') :]: value for key, value in state.items() if 'backbone' in key})
    expected = snet(weights, img, names, interleave=not released)
    with torch.no_grad():
        maps = backbone(img)
    assert len(maps) == len(expected) == 3
    for computed, wanted in zip(maps, expected):
        assert 0.05 < wanted.std() < 100
        torch.testing.assert_close(computed, wanted, rtol=0, atol=1e-9)
    assert {key for key in state if 'backbone' not in key} == {'head.fc.weight', 'head.fc.bias'}
    features = expected[-1].mean((2, 3))
    logits = F.linear(features, state['head.fc.weight'], state['head.fc.bias'].double())
    torch.testing.assert_close(logits, weights.apply_linear(fc, features), rtol=0, atol=1e-9)


def test_backbone_of_another_detector(run):
    weights = Weights()
    add_snet(weights, '49', OTHER, 'RCNN_base.')
    size = len(weights)
    weights.conv('RCNN_base.cem.conv4', 245, 120, bias=True)
    weights.conv('rpn.dw5_5', 245, 1, 5, bias=True)
    weights.conv('RCNN_rpn.RPN_cls_score', 50, 256, bias=True)
    weights.linear('RCNN_top.0', 1024, 245)
    weights.linear('RCNN_cls_score', 21, 1024)
    result = run(dict(session=1, epoch=60, model=dict(weights), pooling_mode='align'))
    assert 'dropped: RCNN_base.cem.conv4.weight, RCNN_base.cem.conv4.bias, rpn.dw5_5.weight' in result[1]
    state = converted(result, DAYBREAK_DETECTOR)
    assert len(state) == size and all(key.startswith('backbone.') for key in state)


def test_problems_are_listed(run, detector):
    state = dict(detector)
    del state['neck.Cglb.bias'], state['backbone.stage.1.3.branch.5.weight']
    state['rpn_head.rpn_conv.6.weight'] = torch.zeros(1)
    state['roi_head.bbox_head.fc_cls.weight'] = torch.zeros(21, 1024)
    code, _, err, dst = run(dict(state_dict=state))
    assert code == 1 and not dst.exists()
    assert '2 missing: backbone.stages.1.3.branch.2.conv.weight, neck.conv_glb.bias; ' in err
    assert '1 left over: rpn_head.rpn_conv.6.weight; ' in err
    assert '1 of another shape: roi_head.bbox_head.fc_cls.weight (21, 1024) instead of (81, 1024)' in err


def test_unknown_width(run):
    weights = Weights()
    add_snet(weights, '146', RELEASE)
    weights.linear('classifier.0', 10, 528, bias=False)
    weights['stage.0.1.branch.0.weight'] = torch.zeros(58, 58, 1, 1)
    code, _, err, dst = run(dict(state_dict=dict(weights)))
    assert code == 1 and not dst.exists()
    assert 'the first stage has 116 channels, but those of SNet have [60, 132, 248]' in err
