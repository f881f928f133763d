"""Converts public weights into this project's layout.

    python tools/model_converters/convert.py SRC DST

Which layout SRC has is told from its keys. Every key must be known and every tensor of this project's
network must be there in its shape; otherwise nothing is written. SRC is read with PyTorch's safe
loader, which runs no code from the file.
"""

import argparse
import os
import pickle
import re
import sys
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn


class Layout(NamedTuple):
    """A layout of weights and how it becomes this project's.

    Attributes:
        name (str): What to call it.
        has (tuple[str]): Keys by which it is recognised.
        lacks (tuple[str]): Keys of similar layouts, which it does not have.
        rename (tuple[tuple[str, str]]): Patterns of keys and their replacements, for
            :func:`re.sub`; of several that match, the first is used. Other keys keep their names.
        drop (str): Pattern of keys that this project's network has no use for.
        build (Callable): Makes that network, to compare keys and shapes with.
    """

    name: str
    has: Tuple[str, ...]
    lacks: Tuple[str, ...]
    rename: Tuple[Tuple[str, str], ...]
    drop: str
    build: Callable[[], nn.Module]


def build_detnet(depth: int) -> nn.Module:
    """Make a DetNet; late, since importing mmdet takes seconds that a refusal can do without."""
    from mmthunder.models import DetNet
    return DetNet(depth)


def build_resnet(depth: int) -> nn.Module:
    """Make mmdet's ResNet, of which DetNet takes stages 1 to 4."""
    from mmdet.models.backbones import ResNet
    return ResNet(depth)


LAYOUTS = (
    Layout(
        name='DetNet-59 of ruoqianguo/DetNet_pytorch (detnet59.pth)',
        has=('conv1.weight', 'layer4.0.extra_conv.0.weight', 'layer5.0.extra_conv.0.weight'),
        lacks=(),
        rename=((r'^(layer[45]\.0)\.extra_conv\.', r'\1.downsample.'), ),
        drop=r'fc\.(weight|bias)',
        build=lambda: build_detnet(59)),
    Layout(
        name='ResNet-50 of torchvision',
        has=('conv1.weight', 'layer1.0.conv3.weight', 'layer3.5.conv1.weight', 'layer4.0.downsample.0.weight'),
        lacks=('layer3.6.conv1.weight', 'layer5.0.conv1.weight'),
        rename=(),
        drop=r'fc\.(weight|bias)',
        build=lambda: build_resnet(50)),
    Layout(
        name='ResNet-101 of torchvision',
        has=('conv1.weight', 'layer1.0.conv3.weight', 'layer3.22.conv1.weight', 'layer4.0.downsample.0.weight'),
        lacks=('layer3.23.conv1.weight', 'layer5.0.conv1.weight'),
        rename=(),
        drop=r'fc\.(weight|bias)',
        build=lambda: build_resnet(101)),
)


class ConversionError(Exception):
    """SRC cannot be converted; the message says why in one line."""


def load(path: Path) -> Dict[str, Tensor]:
    """Read a state dict, bare or under ``state_dict``, without a ``module.`` in front of its keys.

    Args:
        path (Path): File that :func:`torch.save` wrote.

    Returns:
        dict[str, Tensor]: The tensors.

    Raises:
        ConversionError: If the file cannot be read safely or holds no state dict.
    """
    try:
        loaded = torch.load(path, map_location='cpu', weights_only=True)
    except OSError as error:
        raise ConversionError(f'{path}: {error.strerror or error}') from None
    except pickle.UnpicklingError:
        raise ConversionError(f'{path}: refused, since it is no file of PyTorch or holds objects other than tensors '
                              'and plain values, whose loading can run code') from None
    except (EOFError, RuntimeError, ValueError, KeyError):
        raise ConversionError(f'{path}: damaged, or no file of PyTorch') from None
    state = loaded.get('state_dict', loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(item, Tensor) for item in state.values()):
        raise ConversionError(f'{path}: holds no state dict, neither bare nor under "state_dict"; {known()}')
    return {re.sub(r'^module\.', '', str(key)): value for key, value in state.items()}


def known() -> str:
    """Name the layouts of the table."""
    return f'the known layouts are: {"; ".join(layout.name for layout in LAYOUTS)}'


def recognise(state: Dict[str, Tensor]) -> Layout:
    """Find the layout of a state dict.

    Raises:
        ConversionError: If it has none of the known layouts.
    """
    for layout in LAYOUTS:
        if all(key in state for key in layout.has) and not any(key in state for key in layout.lacks):
            return layout
    start = ', '.join(list(state)[:3]) or 'none'
    raise ConversionError(f'unknown layout of {len(state)} keys (the first: {start}); {known()}')


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
    target = layout.build().state_dict()
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
    # Files of before torch 0.4.1 have no such counters, which inference does not read.
    for key, value in target.items():
        if key.endswith('.num_batches_tracked'):
            renamed.setdefault(key, torch.zeros_like(value))
    problems = {
        'missing': [key for key in target if key not in renamed],
        'left over': [key for key in renamed if key not in target],
        'of another shape': [
            f'{key} {tuple(value.shape)} instead of {tuple(target[key].shape)}' for key, value in renamed.items()
            if key in target and value.shape != target[key].shape
        ]
    }
    if any(problems.values()):
        details = '; '.join(f'{len(keys)} {what}: {", ".join(keys)}' for what, keys in problems.items() if keys)
        raise ConversionError(f'has the layout {layout.name}, but does not fit: {details}')
    return {key: renamed[key].clone() for key in target}, dropped


def save(checkpoint: dict, path: Path) -> None:
    """Write a file aside and rename it, so that a failure leaves what is there.

    Args:
        checkpoint (dict): Tensors and plain values.
        path (Path): File to write; its folder is made.

    Raises:
        ConversionError: If the file cannot be written.
    """
    if path.is_dir():
        raise ConversionError(f'cannot write {path}: it is a folder; give the name of a file')
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint, partial)
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        raise ConversionError(f'cannot write {path}: {error}') from None
    finally:
        if partial.exists():
            partial.unlink()


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
        state = load(args.src)
        try:
            layout = recognise(state)
            print(f'{args.src}: {layout.name}, {len(state)} tensors')
            converted, dropped = convert(state, layout)
        except ConversionError as error:
            raise ConversionError(f'{args.src}: {error}') from None
        save(dict(meta=dict(converted_from=layout.name), state_dict=converted), args.dst)
    except ConversionError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{args.dst}: {len(converted)} tensors; dropped: {", ".join(dropped) or "nothing"}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
