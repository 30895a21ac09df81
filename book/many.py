"""Several seeds of one network, trained at once: their weights have a leading axis.

    agents = learn_many(demos, "CartPole-v1", seeds=range(5))

A small network leaves a core waiting for Python most of the time; five of them cost
hardly more than one. Each seed has its own weights, draws, replay and environment, as
with iq.learn, and descends iq.py's own loss. What comes back are ordinary agents.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

import iq

# Shapes: S seeds; B rows of each. Rows of all seeds lie seed after seed, (S * B, ...),
# so that whatever of iq.py works row by row takes them as they are.


class StackedMLP:
    """S iq.MLPs, with the weights of all of them stacked: (S, in, out) and (S, 1, out)."""

    def __init__(self, networks: Sequence[nn.Module], trained: bool = True):
        if not all(type(x) is iq.MLP for x in networks):
            raise ValueError("the networks are a user's own; allowed: iq.MLP")
        self.networks = networks
        self.layers = []
        for layer in range(0, len(networks[0]), 2):
            linear = [x[layer] for x in networks]
            weight = torch.stack([x.weight.detach().T for x in linear]).contiguous()
            bias = torch.stack([x.bias.detach() for x in linear]).unsqueeze(1)
            pair = weight.requires_grad_(trained), bias.requires_grad_(trained)
            self.layers.append(pair)

    def parameters(self) -> list[Tensor]:
        return [x for pair in self.layers for x in pair]

    def share(self) -> None:
        """Let the networks have these weights as they are learned: one memory."""
        for layer, (weight, bias) in enumerate(self.layers):
            for i, network in enumerate(self.networks):
                network[2 * layer].weight.data = weight.detach()[i].T
                network[2 * layer].bias.data = bias.detach()[i, 0]

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Inputs (S * B, ...), flattened, concatenated -> (S * B, outputs)."""
        rows = [x.flatten(1) for x in inputs]
        x = rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)
        x = x.view(len(self.networks), -1, x.shape[1])
        (weight, bias), *others = self.layers
        x = torch.baddbmm(bias, x, weight)
        for weight, bias in others:
            x = torch.baddbmm(bias, x.tanh(), weight)
        return x.flatten(0, 1)


