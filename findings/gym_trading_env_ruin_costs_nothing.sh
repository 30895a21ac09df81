#!/usr/bin/env bash
# gym-trading-env 0.3.5: the reward is the logarithm of what the portfolio grew by, so that
# losing half of it costs 0.69. But the step that loses all of it, and ends the episode as
# terminated, is given reward 0.0: the reward function is not asked where the portfolio is at
# or below 0. Of two bad ends the worse is the cheaper one, and an agent can learn to seek it.
#
# Seen (Python 3.11, Linux), ten times the portfolio held in one asset, whose price falls:
#   price -5 % : worth 500, of 1000; reward -0.69, terminated False
#   price -20 %: worth below 0, reward 0.00, terminated True
#
# Exits 0 as long as this is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q gym-trading-env==0.3.5 gymnasium==1.4.0 2> /dev/null
cat > "$work/see.py" <<'PYTHON'
import gymnasium as gym
import gym_trading_env  # noqa: F401
import pandas as pd

for fall in (5, 20):
    close = [100.0, 100.0, 100.0 - fall, 100.0 - fall, 100.0 - fall]
    df = pd.DataFrame({x: close for x in ("open", "high", "low", "close")},
                      index=pd.date_range("2024-01-01", periods=5, freq="D"))
    df["feature_close"] = df["close"]
    env = gym.make("TradingEnv", df=df, positions=[10], initial_position=10, verbose=0,
                   portfolio_initial_value=1000)
    env.reset(seed=0)
    env.step(0)  # the price stands still
    _, reward, terminated, _, info = env.step(0)
    worth = info["portfolio_valuation"]
    print(f"seen: price -{fall} %: worth {round(worth) if worth > 0 else 'below 0'}, "
          f"reward {reward:.2f}, terminated {terminated}")
PYTHON
"$work/venv/bin/python" -W ignore "$work/see.py" 2> /dev/null | grep '^seen' | tee "$work/seen"
diff "$work/seen" - <<'SEEN'
seen: price -5 %: worth 500, reward -0.69, terminated False
seen: price -20 %: worth below 0, reward 0.00, terminated True
SEEN
