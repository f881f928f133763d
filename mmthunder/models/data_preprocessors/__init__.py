from .batch_sync_random_choice_resize import BatchSyncRandomChoiceResize
from .in_place_data_preprocessor import InPlaceDetDataPreprocessor

__all__ = ['BatchSyncRandomChoiceResize', 'InPlaceDetDataPreprocessor']
