#!/usr/bin/env bash
# Stable-Baselines3 2.9.2: optimize_memory_usage=True stores no last observation.
#
# The buffer then keeps one array of observations, in which the next one is that of the
# next row. At the end of an episode the true last observation is written there, and
# overwritten a step later by the first one of the next episode. Where the episode was
# cut by a time limit, sample() gives this reset's observation as the next one, with
# done = 1: time limits count as terminal states, as handle_timeout_termination must be
# off. The documentation says that the two can't be combined, and that memory is saved
# "at a cost of more complexity", but not that this changes what is learned from.
#
# Seen: Pendulum, which has time limits alone: at all ends but the last, the sampled
# next observation is the start of the next episode, and done is 1.
# Exits 0 while this is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-compile torch==2.13.0 gymnasium[classic-control]==1.4.0 \
    stable-baselines3==2.9.2
"$work/venv/bin/python" - <<'PYTHON'
import numpy as np
from stable_baselines3 import SAC

told = {}
for saving in (True, False):
    model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=2000, seed=0, device="cpu",
                buffer_size=1000, optimize_memory_usage=saving,
                replay_buffer_kwargs={"handle_timeout_termination": not saving})
    model.learn(650)
    buffer = model.replay_buffer
    ends = np.array([199, 399, 599])  # Pendulum is cut after 200 steps
    batch = buffer._get_samples(ends)
    starts = buffer.observations[ends + 1, 0]
    told[saving] = (np.array_equal(batch.next_observations, starts),
                    batch.dones.ravel().tolist())
    print(f"optimize_memory_usage={saving}: the next observation at a time limit is "
          f"that of the reset: {told[saving][0]}; done: {told[saving][1]}")
assert told[True] == (True, [1, 1, 1])
assert told[False] == (False, [0, 0, 0])
PYTHON