class Together:
    """Stands before an agent's class: S agents as one, over the rows of all of them.

    q_and_value, value, backward and select_action's networks are the agent's own.
    """

    def __init__(self, agents: Sequence[iq.Agent], optimizer: Callable | None):
        nn.Module.__init__(self)
        first = agents[0]
        self.agents, self.seeds, self.config = agents, len(agents), first.config
        self.action_space, self.action_size = first.action_space, first.action_size
        self.example, self.user_networks = first.example, []
        self.updates = first.updates
        scale = torch.stack([x.obs_scale for x in agents])
        self.obs_scale = scale.unsqueeze(1)  # (S, 1, *obs)
        values = torch.stack([x.absorbing_value.detach() for x in agents])
        self.absorbing_value = values.requires_grad_()
        for agent, part in zip(agents, values.detach()):
            agent.absorbing_value.data = part
        self.trainable = [values]
        for name in [x for x in ("critic", "actor", "target") if hasattr(first, x)]:
            stacked = StackedMLP([getattr(x, name) for x in agents], name != "target")
            stacked.share()
            setattr(self, name, stacked)
            self.trainable += stacked.parameters() if name != "target" else []
        rate = self.config.learning_rate
        groups = [{"params": self.trainable[1:]},  # as in iq.Agent.configure
                  {"params": values, "lr": rate / (1 - self.config.gamma)}]
        self.optimizer = (optimizer or torch.optim.Adam)(groups, lr=rate, fused=True)

    def by_seed(self, column: Tensor) -> Tensor:
        """Rows of all seeds (S * B, ...) -> (S, B, ...)."""
        return column.view(self.seeds, -1, *column.shape[1:])

    def scaled(self, obs):
        return (self.by_seed(obs) / self.obs_scale).flatten(0, 1)

    @torch.no_grad()
    def next_value(self, batch, critic):
        value, terminated = self.value(batch.next_obs, critic), batch.terminated
        absorbing = self.absorbing_value.unsqueeze(1)
        return torch.where(
            self.by_seed(terminated), absorbing, self.by_seed(value)).flatten()

    def sample(self, obs):
        """SoftActorCritic's, with the noise of each seed's own generator."""
        mean, log_std = self.normal(obs)
        noise = torch.empty_like(mean)
        for rows, agent in zip(self.by_seed(noise), self.agents):
            rows.normal_(generator=agent.generator)
        return iq.squash(mean, log_std, noise)

    def update(self, batch: iq.Batch, is_expert: Tensor, loss_of: Callable) -> None:
        """One gradient step of every seed, by the sum of their losses."""
        loss, value = self.loss(batch, is_expert, loss_of)
        for x in self.trainable:
            x.grad = None
        self.absorbing_value.grad = torch.zeros_like(self.absorbing_value)
        self.backward(loss, self.seeds * value)  # where a mean over all seeds is taken
        self.clip_gradients(10.0)
        self.optimizer.step()
        with torch.no_grad():
            rate = self.config.target_rate if self.updates else 1.0  # at first, a copy
            for old, new in zip(self.target.parameters(), self.critic.parameters()):
                old.lerp_(new, rate)
        self.updates += 1

    def loss(self, batch, is_expert, loss_of):
        """The sum of the seeds' losses, and V(s) (S * B,).

        A loss is made of means over a seed's rows. So seeds that have as many of each
        kind share a call: its means are the means of theirs. Kinds differ only by the
        absorbing rows, one for each terminal row, of the expert's and of the learner's.
        """
        q, value = self.q_and_value(batch.obs, batch.action)
        next_value = self.next_value(batch, self.target)
        groups = {(0, 0): range(self.seeds)}
        if self.config.absorbing and batch.terminated.any():
            ends, groups = self.by_seed(batch.terminated), {}
            kinds = zip((ends & is_expert).sum(1).tolist(), ends.sum(1).tolist())
            for seed, kind in enumerate(kinds):
                groups.setdefault(kind, []).append(seed)
        results = [q, value, next_value]
        if self.config.value_term == "initial":
            results.append(self.value(batch.initial_obs))
        losses = []
        for (_, number), group in groups.items():
            loss, *_ = loss_of(
                self.part(group, number, *(self.rows_of(group, x) for x in results)),
                iq.Batch(*(self.rows_of(group, x) for x in batch[:4]), batch.initial_obs),
                is_expert.repeat(len(group)))
            losses.append(len(group) * loss)
        return sum(losses[1:], losses[0]), value

    def rows_of(self, group: list[int], column: Tensor) -> Tensor:
        """The rows of a group's seeds."""
        if len(group) == self.seeds:
            return column
        parts = self.by_seed(column).unbind(0)
        return torch.cat([parts[seed] for seed in group])

    def part(self, group, number, q, value, next_value, initial=None):
        """What a loss asks an agent for, of a group's seeds; number: terminal rows."""
        absorbing = self.absorbing_value[:0]
        if number:
            absorbing = self.absorbing_value[group].repeat_interleave(number)
        return SimpleNamespace(
            config=self.config, default_value_term=self.default_value_term,
            absorbing_value=absorbing,
            target=self.target, q_and_value=lambda obs, action: (q, value),
            next_value=lambda batch, critic: next_value, value=lambda obs: initial)

    @torch.no_grad()
    def clip_gradients(self, limit: float) -> None:
        """Clip the gradient of each seed by its own norm."""
        grads = [x.grad for x in self.trainable if x.grad is not None]
        if nn.utils.get_total_norm(grads) <= limit:
            return  # of all seeds together, so of each
        norms = torch.stack([torch.linalg.vector_norm(x.view(self.seeds, -1), dim=1)
                             for x in grads])
        norm = torch.linalg.vector_norm(norms, dim=0)
        if not norm.isfinite().all():
            raise RuntimeError(f"gradients are not finite: their norms are {norm.tolist()}")
        scale = (limit / (norm + 1e-6)).clamp(max=1.0)
        if (scale < 1).any():
            for x in grads:
                x.mul_(scale.view(-1, *[1] * (x.dim() - 1)))


