"""Convert public weights to this project's layout, and checkpoints of mmengine to tensors and plain values.

    python tools/model_converters/convert.py SRC DST

The layout of SRC is recognised by its keys. Every key must be known, and every tensor of this project's network must be
there in its shape; otherwise nothing is written. A checkpoint that mmengine's own CheckpointHook wrote, of any model,
keeps its keys, its training state and its meta, so that a training can be resumed from the result.

SRC is read with PyTorch's weights-only loader, which executes no code of the file; objects other than tensors and plain
values, such as those of a logger, are left out.
"""

import argparse
import io
import pickle
import pickletools
import re
import sys
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from mmthunder import config_path
from mmthunder.utils.atomic_write import atomic_write


class Layout(NamedTuple):
    """A layout of weights and how it becomes this project's.

    Attributes:
        name (str): Name of the layout.
        has (tuple[str]): Keys by which it is recognised.
        lacks (tuple[str]): Keys of similar layouts, which it does not have.
        rename (tuple[tuple[str, str]]): Patterns of keys and their replacements, for
            :func:`re.sub`; of several that match, the first is used. Other keys keep their names.
        drop (str): Pattern of keys that this project's network does not have.
        build (Callable): Builds that network from the state dict, to compare keys and shapes.
        zeros (str): Pattern of that network's keys that are set to 0 if the layout lacks them. Files written before
            torch 0.4.1 have no ``num_batches_tracked``, which inference does not use.
        use (str): How to use the result.
    """

    name: str
    has: Tuple[str, ...]
    lacks: Tuple[str, ...]
    rename: Tuple[Tuple[str, str], ...]
    drop: str
    build: Callable[[Dict[str, Tensor]], nn.Module]
    zeros: str = r'.*\.num_batches_tracked'
    use: str = "load it with init_cfg=dict(type='Pretrained', checkpoint=...)"


def snet_rename(prefix: str, stem: str, stages: Sequence[str], branch: str, left: str) -> Tuple[Tuple[str, str], ...]:
    """Return how the keys of an SNet are renamed to those of `backbone`.

    There, convolutions, normalisations and activations of a branch are numbered consecutively; here, convolutions and
    normalisations are grouped in pairs.

    Args:
        prefix (str): Prefix of the keys.
        stem (str): Name of the first convolution.
        stages (Sequence[str]): Names of the three stages.
        branch (str): Name of a block's main branch.
        left (str): Name of the other branch of a block of stride 2.

    Returns:
        tuple[tuple[str, str]]: Patterns and replacements, as :attr:`Layout.rename` has them.
    """
    pairs = {0: '0.conv', 1: '0.bn'}
    main = {**pairs, 3: '1.conv', 4: '1.bn', 5: '2.conv', 6: '2.bn'}
    side = {**pairs, 2: '1.conv', 3: '1.bn'}
    names = [(rf'{stem}\.{old}', f'stem.{new}') for old, new in pairs.items()]
    names += [(r'conv5\.0', 'conv5.conv'), (r'conv5\.1', 'conv5.bn')]
    for i, stage in enumerate(stages):
        names += [(rf'{stage}\.(\d+)\.{branch}\.{old}', rf'stages.{i}.\1.branch.{new}') for old, new in main.items()]
        names += [(rf'{stage}\.(\d+)\.{left}\.{old}', rf'stages.{i}.\1.branch_left.{new}') for old, new in side.items()]
    return tuple((rf'^{prefix}{old}\.', f'backbone.{new}.') for old, new in names)


# The functions below import mmdet lazily, since that takes seconds, which an error does not need.
def build_detnet(depth: int) -> nn.Module:
    """Build a DetNet."""
    from mmthunder.models import DetNet

    return DetNet(depth)


def build_resnet(depth: int) -> nn.Module:
    """Build mmdet's ResNet, whose stages 1 to 4 DetNet can be initialised with."""
    from mmdet.models.backbones import ResNet

    return ResNet(depth)


