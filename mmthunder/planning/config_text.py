"""Writes a plan as a config of mmdet."""

import textwrap
from pathlib import Path
from typing import List

from .backbones import BACKBONES
from .layouts import Part
from .plan import Plan

WIDTH = 120  # characters


def _path(path: Path, plan: Plan) -> str:
    """Return a path as an expression: below the data set's root, beside the config, or absolute."""
    path, root, here = path.resolve(), plan.layout.root.resolve(), plan.output.parent.resolve()
    if path == root or root in path.parents:
        return f'data_root + {path.relative_to(root).as_posix()!r}' if path != root else 'data_root'
    if here in path.parents:
        return repr(f'{{{{ fileDirname }}}}/{path.relative_to(here).as_posix()}')
    return repr(path.as_posix())


def _wrap(code: str, indent: int) -> str:
    """Break a long line between its words."""
    return textwrap.fill(code, WIDTH, subsequent_indent=' ' * indent, break_long_words=False, break_on_hyphens=False)


def _setting(name: str, value: str, comment: str = '') -> List[str]:
    """Return the lines of an assignment, with its comment at the end or, if it is too long, above."""
    code = f'{name} = {value}'
    if comment and len(code) + len(comment) + 4 <= WIDTH:
        return [f'{code}  # {comment}']
    lines = [f'# {comment}'] if comment else []
    if len(code) <= WIDTH:
        return [*lines, code]
    return [*lines, _wrap(code, 4)]


def _train_pipeline(plan: Plan) -> List[str]:
    flips = plan.value('flips')
    steps = [
        "dict(type='LoadImageFromFile')",
        "dict(type='LoadAnnotations', with_bbox=True)",
        "dict(type='Resize', scale=input_size, keep_ratio=False)",
    ]
    if plan.value('scaling'):
        steps.append(
            "dict(type='RandomAffine', scaling_ratio_range=scaling, max_translate_ratio=0.1, max_rotate_degree=0,\n"
            '         max_shear_degree=0, border_val=(114, 114, 114))'
        )
    # Some annotated boxes have no area.
    steps.append("dict(type='FilterAnnotations', min_gt_bbox_wh=(2, 2), keep_empty=False)")
    if flips:
        share = 0.5 if len(flips) == 1 else round(1 / (len(flips) + 1), 3)
        steps.append(f"dict(type='RandomFlip', prob={[share] * len(flips)}, direction=flips)")
    if plan.value('distortion'):
        steps.append("dict(type='PhotoMetricDistortion', **distortion)")
    steps.append("dict(type='PackDetInputs')")
    return ['train_pipeline = [', *(f'    {step},' for step in steps), ']']


def _test_pipeline(plan: Plan) -> List[str]:
    keys = "'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'"
    if plan.layout.format == 'voc':  # CocoMetric reads the annotations from there
        keys += ", 'instances'"
    steps = [
        "dict(type='LoadImageFromFile')",
        "dict(type='Resize', scale=input_size, keep_ratio=False)",
        "dict(type='LoadAnnotations', with_bbox=True)",
        f"dict(type='PackDetInputs', meta_keys=({keys}))",
    ]
    return ['test_pipeline = [', *(f'    {step},' for step in steps), ']']


def _model(plan: Plan) -> List[str]:
    backbone, stride = BACKBONES[plan.value('backbone')], plan.value('stride')
    settings = _wrap(f'    backbone={backbone.settings(stride)}', indent=8)
    channels = list(backbone.levels[stride][1])
    weight = ', loss_cls=dict(class_weight=class_weight)' if plan.value('class_weight') else ''
    return f"""\
model = dict(
{settings},
    neck=dict(in_channels={channels}),
    rpn_head=dict(anchor_generator=dict(base_sizes=[anchors], strides=[stride])),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=[stride]),
        bbox_head=dict(num_classes={len(plan.classes)}{weight}),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=nms_pre, max_per_img=proposals)),
    test_cfg=dict(rpn=dict(nms_pre=nms_pre, max_per_img=proposals), rcnn=dict(max_per_img=max_per_img)),
)""".split('\n')


def _files(part: Part, plan: Plan) -> str:
    """Return the arguments of a dataset that name its files."""
    annotations = f'ann_file={_path(part.annotations, plan)}'
    if plan.layout.format == 'voc':
        return f"dict(type='XMLDataset', {annotations}, data_prefix=dict(sub_data_root=data_root))"
    return f'dict({annotations}, data_prefix=dict(img={_path(part.images, plan)}))'


def _loaders(plan: Plan) -> List[str]:
    evaluators = ["val_evaluator = dict(ann_file=val_files['ann_file'])", 'test_evaluator = val_evaluator']
    return [
        *_setting('train_files', _files(plan.layout.train, plan)),
        *_setting('val_files', _files(plan.layout.val, plan)),
        'train_dataloader = dict(',
        '    batch_size=batch_size,',
        '    num_workers=num_workers,',
        *([] if plan.value('num_workers') else ['    persistent_workers=False,']),
        '    dataset=dict(metainfo=metainfo, pipeline=train_pipeline, **train_files),',
        ')',
        'val_dataloader = dict(dataset=dict(metainfo=metainfo, pipeline=test_pipeline, **val_files))',
        'test_dataloader = val_dataloader',
        *([] if plan.layout.format == 'voc' else evaluators),
    ]


SCHEDULE = """\
train_cfg = dict(max_iters=max_iters, val_interval=val_interval)
optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup, end=max_iters),
]
default_hooks = dict(checkpoint=dict(interval=val_interval))"""


def config_text(plan: Plan, command: str) -> str:
    """Write a plan as a config.

    Args:
        plan (Plan): The plan, complete.
        command (str): What it was planned with, for the header.

    Returns:
        str: The config, of at most 80 lines.
    """
    root = plan.layout.root.as_posix().rstrip('/') + '/'
    numbers = plan.fingerprint
    lines = [
        f'# ThunderNet for {root}: {numbers.num_train} images to train, {numbers.num_val} to validate, '
        f'{len(plan.classes)} classes.',
        f'# Planned with: {command}',
        f'# Train with: mim train mmdet {plan.output.as_posix()}',
        "_base_ = __import__('mmthunder').config_path('_base_/planned.py')",
        '',
        f'data_root = {root!r}',
        *_setting('metainfo', f'dict(classes={plan.classes!r})'),
        '',
    ]
    for name, decision in plan.decisions.items():
        value = decision.value
        if isinstance(value, dict):
            value = 'dict(' + ', '.join(f'{key}={each!r}' for key, each in value.items()) + ')'
        lines += _setting(name, value if isinstance(decision.value, dict) else repr(value), decision.reason)
    lines += [
        '',
        *_train_pipeline(plan),
        *_test_pipeline(plan),
        *_loaders(plan),
        *_model(plan),
        *SCHEDULE.split('\n'),
        f'randomness = dict(seed={plan.seed})',
    ]
    return '\n'.join(lines) + '\n'
