#!/usr/bin/env bash
# bsuite 0.3.6: where mountain_car runs out of its 1,000 steps, the last TimeStep has discount
# 0.0, which in dm_env says "a terminal state" (dm_env.termination); for a limit from outside
# dm_env has truncation, discount 1.0. So shimmy 2.0.1, which reads the discount rightly,
# tells Gymnasium terminated=True, truncated=False, though the car is nowhere near its goal.
#
# Seen (Python 3.11, Linux), with the engine off for a whole episode:
#   bsuite: steps 1000, discount 0.0, short of the goal True (it is at 0.5)
#   shimmy: steps 1000, terminated True, truncated False
#
# Exits 0 as long as this is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q bsuite==0.3.6 shimmy==2.0.1 gymnasium==1.4.0 packaging 2> /dev/null
cat > "$work/see.py" <<'PYTHON'
import bsuite
import gymnasium as gym
import shimmy

own, steps = bsuite.load_from_id("mountain_car/0"), 0
step = own.reset()
while not step.last():
    step, steps = own.step(1), steps + 1  # 1: no push
print(f"bsuite: steps {steps}, discount {step.discount}, short of the goal {bool(step.observation[0, 0] < 0.5)}")

gym.register_envs(shimmy)
env, steps, terminated, truncated = gym.make("bsuite/mountain_car-v0"), 0, False, False
env.reset(seed=0)
while not (terminated or truncated):
    _, _, terminated, truncated, _ = env.step(1)
    steps += 1
print(f"shimmy: steps {steps}, terminated {terminated}, truncated {truncated}")
PYTHON
"$work/venv/bin/python" -W ignore "$work/see.py" 2> /dev/null |
    grep -E "^(bsuite|shimmy):" | tee "$work/seen"
diff "$work/seen" - <<'SEEN'
bsuite: steps 1000, discount 0.0, short of the goal True
shimmy: steps 1000, terminated True, truncated False
SEEN
