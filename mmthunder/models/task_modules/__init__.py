from .any_box_coder import AnyBoxCoder

__all__ = ['AnyBoxCoder']
