# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How nodes of losses, transforms and the like are made."""

import numpy as np

from builder import FLOAT, INT64
from samplers import axes_of, ints, sampler


@sampler("CenterCropPad")
def center_crop_pad(b, op):
    x = b.pick(min_rank=1)
    axes = axes_of(b, x.rank)
    b.add(op, [x, ints(*(b.random.randint(1, 6) for _ in axes))], axes=axes)


@sampler("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
def loss(b, op):
    x = b.fresh((b.size(1, 3), 4, b.size(1, 3)))
    target = b.fresh((x.shape[0], x.shape[2]), INT64, 0, 4)
    b.add(op, [x, target, b.fresh((4,), FLOAT, 1, 2) if b.chance(0.5) else None],
          ignore_index=1 if b.chance(0.3) else None, reduction=b.random.choice(["none", "sum"]))


@sampler("DFT")
def fourier(b, op):
    x = b.fresh((2, b.size(1, 6), 3, b.random.randint(1, 2)))
    b.add(op, [x, None, np.array(b.random.randint(0, 2), np.int64)], inverse=b.random.randint(0, 1))


@sampler("Det")
def determinant(b, op):
    n = b.random.randint(1, 4)
    b.add(op, [b.fresh((b.size(1, 3), n, n))])
