#!/usr/bin/env bash
# Meta-World 3.1.1: Meta-World/MT1 shows the goal in the last three numbers of every
# observation, but its observation_space says that these are always 0 (low = high = 0), as if
# the goal were hidden. Whatever rescales observations by the bounds of the space divides by
# 0 there, and whatever clips to them (or samples the space) loses the goal.
#
# Seen (Python 3.11, Linux) for reach-v3:
#   bounds of the goal: [0. 0. 0.] [0. 0. 0.]
#   goal in the observation is the task's own: True | observation in its space: False
#
# Exits 0 as long as this is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q metaworld==3.1.1 mujoco==3.3.0 gymnasium==1.4.0 packaging 2> /dev/null
cat > "$work/see.py" <<'PYTHON'
import gymnasium as gym
import metaworld
import numpy as np

env = gym.make("Meta-World/MT1", env_name="reach-v3", seed=1)
obs, _ = env.reset()
space = env.observation_space
print("bounds of the goal:", space.low[-3:], space.high[-3:])
goal = np.allclose(obs[-3:], env.unwrapped._target_pos) and np.abs(obs[-3:]).max() > 0.1
print("goal in the observation is the task's own:", goal, "| observation in its space:",
      space.contains(obs))
PYTHON
MUJOCO_GL=disabled "$work/venv/bin/python" -W ignore "$work/see.py" 2> /dev/null | tee "$work/seen"
diff "$work/seen" - <<'SEEN'
bounds of the goal: [0. 0. 0.] [0. 0. 0.]
goal in the observation is the task's own: True | observation in its space: False
SEEN
