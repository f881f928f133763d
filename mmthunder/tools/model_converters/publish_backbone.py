"""Writes the backbone of a checkpoint as a file for init_cfg, named after its SHA-256.

    python tools/model_converters/publish_backbone.py work_dirs/pretraining/iter_1000.pth weights/snet49_distilled

The file, here weights/snet49_distilled-XXXXXXXX.pth, has tensors only and loads with weights_only=True.
"""

import argparse
import hashlib
import io
from pathlib import Path
from typing import List, Optional

import torch
from mmengine.runner.checkpoint import CheckpointLoader

from mmthunder.engine.runner.checkpoint import CheckpointError, safe_loading
from mmthunder.utils.atomic_write import atomic_write

PREFIX = 'backbone.'


def main(argv: Optional[List[str]] = None) -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='of a classifier, a detector or a pretraining')
    parser.add_argument('output', help='file to write, without the hash and .pth')
    args = parser.parse_args(argv)
    try:
        with safe_loading():
            checkpoint = CheckpointLoader.load_checkpoint(args.checkpoint, map_location='cpu')
    except (OSError, CheckpointError) as error:
        parser.error(str(error))
    state = checkpoint.get('state_dict', {})
    # Copies, since a view would be saved with all of its storage.
    backbone = {key[len(PREFIX) :]: value.clone() for key, value in state.items() if key.startswith(PREFIX)}
    if not backbone:
        parser.error(f'{args.checkpoint}: no tensor of its state_dict starts with {PREFIX!r}; it has {list(state)[:3]}')
    content = io.BytesIO()
    torch.save(dict(state_dict=backbone), content)
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    path = Path(f'{args.output}-{digest[:8]}.pth')
    atomic_write(path, content.getvalue())
    print(f'{path}: {len(backbone)} tensors, {len(content.getvalue()) / 1e6:.1f} MB, SHA-256 {digest}')


if __name__ == '__main__':
    main()
