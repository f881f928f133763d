from .amp_optim_wrapper import CPUAmpOptimWrapper, amp_optim_wrapper

__all__ = ['CPUAmpOptimWrapper', 'amp_optim_wrapper']
