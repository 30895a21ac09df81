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

import numpy as np
import torch
from torch import Tensor, nn

import iq

# Shapes: S seeds; B rows of each. Rows of all seeds lie seed after seed, (S * B, ...),
# so that whatever of iq.py works row by row takes them as they are.


class StackedMLP(nn.Module):
    """S iq.MLPs, whose weights become parts of stacked ones, (S, ...)."""

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        if not all(type(x) is iq.MLP for x in networks):
            raise ValueError("the networks are a user's own; allowed: iq.MLP")
        self.stacked = nn.ParameterList()
        for weights in zip(*(x.parameters() for x in networks)):
            stacked = nn.Parameter(torch.stack([x.detach() for x in weights]))
            for weight, part in zip(weights, stacked.detach()):
                weight.data = part  # one memory: an agent has what was learned at once
            self.stacked.append(stacked)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs (S * B, ...), flattened, concatenated -> (S * B, outputs)."""
        first = self.stacked[0]
        x = [x.flatten(1) for x in inputs]
        x = torch.cat(x, dim=1) if len(x) > 1 else x[0]
        x = x.view(len(first), -1, first.shape[2])
        for i in range(0, len(self.stacked), 2):
            weight, bias = self.stacked[i], self.stacked[i + 1]
            x = torch.baddbmm(bias.unsqueeze(1), x.tanh() if i else x,
                              weight.transpose(1, 2))
        return x.flatten(0, 1)


class Together:
    """Stands before an agent's class: S agents as one, over the rows of all of them.

    q_and_value, value, backward and select_action's networks are the agent's own.
    """

    def __init__(self, agents: Sequence[iq.Agent], optimizer: Callable | None):
        nn.Module.__init__(self)
        first = agents[0]
        self.agents, self.seeds, self.config = agents, len(agents), first.config
        self.action_space, self.axes = first.action_space, first.axes
        self.example, self.own_networks = first.example, []
        self.updates = first.updates
        scale = torch.stack([x.obs_scale for x in agents])
        self.obs_scale = scale.unsqueeze(1)  # (S, 1, *obs)
        values = torch.stack([x.absorbing_value.detach() for x in agents])
        self.absorbing_value = nn.Parameter(values)
        for agent, part in zip(agents, self.absorbing_value.detach()):
            agent.absorbing_value.data = part
        for name in "critic", "actor", "target":
            if hasattr(first, name):
                setattr(self, name, StackedMLP([getattr(x, name) for x in agents]))
        self.target.requires_grad_(False)
        self.trainable = [x for x in self.parameters() if x.requires_grad]
        optimizer = optimizer or torch.optim.Adam
        self.optimizer = optimizer(self.trainable, lr=self.config.learning_rate, fused=True)

    def scaled(self, obs):
        return (obs.unflatten(0, (self.seeds, -1)) / self.obs_scale).flatten(0, 1)

    @torch.no_grad()
    def next_value(self, batch, critic):
        value = self.value(batch.next_obs, critic)
        absorbing = self.absorbing_value.repeat_interleave(len(value) // self.seeds)
        return torch.where(batch.terminated, absorbing, value)

    def sample(self, obs):
        """SoftActorCritic's, with the noise of each seed's own generator."""
        mean, log_std = self.normal(obs)
        shape = len(mean) // self.seeds, self.axes
        noise = [torch.empty(shape).normal_(generator=x.generator) for x in self.agents]
        return iq.squash(mean, log_std, torch.cat(noise))

    def update(self, batch: iq.Batch, is_expert: Tensor, loss_of: Callable) -> None:
        """One gradient step of every seed, by the sum of their losses."""
        loss, value = self.loss(batch, is_expert, loss_of)
        self.optimizer.zero_grad()
        self.backward(loss, self.seeds * value)  # where a mean over all seeds is taken
        self.clip_gradients(10.0)
        self.optimizer.step()
        self.move_target()

    def loss(self, batch, is_expert, loss_of):
        """The sum of the seeds' losses, and V(s) (S * B,).

        A loss is made of means over a seed's rows. So seeds that have as many of each
        kind share a call: its means are the means of theirs. Kinds differ only by the
        absorbing rows, one for each terminal row, of the expert's and of the learner's.
        """
        q, value = self.q_and_value(batch.obs, batch.action)
        next_value = self.next_value(batch, self.target)
        ends = batch.terminated.view(self.seeds, -1)
        expert_ends = (ends & is_expert).sum(1).tolist()
        groups: dict[tuple, list[int]] = {}
        for seed, kind in enumerate(zip(expert_ends, ends.sum(1).tolist())):
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
        return sum(losses), value

    def rows_of(self, group: list[int], column: Tensor) -> Tensor:
        """The rows of a group's seeds."""
        if len(group) == self.seeds:
            return column
        parts = column.unflatten(0, (self.seeds, -1)).unbind(0)
        return torch.cat([parts[seed] for seed in group])

    def part(self, group, number, q, value, next_value, initial=None):
        """What a loss asks an agent for, of a group's seeds; number: terminal rows."""
        return SimpleNamespace(
            config=self.config, default_value_term=self.default_value_term,
            absorbing_value=self.absorbing_value[group].repeat_interleave(number),
            target=self.target, q_and_value=lambda obs, action: (q, value),
            next_value=lambda batch, critic: next_value, value=lambda obs: initial)

    @torch.no_grad()
    def clip_gradients(self, limit: float) -> None:
        """Clip the gradient of each seed by its own norm."""
        grads = [x.grad for x in self.trainable if x.grad is not None]
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
        batches, first, at = {}, [], 0  # each diary once, however many seeds learn from it
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
        columns = [x[torch.stack(drawn)] for x in self.expert]
        if self.size:
            rows = torch.stack(own)
            columns = [torch.cat([x, y.flatten(0, 1)[rows]], 1)
                       for x, y in zip(columns, self.own)]
        is_expert = torch.arange(columns[0].shape[1]) < size
        return iq.Batch(*(x.flatten(0, 1) for x in columns), self.initial_obs), is_expert

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
    """S environments, stepped in turn; all seeds' actions come from one forward pass."""

    def __init__(self, together: Together, env: str):
        self.together, self.agents = together, together.agents
        self.network = getattr(together, "actor", together.critic)
        kind = type("Drawing", (Drawing, type(self.agents[0])), {})
        self.drawing = [kind(agent) for agent in self.agents]
        self.ready: list = [None] * len(self.agents)  # an observation, and its action
        self.rollouts = [
            iq.rollout(env, functools.partial(self.policy, seed), agent.config.seed, agent)
            for seed, agent in enumerate(self.agents)]

    def policy(self, seed: int, obs):
        """The action that is drawn already or, where an episode begins, a new one."""
        ready, self.ready[seed] = self.ready[seed], None
        if ready is not None and np.array_equal(ready[0], obs):
            return ready[1]
        return self.agents[seed].act(obs, greedy=False)

    def step(self) -> iq.Batch:
        """One step of every seed, a Batch of S rows."""
        steps = [next(x) for x in self.rollouts]
        obs, action, next_obs, terminated, *_ = zip(*steps)
        rows = self.together.to_batch(obs, action, next_obs, np.array(terminated))
        self.going = [(seed, x.next_observations) for seed, x in enumerate(steps)
                      if not (x.terminations or x.truncations)]
        self.next_obs = rows.next_obs
        return rows

    @torch.no_grad()
    def draw(self) -> None:
        """Draw the next actions of all seeds whose episode goes on."""
        outputs = self.network(self.together.scaled(self.next_obs)).split(1)
        for seed, obs in self.going:
            action = self.drawing[seed].select_action(outputs[seed], greedy=False)
            action = iq.decode_actions(action.numpy(), self.together.action_space)[0]
            self.ready[seed] = obs, action

    def close(self) -> None:
        for rollout in self.rollouts:
            rollout.close()


def learn_many(demos: iq.Demos | Sequence[iq.Demos], env: str | None = None,
               config: iq.Config | None = None, seeds: Iterable[int] = range(5),
               callback: Callable[[int, list], Any] | None = None,
               loss: Callable | None = None,
               optimizer: Callable | None = None) -> list[iq.Agent]:
    """What [iq.learn(demos, env, replace(config, seed=x)) for x in seeds] gives, sooner.

    demos: of all seeds, or of each. callback(step, agents) follows every update; `raise
    StopIteration` ends learning. loss(agent, batch, is_expert), a mean over rows, stands
    in for the agent's own; optimizer(weights, lr=..., fused=True) for Adam.
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
    rows, players = Rows(agents, every), Players(together, env) if env else None
    try:
        with iq.threads(1):
            for step in range(1, config.steps + 1):
                if players:
                    rows.add(players.step())
                together.update(*rows.sample(config.batch_size), loss or kind.loss)
                if players:
                    players.draw()
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
            weight.data = weight.data.clone()  # a memory of its own again
    return agents
