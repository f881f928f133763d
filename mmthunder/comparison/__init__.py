from .comparison_error import ComparisonError
from .peers import PEERS, Peer, peer_config, planned_config

__all__ = ['PEERS', 'ComparisonError', 'Peer', 'peer_config', 'planned_config']
