#!/usr/bin/env bash
# POPGym 1.0.7: its CartPoles mean to give -1 for a fall and 1/200 for every other step: they
# take Gymnasium's reward, and turn a 0 into -1. But Gymnasium's CartPole-v1 (1.4.0) gives 1
# for the falling step too, so that the -1 never comes: falling costs only what is not lived.
#
# Seen (Python 3.11, Linux), pushing to the right until the pole falls, with PositionOnly and
# NoisyPositionOnly:
#   popgym-PositionOnlyCartPoleEasy-v0 terminated True rewards [0.005]
#   popgym-NoisyPositionOnlyCartPoleEasy-v0 terminated True rewards [0.005]
#
# Exits 0 as long as this is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q popgym==1.0.7 gymnasium==1.4.0 numpy==2.4.6 2> /dev/null
cat > "$work/see.py" <<'PYTHON'
import inspect

import gymnasium as gym
import popgym  # noqa: F401

for name in ("popgym-PositionOnlyCartPoleEasy-v0", "popgym-NoisyPositionOnlyCartPoleEasy-v0"):
    env = gym.make(name)
    assert "-1.0" in inspect.getsource(type(env.unwrapped).reward_transform)  # what is meant
    rewards, terminated, truncated = set(), False, False
    env.reset(seed=0)
    while not (terminated or truncated):
        _, reward, terminated, truncated, _ = env.step(1)
        rewards.add(float(reward))
    print(name, "terminated", terminated, "rewards", sorted(rewards))
PYTHON
"$work/venv/bin/python" -W ignore "$work/see.py" 2> /dev/null | tee "$work/seen"
diff "$work/seen" - <<'SEEN'
popgym-PositionOnlyCartPoleEasy-v0 terminated True rewards [0.005]
popgym-NoisyPositionOnlyCartPoleEasy-v0 terminated True rewards [0.005]
SEEN