class Rows:
    """The demonstrations and the replays of S seeds, of which batches are drawn."""

    def __init__(self, agents: Sequence[iq.Agent], demos: Sequence[iq.Demos]):
        self.agents = agents
        batches, at = {}, 0  # each Demos once, however many seeds learn from it
        for agent, own in zip(agents, demos):
            if id(own) not in batches:
                rows = agent.to_batch(own.observations, own.actions,
                                      own.next_observations, own.terminations)
                initial = rows.obs[agent.tensor(own.starts)]
                batches[id(own)] = at, rows._replace(initial_obs=initial)
                at += len(own)
        parts = [batches[id(own)] for own in demos]
        self.first, self.known = zip(*((at, len(rows.obs)) for at, rows in parts))
        self.expert = [torch.cat(x) for x in zip(*(rows[:4] for _, rows in batches.values()))]
        self.initial_obs = torch.cat([rows.initial_obs for _, rows in parts])
        self.size, self.own = 0, []  # the learners' rows, (S, capacity, ...)

    def add(self, rows: iq.Batch) -> None:
        """Keep a transition of every seed, a Batch of S rows."""
        if not self.own:
            self.own = [x.unsqueeze(1) for x in rows[:4]]
        elif self.size == self.own[0].shape[1]:
            self.own = [torch.cat([x, torch.empty_like(x)], 1) for x in self.own]
        for column, x in zip(self.own, rows):
            column[:, self.size] = x
        self.size += 1

    def sample(self, size: int) -> tuple[iq.Batch, Tensor]:
        """As iq.Replay.sample draws them for each seed; is_expert of one seed's rows."""
        drawn, own = [], []
        capacity = self.own[0].shape[1] if self.size else 0
        for seed, agent in enumerate(self.agents):
            rows = torch.randint(self.known[seed], (size,), generator=agent.generator)
            drawn.append(rows + self.first[seed])
            if self.size:
                rows = torch.randint(self.size, (size,), generator=agent.generator)
                own.append(rows + seed * capacity)
        is_expert = torch.arange(2 * size if self.size else size) < size
        rows = torch.cat(drawn)
        columns = [x.index_select(0, rows) for x in self.expert]
        if self.size:
            rows, shape = torch.cat(own), (len(self.agents), size)
            own = [x.flatten(0, 1).index_select(0, rows) for x in self.own]
            columns = [torch.cat([x.unflatten(0, shape), y.unflatten(0, shape)], 1)
                       .flatten(0, 1) for x, y in zip(columns, own)]
        return iq.Batch(*columns, self.initial_obs), is_expert

    def replay(self, seed: int) -> iq.Replay:
        """A seed's replay, as its agent keeps it."""
        replay = iq.Replay()
        replay.size = self.size
        replay.columns = [x[seed, :self.size].clone() for x in self.own]
        return replay


class Drawing:
    """Stands before an agent's class: instead of observations it takes what the network
    made of them, and draws actions.
    """

    def __init__(self, agent: iq.Agent):
        nn.Module.__init__(self)
        self.config, self.generator = agent.config, agent.generator

    critic = actor = scaled = staticmethod(lambda x: x)


