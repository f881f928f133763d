"""mmengine's runner with checks, atomic checkpoints, exact resuming and support of CPU training."""

import functools
from typing import Dict, List, Optional, Union

import torch.distributed as torch_dist
from mmdet.engine.hooks import NumClassCheckHook
from mmdet.models.detectors import BaseDetector
from mmengine.device import get_device
from mmengine.dist import is_distributed
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import MODEL_WRAPPERS, OPTIM_WRAPPERS, RUNNERS
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import DataLoader

# Registers the models, even if a user's config replaces the custom_imports of this project's.
import mmthunder.models  # noqa: F401

from ..hooks import (
    AtomicCheckpointHook,
    DatasetMetaHook,
    DivergenceHook,
    RNGStateHook,
    StrictCheckpointHook,
    WeightsOnlyCheckpointHook,
)
from ..hooks.rng_state_hook import seed_worker
from ..optimizers import CPUAmpOptimWrapper
from ..work_dir import latest_checkpoint
from .checkpoint import safe_loading
from .dataset_check import build_dataloader
from .disk_errors import explain_disk_errors
from .evaluator_check import prepare_evaluator


@RUNNERS.register_module()
class ThunderRunner(Runner):
    """mmengine's runner, hardened. Configs choose it with ``runner_type = 'mmthunder.engine.ThunderRunner'``.

    The additions do not depend on lists and dicts that a user's config may replace, such as ``custom_hooks``.

    - Hooks: :class:`StrictCheckpointHook`, :class:`DatasetMetaHook`, :class:`RNGStateHook`,
      :class:`WeightsOnlyCheckpointHook`, :class:`DivergenceHook` and, for detectors, mmdet's ``NumClassCheckHook`` are
      registered unless the config has them; mmengine's ``CheckpointHook`` is replaced by
      :class:`AtomicCheckpointHook` of the same arguments.
    - Checkpoints are loaded with :func:`safe_loading`.
    - Before data loaders are built, the datasets are checked: annotations, class lists, images and evaluators; see
      :func:`build_dataloader` and :func:`prepare_evaluator`. mmdet's ``CocoMetric`` is replaced by
      :class:`~mmthunder.evaluation.ThunderCocoMetric`.
    - A full disk and a work directory that cannot be written are one clear error.
    - On CPU, ``--launcher pytorch`` works: mmengine 0.10 calls ``torch.cuda.set_device`` whatever the backend, so the
      gloo group is initialised before. Synchronised batch norm, which torch has for accelerators only, is reverted to
      batch norm over each process's own images, with a warning.
    - On CPU, ``AmpOptimWrapper`` (``--amp``) is :class:`CPUAmpOptimWrapper`.

    Takes the arguments of :class:`~mmengine.runner.Runner`.
    """

    def __init__(self, model: Union[nn.Module, Dict], work_dir: str, *args, **kwargs) -> None:
        with explain_disk_errors(work_dir):
            super().__init__(model, work_dir, *args, **kwargs)

    def train(self) -> nn.Module:
        """Train.

        Returns:
            nn.Module: The model.

        Raises:
            OSError: If the disk is full or the work directory cannot be written, with what to do.
        """
        with explain_disk_errors(self.work_dir):
            return super().train()

    def val(self) -> Dict[str, float]:
        """Validate; returns the metrics and raises as :meth:`train` does."""
        with explain_disk_errors(self.work_dir):
            return super().val()

    def test(self) -> Dict[str, float]:
        """Test; returns the metrics and raises as :meth:`train` does."""
        with explain_disk_errors(self.work_dir):
            return super().test()

    def setup_env(self, env_cfg: Dict) -> None:
        """Set up the environment, with gloo between CPU processes.

        Raises:
            ValueError: If the start method of data workers does not exist.
        """
        method = (env_cfg.get('mp_cfg') or {}).get('mp_start_method', 'fork')
        methods = ('fork', 'spawn', 'forkserver')  # Windows has 'spawn' alone, which mmengine then uses for each
        if method not in methods:
            raise ValueError(f'env_cfg.mp_cfg.mp_start_method={method!r}: expected one of {methods}')
        if self.launcher == 'pytorch' and get_device() == 'cpu' and not is_distributed():
            torch_dist.init_process_group('gloo')
        super().setup_env(env_cfg)

    def register_hooks(
        self,
        default_hooks: Optional[Dict[str, Union[Hook, Dict]]] = None,
        custom_hooks: Optional[List[Union[Hook, Dict]]] = None,
    ) -> None:
        """Register the hooks of the config and those of this runner that the config does not have."""
        super().register_hooks(default_hooks, custom_hooks)
        # Of exactly this type: a subclass is the user's own choice.
        self._hooks = [
            AtomicCheckpointHook.from_hook(hook) if type(hook) is CheckpointHook else hook for hook in self._hooks
        ]
        hook_types = [StrictCheckpointHook, DatasetMetaHook, RNGStateHook, DivergenceHook, WeightsOnlyCheckpointHook]
        if isinstance(self.model.module if is_model_wrapper(self.model) else self.model, BaseDetector):
            hook_types.append(NumClassCheckHook)
        for hook_type in hook_types:
            if not any(isinstance(hook, hook_type) for hook in self._hooks):
                self.register_hook(hook_type())

    def build_optim_wrapper(self, optim_wrapper: Union[Optimizer, OptimWrapper, Dict]) -> OptimWrapper:
        """Build the optimizer wrapper; on CPU, AmpOptimWrapper is :class:`CPUAmpOptimWrapper`."""
        if isinstance(optim_wrapper, dict) and 'type' in optim_wrapper and get_device() == 'cpu':
            wrapper_type = optim_wrapper['type']
            if isinstance(wrapper_type, str):
                with OPTIM_WRAPPERS.switch_scope_and_registry(optim_wrapper.get('_scope_')) as registry:
                    wrapper_type = registry.get(wrapper_type)
            if wrapper_type is AmpOptimWrapper:
                optim_wrapper = optim_wrapper.copy()
                optim_wrapper['type'] = CPUAmpOptimWrapper
        return super().build_optim_wrapper(optim_wrapper)

    def _init_model_weights(self) -> None:
        """Initialise the weights, with :func:`safe_loading` of pretrained ones."""
        with safe_loading():
            super()._init_model_weights()

    def load_or_resume(self) -> None:
        """Load or resume; with ``--resume`` alone, from the latest checkpoint in the work directory."""
        if self._resume and self._load_from is None and not self._has_loaded:
            self._load_from = latest_checkpoint(self.work_dir)
            if self._load_from is not None:
                self.logger.info(f'Auto resumed from the latest checkpoint {self._load_from}.')
        super().load_or_resume()

    def load_checkpoint(self, filename: str, *args, **kwargs) -> dict:
        """Load a checkpoint into the model, with :func:`safe_loading`.

        Args:
            filename (str): Path or URL.
            args: Further arguments of :meth:`mmengine.runner.Runner.load_checkpoint`.
            kwargs: Further arguments of :meth:`mmengine.runner.Runner.load_checkpoint`.

        Returns:
            dict: The checkpoint.

        Raises:
            CheckpointError: If the file contains other objects than tensors and plain values, or is damaged.
        """
        with safe_loading():
            checkpoint = super().load_checkpoint(filename, *args, **kwargs)
        if isinstance(checkpoint.get('meta'), dict):
            # Runner.resume executes this text as a config, to look for gpu_ids, which mmengine never writes.
            checkpoint['meta'].pop('config', None)
        return checkpoint

    def wrap_model(self, model_wrapper_cfg: Optional[Dict], model: nn.Module) -> nn.Module:
        """Wrap the model; on CPU with plain batch norm and without a device, which mmengine would name."""
        if self.distributed and get_device() == 'cpu':
            # Of torch or of mmcv.
            found = any(type(module).__name__ == 'SyncBatchNorm' for module in model.modules())
            if self.cfg.pop('sync_bn', None) or found:
                self.logger.warning('SyncBN needs a GPU; on CPU each process normalises its own images (plain BN)')
                model = revert_sync_batchnorm(model)
            if model_wrapper_cfg is None:
                model_wrapper_cfg = dict(
                    broadcast_buffers=False, find_unused_parameters=self.cfg.get('find_unused_parameters', False)
                )
            wrapper = model_wrapper_cfg.get('type', 'MMDistributedDataParallel')
            wrapper = MODEL_WRAPPERS.get(wrapper) if isinstance(wrapper, str) else wrapper
            if issubclass(wrapper, DistributedDataParallel):
                model_wrapper_cfg = dict(model_wrapper_cfg, device_ids=None)
        return super().wrap_model(model_wrapper_cfg, model)

    def build_train_loop(self, loop: Union[BaseLoop, Dict]) -> BaseLoop:
        """Build the training loop; data workers use :func:`seed_worker` unless the config has a ``worker_init_fn``."""
        loader = self._train_dataloader
        # Persistent workers live as long as the training, so that mmengine's own function is right for them.
        if isinstance(loader, dict) and not loader.get('persistent_workers'):
            loader.setdefault('worker_init_fn', dict(type=seed_worker))
        return super().build_train_loop(loop)

    def build_val_loop(self, loop: Union[BaseLoop, Dict]) -> BaseLoop:
        """Build the validation loop; raises as :func:`~.evaluator_check.prepare_evaluator` does."""
        self._val_evaluator = prepare_evaluator(self, 'val')
        return super().build_val_loop(loop)

    def build_test_loop(self, loop: Union[BaseLoop, Dict]) -> BaseLoop:
        """Build the test loop; raises as :func:`~.evaluator_check.prepare_evaluator` does."""
        self._test_evaluator = prepare_evaluator(self, 'test')
        return super().build_test_loop(loop)

    def build_dataloader(
        self, dataloader: Union[DataLoader, Dict], seed: Optional[int] = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a data loader; raises as :func:`~.dataset_check.build_dataloader` does."""
        build = functools.partial(super().build_dataloader, seed=seed, diff_rank_seed=diff_rank_seed)
        return build_dataloader(self, dataloader, build)
