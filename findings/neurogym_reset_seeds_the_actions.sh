#!/usr/bin/env bash
# NeuroGym 2.3.1: every reset() calls self.action_space.seed(0) (and then takes a step of its
# own, with a sampled action, before it gives the first observation). So a random policy of
# env.action_space.sample() takes the same actions in every episode, whatever seed reset()
# was given and however the action space was seeded: "five random episodes" are one.
# (torch is installed below since `import neurogym` needs it and neurogym does not ask for it.)
#
# Seen (Python 3.11, Linux), twelve samples after each of three resets, the space seeded anew:
#   PerceptualDecisionMaking-v0: different action sequences after 3 resets: 1
#   CartPole-v1, for comparison: different action sequences after 3 resets: 3
#
# Exits 0 as long as this is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q neurogym==2.3.1 gymnasium==0.29.1 numpy==2.2.6 \
    torch==2.13.0 2> /dev/null
cat > "$work/see.py" <<'PYTHON'
import gymnasium as gym
import neurogym  # noqa: F401

for name in ("PerceptualDecisionMaking-v0", "CartPole-v1"):
    env, sequences = gym.make(name), set()
    for seed in (11, 12, 13):
        env.action_space.seed(seed)
        env.reset(seed=seed)
        sequences.add(tuple(int(env.action_space.sample()) for _ in range(12)))
    print(f"seen: {name}: different action sequences after 3 resets: {len(sequences)}")
PYTHON
"$work/venv/bin/python" -W ignore "$work/see.py" 2> /dev/null | grep '^seen' | tee "$work/seen"
diff "$work/seen" - <<'SEEN'
seen: PerceptualDecisionMaking-v0: different action sequences after 3 resets: 1
seen: CartPole-v1: different action sequences after 3 resets: 3
SEEN