def build_snet(state: Dict[str, Tensor], block: str, fc: Optional[str] = None) -> nn.Module:
    """Build an SNet with the parameter names of mmpretrain's classifiers and of the detectors.

    Args:
        state (dict[str, Tensor]): The weights.
        block (str): Key of the first convolution of a block of stride 1 in the first stage, whose width
            identifies the variant.
        fc (str, optional): Key of the classifier. Defaults to None, for no classifier.

    Returns:
        nn.Module: ``backbone`` and, if there is a classifier, ``head.fc``.

    Raises:
        ConversionError: If no variant has this width.
    """
    from mmthunder.models import SNet

    width = 2 * len(state[block])
    archs = {stages[0]: arch for arch, (_, stages, _) in SNet.arch_settings.items()}
    if width not in archs:
        raise ConversionError(f'{block}: the first stage has {width} channels, but those of SNet have {list(archs)}')
    _, stages, conv5 = SNet.arch_settings[archs[width]]
    model = nn.ModuleDict(dict(backbone=SNet(archs[width])))
    if fc:
        model['head'] = nn.ModuleDict(dict(fc=nn.Linear(conv5 or stages[-1], len(state[fc]))))
    return model


def build_detector(config: str) -> nn.Module:
    """Make the detector of one of this project's configs."""
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    cfg = Config.fromfile(config_path(config))
    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model)


RELEASE = dict(stem='first_conv', stages=(r'stage\.0', r'stage\.1', r'stage\.2'), branch='branch', left='branch_left')
DAYBREAK = dict(stem='conv1', stages=('stage1', 'stage2', 'stage3'), branch='branch_main', left='branch_proj')
USE_BACKBONE = "load it with backbone.init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')"
# The same weights compute something else with the other shuffle.
USE_DAYBREAK = f"{USE_BACKBONE} and backbone.shuffle='interleave'"

