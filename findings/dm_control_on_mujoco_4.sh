#!/usr/bin/env bash
# dm_control 1.0.50 asks for mujoco>=3.17.0, so that `pip install dm-control` brings MuJoCo
# 4.0.0 today, and pip finds nothing wrong with the pair. No task of the suite loads:
#   AttributeError: 'MjModel' object has no attribute 'flex_vertedge'
# (dm_control looks up fields by names of its own list, and MuJoCo 4 dropped that one.)
# With mujoco==3.17.0, all else the same, cartpole-balance loads.
#
# Seen: Python 3.11, Linux. Exits 0 as long as this is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MUJOCO_GL=disabled
cat > "$work/see.py" <<'PYTHON'
import mujoco
from dm_control import suite

try:
    suite.load("cartpole", "balance").reset()
    print(mujoco.__version__, "| loads")
except AttributeError as error:
    print(mujoco.__version__, "|", str(error).split(".")[0])
PYTHON
for version in 3.17.0 4.0.0; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install -q dm-control==1.0.50 mujoco==$version 2> /dev/null
    "$work/$version/bin/pip" check > /dev/null  # no broken requirements, says pip
    "$work/$version/bin/python" -W ignore "$work/see.py" 2> /dev/null | tee -a "$work/seen"
done
diff "$work/seen" - <<'SEEN'
3.17.0 | loads
4.0.0 | 'MjModel' object has no attribute 'flex_vertedge'
SEEN
