"""Checkpoints that a killed training can always resume from."""

import os.path as osp
from typing import Optional, Sequence

from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmthunder.utils.atomic_write import atomic_write, remove_partial

from .. import fileio  # noqa: F401  registers the backend 'atomic'
from ..metric_keys import metric_keys
from ..work_dir import file_name


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's hook for trainings that may be killed, or run out of disk space, at any moment.

    mmengine removes the oldest checkpoint, writes the new one and then overwrites ``last_checkpoint``, which
    names it for ``--resume``; each file is incomplete for a while. Here each file is complete or not there
    (:class:`AtomicBackend`), and the order is: write, name, remove. So ``last_checkpoint`` names a complete
    checkpoint from the first one on. Checkpoints in other storages than local directories are written by the
    storage's own backend.

    The previous best checkpoint (``save_best``), too, is removed after the new one is written; if the process is
    killed in between, both stay. As in mmengine, a validation that is killed is not repeated on resuming; ``mim test``
    gives its result.

    ``save_best='auto'`` is the AP of all classes where the evaluator has one, and a key that no metric has is refused
    before the first iteration. mmengine takes the first key of the first results, which can be the AP of one class, and
    fails after the first validation.

    A work directory can be moved or copied: a resumed training removes and replaces checkpoints of its own directory
    only, whatever paths the checkpoint has recorded.

    Takes the arguments of :class:`~mmengine.hooks.CheckpointHook`.
    """

    @classmethod
    def from_hook(cls, hook: CheckpointHook) -> 'AtomicCheckpointHook':
        """Return a hook with the settings and the priority of one of mmengine's."""
        atomic = cls.__new__(cls)
        vars(atomic).update(vars(hook))
        return atomic

    def before_train(self, runner: Runner) -> None:
        """Choose the backend, remove incomplete files of a killed process and find the recorded checkpoints.

        Raises:
            ValueError: If ``save_best`` is a key that no metric of the validation has.
        """
        super().before_train(runner)
        if self.save_best and runner.val_loop is not None:
            self._check_save_best(runner.val_loop.evaluator.metrics)
        self._find_recorded(runner)
        if type(self.file_backend) is LocalBackend:
            self.backend_args = dict(backend='atomic')
            if is_main_process():
                remove_partial(self.out_dir)
                remove_partial(runner.work_dir)

    def _check_save_best(self, metrics: Sequence[BaseMetric]) -> None:
        """Resolve ``'auto'`` and refuse keys that no metric has."""
        keys = [metric_keys(metric) for metric in metrics]
        if self.key_indicators == ['auto']:
            first = next((names for names in keys if names != []), None)
            if first is not None:
                self._init_rule(self.rules, first[:1])
            return  # of unknown metrics, mmengine takes the first key of the first results
        known = [name for names in keys if names is not None for name in names]
        unknown = [metric for metric, names in zip(metrics, keys) if names is None]
        prefixes = tuple(f'{metric.prefix}/' if metric.prefix else '' for metric in unknown)
        for key in self.key_indicators:
            if key not in known and not key.startswith(prefixes):
                overall = [name for name in known if not name.endswith('_precision')]
                expected = ', '.join([*overall, *(f'{prefix}*' for prefix in prefixes)])
                raise ValueError(
                    f'default_hooks.checkpoint.save_best={key!r}: no metric of val_evaluator has this key; expected '
                    f"one of {expected}, or 'auto'"
                )

    def _find_recorded(self, runner: Runner) -> None:
        """Replace recorded paths by those of the same files in this run's directory, or forget them."""
        hub = runner.message_hub
        for key in [key for key in hub.runtime_info if key == 'last_ckpt' or key.startswith('best_ckpt')]:
            recorded = hub.pop_info(key)
            path = self.file_backend.join_path(self.out_dir, file_name(recorded))
            if self.file_backend.exists(path):
                hub.update_info(key, path)
        if self.save_best and len(self.key_indicators) == 1:
            self.best_ckpt_path = hub.get_info('best_ckpt')
        elif self.save_best:
            self.best_ckpt_path_dict = {key: hub.get_info(f'best_ckpt_{key}') for key in self.key_indicators}

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save a checkpoint, name it as the last one and remove those that are too many."""
        if self.max_keep_ckpts > 0:
            ids = list(dict.fromkeys([*self.keep_ckpt_ids, step]))
            outdated = ids[: -self.max_keep_ckpts]
            # With the outdated ones: if a kill lets them stay, mmengine removes them on resuming.
            runner.message_hub.update_info('keep_ckpt_ids', ids)
            self.keep_ckpt_ids.extend(ids)  # holds the last ``max_keep_ckpts``
        else:
            outdated = []
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            atomic_write(osp.join(runner.work_dir, 'last_checkpoint'), self.last_ckpt.encode())
            for old_step in outdated:
                self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old_step)))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Save a checkpoint that is the best one so far, and remove the previous best one."""
        if not self.save_best:
            return
        # mmengine removes the files that it finds named here before it writes new ones.
        if len(self.key_indicators) == 1:
            previous, self.best_ckpt_path = self.best_ckpt_path, None
            super()._save_best_checkpoint(runner, metrics)
            self.best_ckpt_path = self._replace(previous, self.best_ckpt_path)
        else:
            paths, self.best_ckpt_path_dict = self.best_ckpt_path_dict, dict.fromkeys(self.best_ckpt_path_dict)
            super()._save_best_checkpoint(runner, metrics)
            for key, path in paths.items():
                self.best_ckpt_path_dict[key] = self._replace(path, self.best_ckpt_path_dict[key])

    def _replace(self, old: Optional[str], new: Optional[str]) -> Optional[str]:
        """Remove the previous best checkpoint if there is a new one, and return the one that stays."""
        if new and old and new != old and is_main_process():
            self._remove(old)
        return new or old

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # a sharded checkpoint, as DeepSpeed writes
            self.file_backend.rmtree(path)