LAYOUTS = (
    Layout(
        name='ThunderNet of qinzheng93/ThunderNet (epoch_80.pth)',
        has=('backbone.first_conv.0.weight', 'neck.Cglb.weight', 'rpn_head.sam_convs.0.weight'),
        lacks=(),
        rename=(
            *snet_rename(r'backbone\.', **RELEASE),
            (r'^neck\.C4\.', 'neck.conv_c4.'),
            (r'^neck\.C5\.', 'neck.conv_c5.'),
            (r'^neck\.Cglb\.', 'neck.conv_glb.'),
            (r'^rpn_head\.rpn_conv\.0\.', 'rpn_head.trunk.0.conv.'),
            (r'^rpn_head\.rpn_conv\.1\.', 'rpn_head.trunk.0.bn.'),
            (r'^rpn_head\.rpn_conv\.3\.', 'rpn_head.trunk.1.conv.'),
            (r'^rpn_head\.rpn_conv\.4\.', 'rpn_head.trunk.1.bn.'),
            (r'^rpn_head\.sam_convs\.0\.', 'sam.theta.conv.'),
            (r'^rpn_head\.sam_convs\.1\.', 'sam.theta.bn.'),
        ),
        drop='',
        build=lambda state: build_detector('thundernet/thundernet_snet146-release_1xb64-400e_coco.py'),
        use='use it with configs/thundernet/thundernet_snet146-release_1xb64-400e_coco.py',
    ),
    Layout(
        name='SNet classifier of qinzheng93/ThunderNet (snet146-300000.pth.tar)',
        has=('first_conv.0.weight', 'stage.0.1.branch.0.weight', 'classifier.0.weight'),
        lacks=(),
        rename=(*snet_rename('', **RELEASE), (r'^classifier\.0\.', 'head.fc.')),
        drop='',
        build=lambda state: build_snet(state, 'stage.0.1.branch.0.weight', 'classifier.0.weight'),
        zeros=r'.*\.num_batches_tracked|head\.fc\.bias',  # its fc has no bias
        use=f'{USE_BACKBONE}, or test it with configs/pretrain/snet146-release_8xb64-300k_in1k.py',
    ),
    Layout(
        name='SNet classifier of DayBreak-u/Snet',
        has=('conv1.0.weight', 'stage1.1.branch_main.0.weight', 'classifier1.weight'),
        lacks=(),
        rename=(*snet_rename('', **DAYBREAK), (r'^classifier1\.', 'head.fc.')),
        drop=r'cem\..*',  # which its classifier has but does not use
        build=lambda state: build_snet(state, 'stage1.1.branch_main.0.weight', 'classifier1.weight'),
        use=USE_DAYBREAK,
    ),
    Layout(
        name='ThunderNet of DayBreak-u/Thundernet_Pytorch, of which the backbone alone fits',
        has=('RCNN_base.conv1.0.weight', 'RCNN_base.stage1.1.branch_main.0.weight', 'RCNN_cls_score.weight'),
        lacks=(),
        rename=snet_rename(r'RCNN_base\.', **DAYBREAK),
        # Other activations, normalisations and outputs than here.
        drop=r'(RCNN_base\.cem|rpn|sam|RCNN_rpn|RCNN_top|RCNN_cls_score|RCNN_bbox_pred)\..*',
        build=lambda state: build_snet(state, 'RCNN_base.stage1.1.branch_main.0.weight'),
        use=USE_DAYBREAK,
    ),
    Layout(
        name='DetNet-59 of ruoqianguo/DetNet_pytorch (detnet59.pth)',
        has=('conv1.weight', 'layer4.0.extra_conv.0.weight', 'layer5.0.extra_conv.0.weight'),
        lacks=(),
        rename=((r'^(layer[45]\.0)\.extra_conv\.', r'\1.downsample.'),),
        drop=r'fc\.(weight|bias)',
        build=lambda state: build_detnet(59),
    ),
    Layout(
        name='ResNet-50 of torchvision',
        has=('conv1.weight', 'layer1.0.conv3.weight', 'layer3.5.conv1.weight', 'layer4.0.downsample.0.weight'),
        lacks=('layer3.6.conv1.weight', 'layer5.0.conv1.weight'),
        rename=(),
        drop=r'fc\.(weight|bias)',
        build=lambda state: build_resnet(50),
    ),
    Layout(
        name='ResNet-101 of torchvision',
        has=('conv1.weight', 'layer1.0.conv3.weight', 'layer3.22.conv1.weight', 'layer4.0.downsample.0.weight'),
        lacks=('layer3.23.conv1.weight', 'layer5.0.conv1.weight'),
        rename=(),
        drop=r'fc\.(weight|bias)',
        build=lambda state: build_resnet(101),
    ),
)


class ConversionError(Exception):
    """SRC cannot be converted; the message says why in one line."""


class Placeholder:
    """Stands for an object that is neither a tensor nor a plain value; it keeps nothing."""

    def __init__(self, *args) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def named_objects(path: Path) -> List[str]:
    """List the classes and functions in a file that are not of tensors, without loading it."""
    if zipfile.is_zipfile(path):
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    names = set()
    with open(path, 'rb') as file:
        # Before torch 1.6 a file was a sequence of pickles: a magic number, a version, a system, the content.
        for _ in range(4):
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == 'GLOBAL':
                    # Written with Python 2's names, which the loader translates.
                    module, name = argument.split(' ')
                    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
                    names.add(f'{module}.{name}')
    return sorted(name for name in names if not name.startswith(('torch.', 'collections.OrderedDict')))


def numpy_scalars() -> Dict[str, Callable]:
    """Return the functions that rebuild NumPy scalars, by name; mmengine stores some, such as the best score."""
    scalar = np.float64(0).__reduce__()[0]
    names = ('numpy.core.multiarray.scalar', 'numpy._core.multiarray.scalar')  # of NumPy 1 and 2
    return {**dict.fromkeys(names, scalar), 'numpy.dtype': np.dtype}


