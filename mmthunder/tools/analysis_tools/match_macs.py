"""Find the backbone width at which a config costs as many multiply-adds as another.

    python tools/analysis_tools/match_macs.py configs/thundernet/ablations/thundernet_snet146-dw3_4xb16-375k_coco.py \
        --like configs/thundernet/snet146_coco.py

The backbones are counted as classifiers of 1000 classes at 224 px. Backbones with a ``widen_factor`` are
searched in steps of 0.01. For all others, stage_channels are searched in SNet's proportion, 1 : 2 : 4: every
even width of the last stage, with the even widths nearest to a half and a quarter of it. The stem and Conv5
keep their widths. The nearest width is printed first, then its neighbours.
"""

import argparse
import logging
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import pandas as pd
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

from mmthunder.tools.analysis_tools.complexity import classifier_macs


def backbone_macs(backbone: ConfigDict) -> int:
    """Count the multiply-adds of a backbone's config."""
    return classifier_macs(MODELS.build({**backbone, 'norm_cfg': dict(type='BN')}))


def widths(backbone: ConfigDict) -> List[dict]:
    """List the widths to try, in ascending order, as arguments of the backbone."""
    if 'widen_factor' in backbone:
        return [dict(widen_factor=i / 100) for i in range(25, 201)]
    # (w + 2) // 4 * 2 is the even number nearest to w / 2, the larger one of two.
    return [dict(stage_channels=((w + 4) // 8 * 2, (w + 2) // 4 * 2, w)) for w in range(200, 1602, 2)]


def search(backbone: ConfigDict, target: int, candidates: Sequence[dict]) -> List[Tuple[dict, int]]:
    """Find the candidate nearest to a number of multiply-adds by bisection.

    Args:
        backbone (ConfigDict): Config of the backbone.
        target (int): Multiply-adds.
        candidates (Sequence[dict]): Arguments of the backbone in ascending order of their multiply-adds.

    Returns:
        list[tuple[dict, int]]: The nearest candidate and its multiply-adds, then its neighbours.
    """
    counts = {}

    def count(index: int) -> int:
        if index not in counts:
            counts[index] = backbone_macs({**backbone, **candidates[index]})
        return counts[index]

    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        if count(middle) < target:
            low = middle + 1
        else:
            high = middle
    near = [index for index in (low - 1, low, low + 1) if 0 <= index < len(candidates)]
    return [(candidates[index], count(index)) for index in sorted(near, key=lambda index: abs(count(index) - target))]


def main(args: Optional[List[str]] = None) -> None:
    """Parse the command line and print the widths."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('configs', nargs='+', help='configs whose backbones are to change their width')
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument('--like', help='config whose backbone has the multiply-adds to meet')
    target.add_argument('--mmacs', type=float, help='multiply-adds to meet, in millions')
    options = parser.parse_args(args)
    logging.disable(logging.WARNING)
    init_default_scope('mmdet')

    def backbone_of(config: str) -> ConfigDict:
        cfg = Config.fromfile(config)  # imports what the config names
        return cfg.model.backbone

    try:
        macs = backbone_macs(backbone_of(options.like)) if options.like else round(options.mmacs * 1e6)
        backbones = {config: backbone_of(config) for config in options.configs}
    except (OSError, ValueError) as error:
        parser.error(str(error))
    rows = []
    for config, backbone in backbones.items():
        for width, count in search(backbone, macs, widths(backbone)):
            text = ', '.join(f'{name}={value}' for name, value in width.items())
            rows.append([Path(config).stem, text, f'{count / 1e6:.1f}', f'{count / macs - 1:+.2%}'])
    table = pd.DataFrame(rows, columns=['config', 'backbone', 'MMACs', 'difference'])
    print(f'to meet: {macs / 1e6:.1f} MMACs\n\n{table.to_markdown(index=False, disable_numparse=True)}')


if __name__ == '__main__':
    main()
