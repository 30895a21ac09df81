#!/usr/bin/env bash
# d3rlpy 2.8.1: an episode of one step, written step by step, is glued to the next one.
#
# ReplayBuffer.append and clip_episode are how d3rlpy collects. clip_episode does
# nothing while the running episode has a single step, terminated or not, so that this
# step stays and becomes the first of the next episode: rows of two episodes stand in
# one, and the next observation of the first is the start of the second. Without a word.
#
# Seen: five episodes of 1, 3, 1, 2 and 2 steps come back as three of 4, 3 and 2.
# Exits 0 while this is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-compile torch==2.13.0 d3rlpy==2.8.1
"$work/venv/bin/python" - <<'PYTHON' 2> /dev/null
import gymnasium as gym
import numpy as np
from d3rlpy.dataset import create_infinite_replay_buffer

buffer = create_infinite_replay_buffer(env=gym.make("CartPole-v1"))
episodes = [(1, True), (3, True), (1, False), (2, True), (2, True)]
for number, (steps, terminated) in enumerate(episodes):
    for step in range(steps):
        buffer.append(np.full(4, 10 * number + step, np.float32), 0, 1.0)
    buffer.clip_episode(terminated)
sizes = [episode.size() for episode in buffer.episodes]
firsts = [episode.observations[:2, 0].tolist() for episode in buffer.episodes]
print("steps written:", [steps for steps, _ in episodes])
print("steps kept:   ", sizes)
print("the first two observations of each:", firsts)
assert sizes == [4, 3, 2], sizes
assert firsts == [[0, 10], [20, 30], [40, 41]], firsts
PYTHON
