"""Random finite worlds with their exact quantities, and small agents.

A world has S states in which one acts and, perhaps, terminal ones after them, worth 0.
It is float64, and nothing about worlds uses iq.py: it is the other side of each
comparison.
"""
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.special
import torch
from gymnasium.spaces import Box, Discrete
from hypothesis import strategies as st
from torch import Tensor, nn

import iq

# ------------------------------------------------------------------------- strategies

seeds = st.integers(0, 2**32 - 1)
temperatures = st.floats(-2, 1).map(lambda x: 10**x)  # 0.01 to 10, even in the log
gammas = st.sampled_from([0.0, 0.3, 0.7, 0.9])


def numbers(rng, *shape, scale=1.0) -> Tensor:
    return torch.tensor(scale * rng.standard_normal(shape))


def near(a, b, tolerance=1e-9):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@dataclass(frozen=True)
class World:
    """P(s'|s,a), where an episode starts, and the discount."""

    P: Tensor  # (S, A, S + T): the last T states are terminal
    start: Tensor  # (S,)
    gamma: float
    rng: np.random.Generator

    @property
    def shape(self):
        return tuple(self.P.shape[:2])

    def on(self) -> Tensor:
        """P without its terminal columns, (S, A, S)."""
        return self.P[..., : len(self.P)]

    def later(self, v: Tensor) -> Tensor:
        """E_{s'}[v(s')], (S, A)."""
        return self.on() @ v

    def policy(self, floor=0.1) -> Tensor:
        p = torch.tensor(self.rng.dirichlet(np.ones(self.shape[1]), self.shape[0]))
        return (1 - floor) * p + floor / self.shape[1]

    def occupancy(self) -> Tensor:
        """That of some policy which leaves no action out."""
        return occupancy(self, self.policy(floor=0.3))

    def numbers(self, scale=1.0) -> Tensor:
        return numbers(self.rng, *self.shape, scale=scale)


@st.composite
def worlds(draw, states=(1, 4), actions=(1, 4), terminal=(0, 2), deterministic=False,
           gamma=gammas) -> World:
    s, a, t = (draw(st.integers(*x)) for x in (states, actions, terminal))
    rng = np.random.default_rng(draw(seeds))
    p = torch.tensor(rng.dirichlet(np.ones(s + t), (s, a)))
    if deterministic:
        p = torch.eye(s + t, dtype=torch.float64)[p.argmax(-1)]
    return World(p, torch.tensor(rng.dirichlet(np.ones(s))), draw(gamma), rng)


# -------------------------------------------------------------------- exact quantities

# The divergences of MATH.md, f(u) of u = d_policy / d_expert.
F = {
    "chi2": lambda u, alpha=0.5: alpha * (u - 1) ** 2,
    "reverse_kl": lambda u: u * u.log() - u + 1,
    "forward_kl": lambda u: -u.log() + u - 1,
    "hellinger": lambda u: (u.sqrt() - 1) ** 2,
    "jensen_shannon": lambda u: u * u.log() - (1 + u) * ((1 + u) / 2).log(),
    "total_variation": lambda u: (u - 1).abs()}


def divergence(name, d, expert, **alpha):
    """D(d, d_expert) = E_expert[f(d / d_expert)]."""
    return (expert * F[name](d / expert, **alpha)).sum()


def occupancy(world: World, policy: Tensor) -> Tensor:
    """d(s,a) = (1-gamma) sum_t gamma^t P(s_t=s, a_t=a), before the end, (S, A)."""
    moves = torch.einsum("sa,sat->ts", policy, world.on())  # (S', S)
    eye = torch.eye(len(moves), dtype=moves.dtype)
    d = torch.linalg.solve(
        eye - world.gamma * moves, (1 - world.gamma) * world.start)
    return d[:, None] * policy


def policy_of(d: Tensor) -> Tensor:
    return d / d.sum(1, keepdim=True)


def entropy(d: Tensor) -> Tensor:
    """H = E_d[-log pi] of an occupancy (S, A)."""
    return -(d * policy_of(d).log()).sum()


def worth(world: World, policy: Tensor, reward: Tensor, temperature: float) -> Tensor:
    """Q (S, A) of a policy with its entropy, by one linear system."""
    s, a = world.shape
    onward = torch.einsum("sat,tb->satb", world.on(), policy).reshape(s * a, s * a)
    bonus = -temperature * torch.special.xlogy(policy, policy).sum(1)
    gain = reward + world.gamma * world.later(bonus)
    eye = torch.eye(s * a, dtype=torch.float64)
    return torch.linalg.solve(eye - world.gamma * onward, gain.flatten()).view(s, a)


def value_iteration(world: World, reward: Tensor, temperature: float):
    """The best Q and policy under a reward with entropy, from scratch, in numpy."""
    p, r, q = world.on().numpy(), reward.numpy(), np.zeros(world.shape)
    while True:
        v = temperature * scipy.special.logsumexp(q / temperature, axis=1)
        new = r + world.gamma * p @ v
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


def nearest_occupancy(world: World, distance, temperature: float) -> Tensor:
    """The occupancy (S, A) with the least distance(d) - tau H(d), a convex problem."""
    s, a = world.shape
    leave = torch.eye(s, dtype=torch.float64).repeat_interleave(a, 1)  # (S, S * A)
    arrive = world.on().reshape(s * a, s).T
    directions = scipy.linalg.null_space((leave - world.gamma * arrive).numpy())
    directions = torch.tensor(directions)  # from one occupancy to all others
    centre = occupancy(world, torch.full((s, a), 1 / a, dtype=torch.float64)).flatten()

    def occupied(z):
        return (centre + directions @ z).view(world.shape)

    def objective(z):
        d = occupied(z)
        if d.min() <= 0:
            return d.sum() * torch.nan
        return distance(d) - temperature * entropy(d)

    if not directions.shape[1]:
        return centre.view(world.shape)
    return occupied(minimise(objective, directions.shape[1:]))


# ------------------------------------------------------------------------ small agents

SPACES = {  # what each of the three acts in
    "discrete": Discrete(2), "naf": Box(-3, 1, (1,)), "actor_critic": Box(-3, 1, (1,))}


def an_agent(kind, critic=None, actor=None, space=None, seen=3, **changes):
    """An untrained agent for observations (seen,), as a diary of one step has them."""
    space = space or SPACES[kind]
    demos = iq.Demos.from_episodes(
        [np.zeros((2, seen), np.float32)], [[space.sample()]], [False], space)
    if kind != "discrete":
        changes["continuous"] = kind
    networks = {"critic": critic, "actor": actor}
    config = iq.Config(**{"gamma": 0.9, "temperature": 0.1, "hidden": 8} | changes)
    return iq.new_agent(
        demos, config, **{name: x for name, x in networks.items() if x is not None})


class Fixed(nn.Module):
    """A network that says the same in every state."""

    def __init__(self, *told):
        super().__init__()
        self.told = nn.Parameter(torch.tensor(told, dtype=torch.float32))

    def forward(self, obs, *action):
        return self.told.expand(len(obs), -1)
