"""Random finite worlds and their exact quantities: plumbing that the proofs share.

A world has S states in which one acts and, perhaps, terminal ones after them. All of it
is float64, and nothing here uses iq.py: it is the other side of each comparison.
"""
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.special
import torch
from hypothesis import strategies as st
from torch import Tensor

# ------------------------------------------------------------------------- strategies

seeds = st.integers(0, 2**32 - 1)
temperatures = st.floats(-2, 1).map(lambda x: 10**x)  # 0.01 to 10, even in the log
gammas = st.sampled_from([0.0, 0.3, 0.7, 0.9])


def numbers(rng, *shape, scale=1.0) -> Tensor:
    return torch.tensor(scale * rng.standard_normal(shape))


def chances(rng, *shape, floor=0.0) -> Tensor:
    """Distributions along the last axis, each entry at least floor / their number."""
    p = torch.tensor(rng.dirichlet(np.ones(shape[-1]), shape[:-1]))
    return (1 - floor) * p + floor / shape[-1]


@dataclass(frozen=True)
class World:
    """P(s'|s,a), where an episode starts, and the discount."""
    P: Tensor  # (S, A, S + T): the last T states are terminal
    start: Tensor  # (S,)
    gamma: float
    rng: np.random.Generator

    def __post_init__(self):
        s, a, n = self.P.shape
        every = np.indices(self.P.shape).reshape(3, -1)
        for name, x in zip(("s", "a", "next_s"), every, strict=True):
            object.__setattr__(self, name, torch.as_tensor(x))
        object.__setattr__(self, "ended", self.next_s >= s)
        object.__setattr__(self, "shape", (s, a))
        object.__setattr__(self, "terminal", n - s)

    # Of every triple (s, a, s') one row: s, a, next_s, ended are (S * A * (S + T),).

    def mean(self, x: Tensor) -> Tensor:
        """E_{s'}[x(s,a,s')], from one number per triple to (S, A)."""
        return (self.P * x.view_as(self.P)).sum(-1)

    def beyond(self, v: Tensor, worth: float = float("nan")) -> Tensor:
        """v (S,) with an entry for each terminal state, which none should read."""
        return torch.cat([v, torch.full((self.terminal,), worth, dtype=v.dtype)])

    def on(self) -> Tensor:
        """P without its terminal columns, (S, A, S)."""
        return self.P[..., : self.shape[0]]

    def policy(self, floor=0.1) -> Tensor:
        return chances(self.rng, *self.shape, floor=floor)

    def numbers(self, *shape, scale=1.0) -> Tensor:
        return numbers(self.rng, *(shape or self.shape), scale=scale)


@st.composite
def worlds(draw, states=(1, 4), actions=(1, 4), terminal=(0, 2), deterministic=False,
           gamma=gammas) -> World:
    s, a, t = (draw(st.integers(*x)) for x in (states, actions, terminal))
    rng = np.random.default_rng(draw(seeds))
    p = chances(rng, s, a, s + t)
    if deterministic:
        p = torch.eye(s + t, dtype=torch.float64)[p.argmax(-1)]
    return World(p, chances(rng, s), draw(gamma), rng)


# The divergences of MATH.md, f(u) of u = d_policy / d_expert, each 0 at 1.
F = {
    "chi2": lambda u, alpha=0.5: alpha * (u - 1) ** 2,
    "reverse_kl": lambda u: u * u.log() - u + 1,
    "forward_kl": lambda u: -u.log() + u - 1,
    "hellinger": lambda u: (u.sqrt() - 1) ** 2,
    "jensen_shannon": lambda u: u * u.log() - (1 + u) * ((1 + u) / 2).log(),
    "total_variation": lambda u: (u - 1).abs()}

# -------------------------------------------------------------------- exact quantities

def occupancy(world: World, policy: Tensor) -> Tensor:
    """d(s,a) = (1-gamma) sum_t gamma^t P(s_t=s, a_t=a), before the end, (S, A)."""
    moves = torch.einsum("sa,sat->ts", policy, world.on())  # (S', S)
    eye = torch.eye(len(moves), dtype=moves.dtype)
    d = torch.linalg.solve(
        eye - world.gamma * moves, (1 - world.gamma) * world.start)
    return d[:, None] * policy


def worth(world: World, policy: Tensor, reward: Tensor, temperature: float) -> Tensor:
    """Q (S, A) of a policy with its entropy, by one linear system."""
    s, a = world.shape
    onward = torch.einsum("sat,tb->satb", world.on(), policy).reshape(s * a, s * a)
    entropy = -torch.special.xlogy(policy, policy).sum(1)
    gain = reward + world.gamma * temperature * world.on() @ entropy
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

def minimise(f, x: Tensor, gtol: float = 1e-9) -> Tensor:
    """The least point of a smooth f of a vector, by Newton's steps in a trust region.

    f is +inf, or NaN, where it isn't defined.
    """
    def fun(x):
        y = float(f(torch.tensor(x)))
        return y if np.isfinite(y) else np.inf

    def jac(x):
        x = torch.tensor(x, requires_grad=True)
        return torch.autograd.grad(f(x), x)[0].numpy()

    def hess(x):
        return torch.autograd.functional.hessian(f, torch.tensor(x)).numpy()

    done = scipy.optimize.minimize(
        fun, x.numpy(), jac=jac, hess=hess, method="trust-exact",
        options={"gtol": gtol, "maxiter": 500})
    assert np.abs(done.jac).max() < 1e-6, done.message
    return torch.tensor(done.x)


def flow(world: World):
    """The plane of all occupancies: one of them (S * A,), and directions in it."""
    s, a = world.shape
    leave = torch.eye(s, dtype=torch.float64).repeat_interleave(a, 1)  # (S, S * A)
    arrive = world.on().reshape(s * a, s).T
    directions = scipy.linalg.null_space((leave - world.gamma * arrive).numpy())
    uniform = torch.full(world.shape, 1 / a, dtype=torch.float64)
    return occupancy(world, uniform).flatten(), torch.tensor(directions)


def entropy(d: Tensor) -> Tensor:
    """H = E_d[-log pi] of an occupancy (S, A)."""
    return -(d * (d / d.sum(1, keepdim=True)).log()).sum()


def nearest_occupancy(world: World, distance, temperature: float) -> Tensor:
    """The occupancy (S, A) with the least distance(d) - tau H(d), a convex problem."""
    centre, directions = flow(world)

    def occupied(z):
        return (centre + directions @ z).view(world.shape)

    def objective(z):
        d = occupied(z)
        if d.min() <= 0:
            return d.sum() * torch.nan
        return distance(d) - temperature * entropy(d)

    start = torch.zeros(directions.shape[1], dtype=torch.float64)
    return occupied(minimise(objective, start) if len(start) else start)
