"""mmengine's runner for machines without a GPU, with readable data errors."""

import copy
from typing import Any, Dict, Optional, Union

import torch
import torch.distributed as torch_dist
from mmengine.config import ConfigDict
from mmengine.dist import is_distributed
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from .dataset_check import check_classes


def _data_root(dataset_cfg: Any) -> Optional[str]:
    """Find ``data_root`` in a data set's config, through its wrappers."""
    while isinstance(dataset_cfg, dict) and 'data_root' not in dataset_cfg:
        dataset_cfg = dataset_cfg.get('dataset') or (dataset_cfg.get('datasets') or [None])[0]
    return dataset_cfg['data_root'] if isinstance(dataset_cfg, dict) else None


@RUNNERS.register_module()
class ThunderRunner(Runner):
    """Runner with three additions.

    - ``--launcher pytorch`` works on CPU: mmengine 0.10 calls ``torch.cuda.set_device`` whatever the
      backend, so the gloo group is made here, before mmengine looks. Set
      ``model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)`` as well.
    - Synchronised batch norm, which torch has for accelerators only, is plain batch norm over each
      process's own images on CPU; a warning says so.
    - Missing data and class lists that do not match the annotations are one clear error.
    """

    def setup_env(self, env_cfg: Dict) -> None:
        """Set up the environment, with gloo between CPU processes."""
        if self.launcher == 'pytorch' and not torch.cuda.is_available() and not is_distributed():
            torch_dist.init_process_group('gloo')
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: Optional[Dict], model: nn.Module) -> nn.Module:
        """Wrap the model, with plain batch norm on CPU."""
        if self.distributed and not torch.cuda.is_available():
            self.logger.warning('SyncBN needs a GPU; on CPU each process normalises its own images (plain BN)')
            model = revert_sync_batchnorm(model)
        return super().wrap_model(model_wrapper_cfg, model)

    @staticmethod
    def build_dataloader(dataloader: Union[DataLoader, Dict],
                         seed: Optional[int] = None,
                         diff_rank_seed: bool = False) -> DataLoader:
        """Build a data loader.

        Raises:
            FileNotFoundError: If an annotation file is missing, with how to point elsewhere.
            ValueError: If the class list does not match the annotations.
        """
        cfg = copy.deepcopy(dataloader) if isinstance(dataloader, (dict, ConfigDict)) else None
        try:
            loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        except FileNotFoundError as error:
            root = _data_root(cfg.get('dataset')) if cfg else None
            raise FileNotFoundError(
                f'{error.filename or error}: no such annotation file; put or link the data set at {root!r}, or point '
                'elsewhere with data_root in the config or --cfg-options train_dataloader.dataset.data_root=/path/ '
                '(likewise val_dataloader, test_dataloader and the evaluators\' ann_file)') from None
        check_classes(loader.dataset)
        return loader