def load_safely(path: Path) -> Tuple[Any, List[str]]:
    """Read a file of :func:`torch.save` with PyTorch's weights-only loader.

    Args:
        path (Path): The file.

    Returns:
        tuple[Any, list[str]]: The content of the file, with a :class:`Placeholder` for each object that is neither a
        tensor nor a plain value, and the names of the classes and functions in the file that are not of tensors.
    """
    try:
        return torch.load(path, map_location='cpu', weights_only=True), []
    except pickle.UnpicklingError:
        names, known = named_objects(path), numpy_scalars()
        # To the loader these are the classes of those names: it neither imports nor calls anything else.
        classes = [(known.get(name) or type('Placeholder', (Placeholder,), {}), name) for name in names]
        dtypes = [type(np.dtype(code)) for code in '?bhilqBHILQefd']
        with torch.serialization.safe_globals(classes + dtypes):
            return torch.load(path, map_location='cpu', weights_only=True), names


def load(path: Path) -> Tuple[Any, Dict[str, Tensor], List[str]]:
    """Read a checkpoint.

    Args:
        path (Path): File that :func:`torch.save` wrote.

    Returns:
        tuple[Any, dict[str, Tensor], list[str]]: The content of the file; its state dict, which is the content itself
        or under ``state_dict`` or ``model``, without the prefix ``module.`` of its keys; and the names that
        :func:`load_safely` returns.

    Raises:
        ConversionError: If the file cannot be read safely or holds no state dict.
    """
    try:
        loaded, names = load_safely(path)
    except OSError as error:
        raise ConversionError(f'{path}: {error.strerror or error}') from None
    except pickle.UnpicklingError:
        raise ConversionError(
            f'{path}: refused, since it is no file of PyTorch or holds objects other than tensors '
            'and plain values, whose loading can run code'
        ) from None
    except Exception:  # what a damaged file raises depends on where the damage is
        raise ConversionError(f'{path}: damaged, or no file of PyTorch') from None
    state = loaded
    for key in ('state_dict', 'model'):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            state = loaded[key]
            break
    if not isinstance(state, dict) or not all(isinstance(item, Tensor) for item in state.values()):
        raise ConversionError(f'{path}: holds no state dict, neither bare nor under "state_dict" or "model"; {known()}')
    return loaded, {re.sub(r'^module\.', '', str(key)): value for key, value in state.items()}, names


def known() -> str:
    """Name the layouts of the table."""
    return f'the known layouts are: {"; ".join(layout.name for layout in LAYOUTS)}; and checkpoints of mmengine'


def recognise(state: Dict[str, Tensor]) -> Optional[Layout]:
    """Find the layout of a state dict; None if it has none of the known ones."""
    for layout in LAYOUTS:
        if all(key in state for key in layout.has) and not any(key in state for key in layout.lacks):
            return layout
    return None


def is_mmengine(checkpoint: Any) -> bool:
    """Whether a file's content is a checkpoint that mmengine wrote."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    return isinstance(meta, dict) and 'mmengine_version' in meta and 'state_dict' in checkpoint


def is_plain(value: Any) -> bool:
    """Whether a value is a tensor, a builtin or a scalar of NumPy."""
    builtins = (str, bytes, bool, int, float, dict, list, tuple, set, type(None))
    return isinstance(value, (Tensor, np.generic, *builtins))


def to_plain(value: Any) -> Any:
    """Convert a checkpoint to tensors and builtins; other objects are left out of its dicts, lists and tuples."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items() if is_plain(item)}
    if type(value) in (list, tuple):
        return type(value)(to_plain(item) for item in value if is_plain(item))
    return value.item() if isinstance(value, np.generic) else value


