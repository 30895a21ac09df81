#!/usr/bin/env bash
# Gymnasium-Robotics 1.4.2 with MuJoCo 4.0.0, which `pip install gymnasium-robotics` brings
# (it asks for mujoco>=2.2.0): gym.make("FetchReach-v4") raises an AssertionError without
# words. With mujoco==3.3.0, all else the same, the environment is made.
#
# Seen (Python 3.11, Linux): a comparison that has two answers since MuJoCo 4. The robot's
# joints are found by `joint_type in (mjtJoint.mjJNT_HINGE, mjtJoint.mjJNT_SLIDE)`, where
# joint_type is a numpy int of MjModel.jnt_type:
#   mujoco 3.3.0: number == member True,  member == number True,  FetchReach-v4 made
#   mujoco 4.0.0: number == member True,  member == number False, FetchReach-v4 AssertionError
#
# Exits 0 as long as this is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/see.py" <<'PYTHON'
import gymnasium as gym
import gymnasium_robotics
import mujoco

gym.register_envs(gymnasium_robotics)
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><body><joint type='hinge'/><geom size='1'/></body></worldbody></mujoco>")
number, member = model.jnt_type[0], mujoco.mjtJoint.mjJNT_HINGE
try:
    gym.make("FetchReach-v4")
    made = "made"
except AssertionError as error:
    made = f"AssertionError{error}"
print(mujoco.__version__, "|", bool(number == member), bool(member == number), "|", made)
PYTHON
for version in 3.3.0 4.0.0; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install -q gymnasium-robotics==1.4.2 gymnasium==1.4.0 \
        mujoco==$version numpy==2.4.6 2> /dev/null
    "$work/$version/bin/python" -W ignore "$work/see.py" 2> /dev/null | tee -a "$work/seen"
done
diff "$work/seen" - <<'SEEN'
3.3.0 | True True | made
4.0.0 | True False | AssertionError
SEEN
