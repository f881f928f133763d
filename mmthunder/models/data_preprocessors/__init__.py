from .batch_choice_resize import BatchChoiceResize
from .in_place_data_preprocessor import InPlaceDetDataPreprocessor

__all__ = ['BatchChoiceResize', 'InPlaceDetDataPreprocessor']
