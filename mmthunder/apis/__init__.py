"""For programs: planning a config for a dataset, loading detectors, detecting in images, comparing what is found."""

from mmthunder.planning import Parts, Plan, PlanningError, plan_config

from .agreement import Agreement
from .image_pipeline import ImagePipeline, find_datasets, read_image
from .load import detect, limit_detections, load_detector, nms_type, use_greedy_nms
from .outcomes import Outcomes, find_outcomes
from .sample_images import load_sample_images

__all__ = [
    'Agreement',
    'ImagePipeline',
    'Outcomes',
    'Parts',
    'Plan',
    'PlanningError',
    'detect',
    'find_datasets',
    'find_outcomes',
    'load_detector',
    'load_sample_images',
    'nms_type',
    'read_image',
    'plan_config',
    'limit_detections',
    'use_greedy_nms',
]
