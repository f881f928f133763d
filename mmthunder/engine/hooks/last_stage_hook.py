"""Changes the training for its last iterations."""

from typing import List, Optional

from mmcv.transforms import Compose
from mmdet.registry import HOOKS
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from .left_out_images_hook import LeftOutImagesHook


@HOOKS.register_module()
class LastStageHook(Hook):
    """What mmdet's ``PipelineSwitchHook`` and ``YOLOXModeSwitchHook`` do, for training that counts iterations.

    Both of mmdet's act at the start of an epoch, which an iteration-based training has only one of.

    Args:
        begin (int): The iterations before the last stage.
        pipeline (list[dict], optional): Transforms of the last stage; None keeps those that there are. Defaults to
            None.
    """

    def __init__(self, begin: int, pipeline: Optional[List[dict]] = None) -> None:
        self.begin = begin
        self.pipeline = pipeline
        self.has_begun = False

    def before_train(self, runner: Runner) -> None:
        """Begin the last stage where a training resumes in it."""
        if runner.iter >= self.begin:
            self._start(runner)

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Begin the last stage after the iterations before it."""
        if not self.has_begun and runner.iter + 1 >= self.begin:
            self._start(runner)

    def _start(self, runner: Runner) -> None:
        """Switch the pipeline, and add YOLOX's L1 loss."""
        self.has_begun = True
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if hasattr(model.bbox_head, 'use_l1'):
            model.bbox_head.use_l1 = True
        if self.pipeline is not None:
            loader = runner.train_dataloader
            loader.dataset.pipeline = Compose(self.pipeline)
            for hook in runner.hooks:
                if isinstance(hook, LeftOutImagesHook):  # replaces the loader, which acts at the start of an epoch too
                    hook.before_train_epoch(runner)
            if isinstance(loader.sampler, InfiniteSampler):  # whose indices end with the iterator that is replaced
                loader.sampler.indices = loader.sampler._indices_of_rank()
            loader._iterator = None  # of persistent workers, which have the former pipeline
            iterator = runner.train_loop.dataloader_iterator
            iterator._iterator = iter(loader)
        runner.logger.info(f'The last stage of the training begins after {runner.iter + 1} iterations')
