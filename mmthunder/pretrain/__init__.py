"""Modules of pretraining by distillation; they need mmpretrain and register in its registries."""

from .efficientnet_lite import EfficientNetLite, build_lite0, load_lite0
from .feature_distiller import FeatureDistiller
from .teacher_views import TeacherViews

__all__ = ['EfficientNetLite', 'FeatureDistiller', 'TeacherViews', 'build_lite0', 'load_lite0']
