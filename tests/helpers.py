"""What the tests share: small environments, demonstrations, agents, and exact MDPs.

A finite MDP here is float64 and uses nothing of iq.py: it is the other side of each
comparison.
"""
import warnings
from dataclasses import dataclass, fields

import gymnasium as gym
import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.special
import torch
from gymnasium.spaces import Box, Discrete
from hypothesis import strategies as st
from torch import Tensor, nn

import iq

KINDS = "discrete", "naf", "actor_critic"  # the three agents
ENVS = {"discrete": "Walk-v0", "naf": "WalkFar-v0", "actor_critic": "WalkFar-v0"}
SPACES = {  # what each of the three acts in
    "discrete": Discrete(2), "naf": Box(-3, 1, (1,)), "actor_critic": Box(-3, 1, (1,))}
COLUMNS = [x.name for x in fields(iq.Demos)][1:8]  # of demonstrations
REQUIRED = COLUMNS[:5]


# ------------------------------------------------------------------------ environments

class Walk(gym.Env):
    """Observation: a place, drawn at reset, and the steps taken; terminal beyond +-2."""

    def __init__(self, continuous=False, drift=0.0):
        self.observation_space = Box(-np.inf, np.inf, (2,))
        self.action_space = Box(-3.0, 1.0, (1,)) if continuous else Discrete(2)
        self.continuous, self.drift, self.closed = continuous, drift, False

    def state(self):
        return np.array([self.place, self.steps], np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = self.np_random.uniform(-1, 1), 0
        return self.state(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        push = float(action[0]) if self.continuous else 2 * int(action) - 1
        self.place += 0.4 * push + 0.1 * self.np_random.normal() + self.drift
        self.steps += 1
        return self.state(), self.place, abs(self.place) > 2, False, {}

    def close(self):
        self.closed = True


class Log(gym.Wrapper):
    """Keeps the seeds of resets, and every transition that was really made."""

    def __init__(self, env):
        super().__init__(env)
        self.seeds, self.steps = [], []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        obs, info = super().reset(seed=seed, options=options)
        self.now = np.array(obs)
        return obs, info

    def step(self, action):
        before, action_before = self.now, np.array(action)
        obs, reward, terminated, truncated, info = super().step(action)
        self.now = np.array(obs)
        self.steps.append((before, action_before, self.now, bool(terminated),
                           bool(truncated), float(np.ravel(reward)[0])))
        return obs, reward, terminated, truncated, info


def logged(env):
    """The Log within some wrappers."""
    while not isinstance(env, Log):
        env = env.env
    return env


if "Walk-v0" not in gym.registry:
    gym.register("Walk-v0", "helpers:Walk", max_episode_steps=20)
    gym.register("WalkFar-v0", "helpers:Walk", max_episode_steps=20,
                 kwargs={"continuous": True})


# ---------------------------------------------------------------------- demonstrations

def random_policy(kind, seed=0):
    """A policy for Walk that draws its actions."""
    rng = np.random.default_rng(seed)
    if kind == "discrete":
        return lambda obs: rng.integers(0, 2)
    return lambda obs: rng.uniform(-1, 1, 1)


def make_demos(kind="discrete", episodes=4, seed=0):
    return iq.record(ENVS.get(kind, "WalkFar-v0"), random_policy(kind, seed), episodes,
                     seed)


def columns(demos):
    """What the file of demonstrations holds, as a dictionary to spoil."""
    data = {name: x.copy() for name, x in demos.columns.items()}
    if isinstance(demos.action_space, Discrete):
        return data | {"n_actions": np.array(demos.action_space.n)}
    return data | {"action_low": demos.action_space.low.copy(),
                   "action_high": demos.action_space.high.copy()}


def from_columns(data, **more):
    """Demonstrations made in memory, of what a file holds."""
    if "n_actions" in data:
        space = Discrete(int(data["n_actions"]))
    else:
        space = Box(data["action_low"], data["action_high"])
    return iq.Demos(space, **{k: x for k, x in data.items() if k in COLUMNS}, **more)


def write(path, data):
    with open(path, "wb") as file:  # an object array goes in as a pickle
        np.savez(file, **data)
    return path


def arguments(demos, rows=slice(None)):
    """What agent.reward and agent.to_batch take."""
    return [x[rows] for x in (demos.observations, demos.actions,
                              demos.next_observations, demos.terminations)]


def messages(make):
    """What a call warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make()
    return [str(x.message) for x in caught]


# ------------------------------------------------------------------------------ agents

def make_config(kind="discrete", **changes):
    small = {"hidden": 8, "batch_size": 8, "gamma": 0.9, "steps": 10}
    if kind in KINDS[1:]:
        small["continuous"] = kind
    return iq.Config(**small | changes)


def untrained_agent(kind, critic=None, actor=None, space=None, inputs=3, **changes):
    """An untrained agent for observations (inputs,), as demonstrations have them."""
    space = space or SPACES[kind]
    demos = iq.Demos.from_episodes(
        [np.zeros((2, inputs), np.float32)], [[space.sample()]], [False], space)
    if kind != "discrete":
        changes["continuous"] = kind
    networks = {"critic": critic, "actor": actor}
    config = iq.Config(**{"gamma": 0.9, "temperature": 0.1, "hidden": 8} | changes)
    return iq.new_agent(
        demos, config, **{name: x for name, x in networks.items() if x is not None})


class Constant(nn.Module):
    """A network that gives the same numbers in every state."""

    def __init__(self, *outputs):
        super().__init__()
        self.outputs = nn.Parameter(torch.tensor(outputs, dtype=torch.float32))

    def forward(self, obs, *action):
        return self.outputs.expand(len(obs), -1)


def weights(agent):
    """A copy of all weights, the target network's and the absorbing state's included."""
    return {name: x.detach().cpu().clone() for name, x in agent.state_dict().items()}


def record_batches(agent):
    """A list that will hold every batch, and is_expert, that the agent learns from."""
    batches, update = [], agent.update

    def recording(batch, is_expert):
        batches.append((batch, is_expert))
        return update(batch, is_expert)

    agent.update = recording
    return batches


# ------------------------------------------------------------------------- comparisons

def same(a, b):
    """Whether two tables of arrays or tensors are equal bit for bit."""
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and np.array_equal(np.asarray(a[k]), np.asarray(b[k]))
        for k in a)


def same_demos(a, b):
    """Whether two demonstrations are equal bit for bit."""
    return a.action_space == b.action_space and same(a.columns, b.columns)


def assert_near(a, b, tolerance=1e-9):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def forbid(*args, **kwargs):
    raise AssertionError("this was not to be called")


# ----------------------------------------------------------------- strategies and MDPs

seeds = st.integers(0, 2**32 - 1)
temperatures = st.floats(-2, 1).map(lambda x: 10**x)  # 0.01 to 10, even in the log
gammas = st.sampled_from([0.0, 0.3, 0.7, 0.9])


def random_table(rng, *shape, scale=1.0) -> Tensor:
    return torch.tensor(scale * rng.standard_normal(shape))


@dataclass(frozen=True)
class MDP:
    """P(s'|s,a), where an episode starts, and the discount."""

    P: Tensor  # (S, A, S + T): the last T states are terminal
    start: Tensor  # (S,)
    gamma: float
    rng: np.random.Generator

    @property
    def shape(self):
        return tuple(self.P.shape[:2])

    def alive(self) -> Tensor:
        """P without its terminal columns, (S, A, S)."""
        return self.P[..., : len(self.P)]

    def expected(self, v: Tensor) -> Tensor:
        """E_{s'}[v(s')], (S, A)."""
        return self.alive() @ v

    def policy(self, floor=0.1) -> Tensor:
        p = torch.tensor(self.rng.dirichlet(np.ones(self.shape[1]), self.shape[0]))
        return (1 - floor) * p + floor / self.shape[1]

    def occupancy(self) -> Tensor:
        """That of some policy which leaves no action out."""
        return occupancy(self, self.policy(floor=0.3))

    def table(self, scale=1.0) -> Tensor:
        return random_table(self.rng, *self.shape, scale=scale)


@st.composite
def mdps(draw, states=(1, 4), actions=(1, 4), terminal=(0, 2), deterministic=False,
         gamma=gammas) -> MDP:
    s, a, t = (draw(st.integers(*x)) for x in (states, actions, terminal))
    rng = np.random.default_rng(draw(seeds))
    p = torch.tensor(rng.dirichlet(np.ones(s + t), (s, a)))
    if deterministic:
        p = torch.eye(s + t, dtype=torch.float64)[p.argmax(-1)]
    return MDP(p, torch.tensor(rng.dirichlet(np.ones(s))), draw(gamma), rng)


# -------------------------------------------------------------------- exact quantities

F = {  # the divergences, f(u) of u = d_policy / d_expert
    "chi2": lambda u, alpha=0.5: alpha * (u - 1) ** 2,
    "reverse_kl": lambda u: u * u.log() - u + 1,
    "forward_kl": lambda u: -u.log() + u - 1,
    "hellinger": lambda u: (u.sqrt() - 1) ** 2,
    "jensen_shannon": lambda u: u * u.log() - (1 + u) * ((1 + u) / 2).log(),
    "total_variation": lambda u: (u - 1).abs()}


def divergence(name, d, expert, **alpha):
    """D(d, d_expert) = E_expert[f(d / d_expert)]."""
    return (expert * F[name](d / expert, **alpha)).sum()


def occupancy(mdp: MDP, policy: Tensor) -> Tensor:
    """d(s,a) = (1-gamma) sum_t gamma^t P(s_t=s, a_t=a), before the end, (S, A)."""
    moves = torch.einsum("sa,sat->ts", policy, mdp.alive())  # (S', S)
    eye = torch.eye(len(moves), dtype=moves.dtype)
    d = torch.linalg.solve(eye - mdp.gamma * moves, (1 - mdp.gamma) * mdp.start)
    return d[:, None] * policy


def policy_of(d: Tensor) -> Tensor:
    return d / d.sum(1, keepdim=True)


def entropy(d: Tensor) -> Tensor:
    """H = E_d[-log pi] of an occupancy (S, A)."""
    return -(d * policy_of(d).log()).sum()


def q_of_policy(mdp: MDP, policy: Tensor, reward: Tensor, temperature: float) -> Tensor:
    """Q (S, A) of a policy with its entropy, by one linear system."""
    s, a = mdp.shape
    onward = torch.einsum("sat,tb->satb", mdp.alive(), policy).reshape(s * a, s * a)
    bonus = -temperature * torch.special.xlogy(policy, policy).sum(1)
    gain = reward + mdp.gamma * mdp.expected(bonus)
    eye = torch.eye(s * a, dtype=torch.float64)
    return torch.linalg.solve(eye - mdp.gamma * onward, gain.flatten()).view(s, a)


def value_iteration(mdp: MDP, reward: Tensor, temperature: float):
    """The best Q and policy under a reward with entropy, from scratch, in numpy."""
    p, r, q = mdp.alive().numpy(), reward.numpy(), np.zeros(mdp.shape)
    while True:
        v = temperature * scipy.special.logsumexp(q / temperature, axis=1)
        new = r + mdp.gamma * p @ v
        if np.abs(new - q).max() < 1e-13 * (1 + np.abs(q).max()):
            return torch.tensor(q), torch.tensor(
                scipy.special.softmax(q / temperature, axis=1))
        q = new


# ----------------------------------------------------------------------------- solvers

def minimise(f, shape, gtol: float = 1e-9) -> Tensor:
    """The least point of a smooth f of a table, by Newton's steps in a trust region.

    f is +inf, or NaN, where it isn't defined.
    """
    def fun(x):
        y = float(f(torch.tensor(x).view(shape)))
        return y if np.isfinite(y) else np.inf

    def jac(x):
        x = torch.tensor(x, requires_grad=True)
        return torch.autograd.grad(f(x.view(shape)), x)[0].numpy()

    def hess(x):
        return torch.autograd.functional.hessian(
            lambda x: f(x.view(shape)), torch.tensor(x)).numpy()

    done = scipy.optimize.minimize(
        fun, np.zeros(int(np.prod(shape))), jac=jac, hess=hess, method="trust-exact",
        options={"gtol": gtol, "maxiter": 500})
    assert np.abs(done.jac).max() < 1e-6, done.message
    return torch.tensor(done.x).view(shape)


def nearest_occupancy(mdp: MDP, distance, temperature: float) -> Tensor:
    """The occupancy (S, A) with the least distance(d) - tau H(d), a convex problem."""
    s, a = mdp.shape
    leave = torch.eye(s, dtype=torch.float64).repeat_interleave(a, 1)  # (S, S * A)
    arrive = mdp.alive().reshape(s * a, s).T
    directions = scipy.linalg.null_space((leave - mdp.gamma * arrive).numpy())
    directions = torch.tensor(directions)  # from one occupancy to all others
    centre = occupancy(mdp, torch.full((s, a), 1 / a, dtype=torch.float64)).flatten()

    def occupied(z):
        return (centre + directions @ z).view(mdp.shape)

    def objective(z):
        d = occupied(z)
        if d.min() <= 0:
            return d.sum() * torch.nan
        return distance(d) - temperature * entropy(d)

    if not directions.shape[1]:
        return centre.view(mdp.shape)
    return occupied(minimise(objective, directions.shape[1:]))
