"""A stage of SNet without channel shuffles, with the same output."""

import copy
from typing import Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn


def _reorder(conv: nn.Conv2d, outputs: Optional[List[int]] = None, inputs: Optional[List[int]] = None) -> None:
    """Permute the output or input channels of a convolution."""
    if outputs is not None:
        conv.weight = nn.Parameter(conv.weight[outputs])
        conv.bias = nn.Parameter(conv.bias[outputs])
    if inputs is not None:
        conv.weight = nn.Parameter(conv.weight[:, inputs])


class UnshuffledStage(nn.Module):
    """Blocks of an SNet stage, with every channel computed once, read once and copied once.

    As it is written, each block of stride 1 takes every other channel, which runtimes copy one by one,
    and copies the other half to its output. But which block will read a channel is known beforehand. So
    each convolution that gives channels gives them in the order in which they are read, runs of them
    are handed to the blocks that read them, and the blocks' first convolutions expect that order.

    Args:
        stage (nn.Sequential): Blocks of the stage, the first of stride 2, with batch norms fused. It is
            copied.
    """

    def __init__(self, stage: nn.Sequential) -> None:
        super().__init__()
        self.first, *blocks = copy.deepcopy(stage)
        self.branches = nn.ModuleList(block.branch for block in blocks)
        # The producers of channels in order: the left and the right branch of the first block, then the
        # other blocks' branches. Channel c of producer p is (p, c).
        convs = [branch[-1].conv for branch in (self.first.branch_left, self.first.branch, *self.branches)]
        widths = [conv.out_channels for conv in convs]
        channels = [(p, c) for p in (0, 1) for c in range(widths[p])]
        reads: List[List[Tuple[int, int]]] = []
        for p, (block, width) in enumerate(zip(blocks, widths[2:]), 2):
            past, through = block.split(torch.arange(len(channels)).view(1, -1, 1, 1))
            reads.append([channels[i] for i in through.flatten()])
            channels = [channels[i] for i in past.flatten()] + [(p, c) for c in range(width)]
        reads.append(channels)  # by whoever reads the stage's output
        reader: Dict[Tuple[int, int], int] = {channel: r for r, group in enumerate(reads) for channel in group}

        # How many channels of each producer each reader takes.
        self.sizes: List[List[int]] = []
        arrivals: List[List[Tuple[int, int]]] = [[] for _ in reads]
        for p, (conv, width) in enumerate(zip(convs, widths)):
            order = sorted(range(width), key=lambda c: reader[p, c])
            _reorder(conv, outputs=order)
            for c in order:
                arrivals[reader[p, c]].append((p, c))
            self.sizes.append([sum(reader[p, c] == r for c in order) for r in range(len(reads))])
        for branch, group, arrival in zip(self.branches, reads, arrivals):
            _reorder(branch[0].conv, inputs=[group.index(channel) for channel in arrival])
        self.register_buffer('output_order', torch.tensor([arrivals[-1].index(channel) for channel in reads[-1]]))

    def forward(self, x: Tensor) -> Tensor:
        """Compute what the stage computes, (N, C, H, W) to (N, C', H / 2, W / 2)."""
        parts: List[List[Tensor]] = [[] for _ in self.sizes[0]]

        def hand_out(producer: int, produced: Tensor) -> None:
            sizes = self.sizes[producer]
            pieces = produced.split([size for size in sizes if size], 1)
            for reader, piece in zip([r for r, size in enumerate(sizes) if size], pieces):
                parts[reader].append(piece)

        hand_out(0, self.first.branch_left(x))
        hand_out(1, self.first.branch(x))
        for i, branch in enumerate(self.branches):
            hand_out(i + 2, branch(torch.cat(parts[i], 1)))
        return torch.cat(parts[-1], 1).index_select(1, self.output_order)