def convert(state: Dict[str, Tensor], layout: Layout) -> Tuple[Dict[str, Tensor], List[str]]:
    """Bring a state dict into this project's layout.

    Args:
        state (dict[str, Tensor]): What :func:`load` returns.
        layout (Layout): Its layout.

    Returns:
        tuple[dict[str, Tensor], list[str]]: The state dict in the order of this project's network, and
        the keys that were dropped.

    Raises:
        ConversionError: If a key is missing or left over or a tensor has another shape; all are listed.
    """
    target = layout.build(state).state_dict()
    dropped, renamed = [], {}
    for key, value in state.items():
        if re.fullmatch(layout.drop, key):
            dropped.append(key)
            continue
        new_key = key
        for pattern, replacement in layout.rename:
            if re.search(pattern, key):
                new_key = re.sub(pattern, replacement, key)
                break
        if new_key in renamed:
            raise ConversionError(f'has the layout {layout.name}, but two keys become {new_key}')
        renamed[new_key] = value
    for key, value in target.items():
        if re.fullmatch(layout.zeros, key):
            renamed.setdefault(key, torch.zeros_like(value))
    problems = {
        'missing': [key for key in target if key not in renamed],
        'left over': [key for key in renamed if key not in target],
        'of another shape': [
            f'{key} {tuple(value.shape)} instead of {tuple(target[key].shape)}'
            for key, value in renamed.items()
            if key in target and value.shape != target[key].shape
        ],
    }
    if any(problems.values()):
        details = '; '.join(f'{len(keys)} {what}: {", ".join(keys)}' for what, keys in problems.items() if keys)
        raise ConversionError(f'has the layout {layout.name}, but does not fit: {details}')
    return {key: renamed[key].clone() for key in target}, dropped


def save(checkpoint: dict, path: Path) -> None:
    """Write a checkpoint; an existing file is replaced when the new one is complete.

    Args:
        checkpoint (dict): Tensors and plain values.
        path (Path): File to write; its directory is created if needed.

    Raises:
        ConversionError: If the file cannot be written.
    """
    if path.is_dir():
        raise ConversionError(f'cannot write {path}: it is a directory; give the name of a file')
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    try:
        atomic_write(path, buffer.getvalue())
    except OSError as error:
        raise ConversionError(f'cannot write {path}: {error.strerror}') from None


def main(argv: Optional[List[str]] = None) -> int:
    """Parse the command line and convert.

    Args:
        argv (list[str], optional): Arguments. Defaults to those of the command line.

    Returns:
        int: Exit code; 1 if the file was refused, with one line on standard error.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', metavar='SRC', type=Path, help='weights to convert')
    parser.add_argument('dst', metavar='DST', type=Path, help='file to write')
    args = parser.parse_args(argv)
    try:
        loaded, state, names = load(args.src)
        layout = recognise(state)
        if layout is None and not is_mmengine(loaded):
            start = ', '.join(list(state)[:3]) or 'none'
            raise ConversionError(f'{args.src}: unknown layout of {len(state)} keys (the first: {start}); {known()}')
        if layout is None and not names:
            raise ConversionError(f'{args.src}: a checkpoint of tensors and plain values; use it as it is')
        print(f'{args.src}: {layout.name if layout else "checkpoint of mmengine"}, {len(state)} tensors')
        ignored = [name for name in names if name not in numpy_scalars()]
        if ignored:
            print(f'{args.src}: objects left out, whose loading could run code: {", ".join(ignored)}')
        if layout:
            try:
                converted, dropped = convert(state, layout)
            except ConversionError as error:
                raise ConversionError(f'{args.src}: {error}') from None
            save(dict(meta=dict(converted_from=layout.name), state_dict=converted), args.dst)
            result = f'{len(converted)} tensors; dropped: {", ".join(dropped) or "nothing"}; {layout.use}'
        else:
            save(to_plain(loaded), args.dst)
            result = f'{len(state)} tensors and the training state; test it, or resume from it'
    except ConversionError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{args.dst}: {result}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
