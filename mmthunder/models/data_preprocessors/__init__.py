from .batch_choice_resize import BatchChoiceResize

__all__ = ['BatchChoiceResize']
