#!/usr/bin/env bash
# tianshou 2.0.1: every seed draws the same minibatches from the replay buffer.
#
# ReplayBuffer draws by a random state of its own, seeded with 42 where its argument
# random_seed is not given. Seeding random, numpy and torch does not reach it: five runs
# with five seeds draw one and the same sequence of rows, so that what they differ by
# tells less than it seems. The remedy is ReplayBuffer(..., random_seed=seed).
#
# Seen: the same five rows after random, numpy and torch were seeded with 0, 1 and 2.
# Exits 0 while this is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-compile torch==2.13.0 tianshou==2.0.1
"$work/venv/bin/python" - <<'PYTHON'
import random

import numpy as np
import torch
from tianshou.data import Batch, ReplayBuffer, VectorReplayBuffer


def drawn(seed, kind, **options):
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
    buffer = kind(100, **options)
    for row in range(100):
        step = Batch(obs=row, act=0, rew=0.0, terminated=False, truncated=False,
                     done=False, obs_next=row + 1, info={})
        if kind is VectorReplayBuffer:
            buffer.add(Batch.stack([step]), buffer_ids=[0])
        else:
            buffer.add(step)
    return buffer.sample(5)[0].obs.tolist()


plain = [drawn(seed, ReplayBuffer) for seed in range(3)]
print("ReplayBuffer(100), seeds 0, 1, 2:", plain)
assert plain[0] == plain[1] == plain[2]
own = [drawn(0, ReplayBuffer, random_seed=seed) for seed in range(3)]
print("random_seed=0, 1, 2:", own)
assert own[0] != own[1] != own[2]
vector = [drawn(seed, VectorReplayBuffer, buffer_num=1) for seed in range(3)]
print("VectorReplayBuffer, seeds 0, 1, 2:", vector)
assert vector[0] == vector[1] == vector[2]
PYTHON