class Players:
    """S environments, stepped in turn; all agents' actions come from one forward pass."""

    def __init__(self, agents: Sequence[iq.Agent], env: str, seeds: Sequence[int],
                 greedy: bool, episodes: int | None = None):
        self.agents, self.greedy = agents, greedy
        acting = "actor" if hasattr(agents[0], "actor") else "critic"
        self.network = StackedMLP([getattr(x, acting) for x in agents])
        self.scale = torch.stack([x.obs_scale for x in agents])
        kind = type("Drawing", (Drawing, type(agents[0])), {})
        self.drawing = [kind(agent) for agent in agents]
        self.ready: dict[int, tuple] = {}  # of a seed, an observation and its action
        self.last: dict = dict.fromkeys(range(len(agents)))  # each one's last step
        # rollout checks what an environment gives; gymnasium's own checks take longer
        self.envs = [gym.make(env, disable_env_checker=True) for _ in agents]
        self.rollouts = [
            iq.rollout(home, functools.partial(self.policy, i), seed, agent, episodes)
            for i, (home, agent, seed) in enumerate(zip(self.envs, agents, seeds))]

    def policy(self, i: int, obs):
        """The action that is drawn already or, where an episode begins, a new one."""
        known, action = self.ready.pop(i, (None, None))
        if known is not None and np.array_equal(known, obs):
            return action
        return self.agents[i].act(obs, self.greedy)

    def step(self) -> dict[int, iq.Step]:
        """One step of each agent whose episodes aren't all over."""
        self.draw()
        steps = {i: next(self.rollouts[i], None) for i in self.last}
        self.last = {i: step for i, step in steps.items() if step is not None}
        return self.last

    @torch.no_grad()
    def draw(self) -> None:
        """Draw the next actions of all agents whose episode goes on."""
        going = [i for i, x in self.last.items()
                 if x is not None and not (x.terminated or x.truncated)]
        if not going:
            return
        rows = [agent.example for agent in self.agents]
        for i in going:
            rows[i] = self.last[i].next_obs
        obs = self.agents[0].tensor(np.stack(rows)) / self.scale
        outputs = self.network(obs).split(1)
        drawn = [self.drawing[i].select_action(outputs[i], self.greedy) for i in going]
        space = self.agents[0].action_space
        actions = iq.decode_actions(torch.cat(drawn).numpy(), space)
        for i, action in zip(going, actions):
            self.ready[i] = rows[i], action

    def close(self) -> None:
        for rollout, env in zip(self.rollouts, self.envs):
            rollout.close()
            env.close()


def evaluate_many(agents: Sequence[iq.Agent], env: str, episodes: int,
                  seeds: Sequence[int]) -> np.ndarray:
    """The returns (S, episodes) of each policy's mode: iq.evaluate of each, sooner."""
    returns = np.zeros((len(agents), episodes))
    players = Players(agents, env, seeds, greedy=True, episodes=episodes)
    while steps := players.step():
        for i, step in steps.items():
            returns[i, step.episode] += step.reward
    players.close()
    return returns


def learn_many(demos: iq.Demos | Sequence[iq.Demos], env: str | None = None,
               config: iq.Config | None = None, seeds: Iterable[int] = range(5),
               callback: Callable[[int, list], Any] | None = None,
               loss: Callable | None = None,
               optimizer: Callable | None = None) -> list[iq.Agent]:
    """What [iq.learn(demos, env, replace(config, seed=x)) for x in seeds] gives, sooner.

    demos: of all seeds, or of each. callback(step, agents) follows every update; `raise
    StopIteration` ends learning. loss(agent, batch, is_expert), a mean over rows, stands
    in for the agent's own; optimizer(groups, lr=..., fused=True) for Adam.
    """
    config, seeds = config or iq.Config(), list(seeds)
    if config.device != "cpu":
        raise ValueError(f"device is {config.device!r}; allowed: 'cpu'")
    every = [demos] * len(seeds) if isinstance(demos, iq.Demos) else list(demos)
    if len(every) != len(seeds):
        raise ValueError(f"there are {len(every)} demos for {len(seeds)} seeds")
    agents = [iq.new_agent(own, replace(config, seed=seed))
              for own, seed in zip(every, seeds)]
    kind = type(agents[0])
    together = type("Together", (Together, kind), {})(agents, optimizer)
    rows, players = Rows(agents, every), None
    if env:
        players = Players(agents, env, seeds, greedy=False)
        players.network = getattr(together, "actor", together.critic)  # as it learns
    try:
        with iq.threads(1):
            for step in range(1, config.steps + 1):
                if players:
                    obs, action, next_obs, ended, *_ = zip(*players.step().values())
                    ended = np.array(ended)
                    rows.add(together.to_batch(obs, action, next_obs, ended))
                together.update(*rows.sample(config.batch_size), loss or kind.loss)
                if callback:
                    callback(step, agents)
    except StopIteration:
        pass
    finally:
        if players:
            players.close()
    for seed, agent in enumerate(agents):
        agent.replay, agent.updates = rows.replay(seed), together.updates
        for weight in agent.parameters():
            weight.data = weight.data.clone(memory_format=torch.contiguous_format)
    return agents
