"""One run of a peer; `python book/benchmarks.py peers` calls it in an environment of its own.

    python book/peers.py '{"env": ..., "diary": ..., "episodes": ..., "every": ..., "method": ...,
                          "settings": "default" or "best", "seed": ..., "steps": ...}'

The last line that it prints is a JSON object: return, seconds, updates. imitation 1.0.1 has BC,
SQIL and GAIL; DQN and SAC are Stable-Baselines3's own, at the widths and batch of iq.py's
defaults: their loop over the true reward is a measure of speed.
"""
import json
import sys
import tempfile
import time

import gymnasium
import numpy as np
import stable_baselines3
import torch
from imitation.algorithms.adversarial.gail import GAIL
from imitation.algorithms.bc import BC
from imitation.algorithms.sqil import SQIL
from imitation.data.types import Transitions
from imitation.rewards.reward_nets import BasicRewardNet
from imitation.util.networks import RunningNorm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

FRESH = 10**6  # evaluation begins from starts that no diary and no training has seen
WIDE = {"policy_kwargs": {"net_arch": [128, 128]}}  # iq.py's own networks


def diary(job, space):
    """The rows of an .npz, taken and thinned as iq.Demos.take and subsample do it."""
    data = np.load(job["diary"])
    ids = data["episode_ids"]
    first = np.flatnonzero(np.diff(ids, prepend=-1))
    number = np.cumsum(np.diff(ids, prepend=-1) != 0) - 1
    kept = (number < job["episodes"]) & ((np.arange(len(ids)) - first[number]) % job["every"] == 0)
    acts = data["actions"][kept]
    if job["method"] == "SQIL" and job["settings"] == "best" and acts.ndim > 1:
        acts = 2 * (acts - space.low) / (space.high - space.low) - 1  # its replay holds them so
    return Transitions(obs=data["observations"][kept], acts=acts,
                       next_obs=data["next_observations"][kept], dones=data["terminations"][kept],
                       infos=np.array([{}] * int(kept.sum())))


def learned(job, demos, venv):
    """A policy, and how many updates it took (of a discriminator's generator, for GAIL)."""
    seed, steps, best = job["seed"], job["steps"], job["settings"] == "best"
    rng, counted = np.random.default_rng(seed), demos.acts.ndim == 1
    off = {"seed": seed, "learning_starts": 100, "train_freq": 1, "gradient_steps": 1}
    if job["method"] == "BC":
        own = {"batch_size": min(64 if best else 32, len(demos)), "l2_weight": 1e-4 * best}
        trainer = BC(observation_space=venv.observation_space, action_space=venv.action_space,
                     rng=rng, demonstrations=demos, **own)
        trainer.train(n_batches=steps, progress_bar=False)
        return trainer.policy, steps
    if job["method"] == "SQIL":
        own = {"seed": seed} | (off | WIDE | {"batch_size": 128, "learning_rate": 1e-3} if best else {})
        kind = stable_baselines3.DQN if counted else stable_baselines3.SAC
        trainer = SQIL(venv=venv, demonstrations=demos, policy="MlpPolicy", rl_algo_class=kind,
                       rl_kwargs=own)
        trainer.train(total_timesteps=steps)
        return trainer.policy, trainer.rl_algo._n_updates
    if job["method"] == "GAIL":  # best: the settings of imitation's own quick start
        own = {"batch_size": 64, "ent_coef": 0.0, "learning_rate": 4e-4, "gamma": 0.95,
               "n_epochs": 5, "n_steps": 512} if best else {}
        more = {"gen_replay_buffer_capacity": 512, "n_disc_updates_per_round": 8} if best else {}
        norm = {"normalize_input_layer": RunningNorm} if best else {}
        maker = stable_baselines3.PPO("MlpPolicy", venv, seed=seed, **own)
        trainer = GAIL(
            demonstrations=demos, demo_batch_size=min(256, len(demos)), venv=venv,
            gen_algo=maker, allow_variable_horizon=True, log_dir=tempfile.mkdtemp(), **more,
            reward_net=BasicRewardNet(venv.observation_space, venv.action_space, **norm))
        trainer.train(max(steps, maker.n_steps))
        return maker.policy, maker._n_updates * (maker.n_steps // maker.batch_size)
    kind = getattr(stable_baselines3, job["method"])
    trainer = kind("MlpPolicy", venv, batch_size=128, **off, **WIDE).learn(steps)
    return trainer.policy, trainer._n_updates


def main():
    job = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(job["seed"])
    venv = DummyVecEnv([lambda: Monitor(gymnasium.make(job["env"]))])
    venv.seed(job["seed"])
    demos, begun = diary(job, venv.action_space), time.perf_counter()
    policy, updates = learned(job, demos, venv)
    seconds = time.perf_counter() - begun
    home, returns = gymnasium.make(job["env"]), []
    for episode in range(20):
        obs, done = home.reset(seed=None if episode else FRESH + job["seed"])[0], False
        returns.append(0.0)
        while not done:
            action = policy.predict(obs, deterministic=True)[0]
            obs, reward, terminated, truncated, _ = home.step(action)
            returns[-1] += float(reward)
            done = terminated or truncated
    print(json.dumps({"return": np.mean(returns), "seconds": seconds, "updates": updates}))


if __name__ == "__main__":
    main()
