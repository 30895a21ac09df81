"""Agents: the methods of all three, inputs checked, own networks, files."""
import copy
import pickle
import random
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from helpers import (
    ENVS,
    KINDS,
    Constant,
    arguments,
    make_config,
    make_demos,
    same,
    weights,
)
from torch import nn

import iq

DEMOS = {kind: make_demos(kind) for kind in KINDS}
kinds = pytest.mark.parametrize("kind", KINDS)


def global_state():
    return [random.getstate(), str(np.random.get_state()),
            torch.get_rng_state().tolist(), torch.get_default_dtype(),
            torch.is_grad_enabled(), torch.get_num_threads()]


# ------------------------------------------------------------- the same seed, and alone

@kinds
@pytest.mark.parametrize("online", [False, True])
def test_the_same_seed_gives_the_same_weights_whatever_the_global_random_state(
        kind, online):
    def run(seed, disturbance):
        random.seed(disturbance)
        np.random.seed(disturbance)
        torch.manual_seed(disturbance)
        before = global_state()
        agent = iq.learn(DEMOS[kind], ENVS[kind] if online else None,
                         make_config(kind, seed=seed, steps=25))
        agent.act(np.zeros((3, 2)), greedy=False)
        assert global_state() == before
        return weights(agent)

    first = run(0, 1)
    assert same(first, run(0, 2))
    assert not same(first, run(1, 1))


def test_importing_prints_nothing_seeds_nothing_and_trains_nothing():
    code = """if True:
        import random, numpy, torch
        before = random.getstate(), str(numpy.random.get_state()), torch.get_rng_state()
        torch.optim.Optimizer.__init__ = torch.nn.Module.__init__ = None
        import iq
        after = random.getstate(), str(numpy.random.get_state()), torch.get_rng_state()
        assert before[:2] == after[:2] and torch.equal(before[2], after[2])
        assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    """
    done = subprocess.run([sys.executable, "-W", "error", "-c", code],
                          cwd=Path(iq.__file__).parent, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@kinds
def test_cpu_and_cuda_agree(kind, tmp_path):
    demos = DEMOS[kind]
    agents = [iq.new_agent(demos, make_config(kind, device=d)) for d in ("cpu", "cuda")]
    agents[1].load_state_dict(agents[0].state_dict())
    for verb, inputs in ("act", 1), ("log_prob", 2):
        a, b = (getattr(x, verb)(*arguments(demos)[:inputs]) for x in agents)
        assert np.allclose(a, b, atol=1e-4)
    iq.learn(demos, ENVS[kind], agent=agents[1])
    agents[1].save(tmp_path / "agent.pt")
    back = iq.load(tmp_path / "agent.pt")
    assert same(weights(back), weights(agents[1])) and back.config.device == "cpu"
    assert {x.device.type for x in back.parameters()} == {"cpu"}
    iq.learn(demos, ENVS[kind], replace(agents[1].config, device="cpu"),
             agent=agents[1])  # its replay moves with it


@kinds
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_torch_s_default_dtype_changes_no_agent_s(kind, dtype, tmp_path):
    """torch.set_default_dtype(torch.float64) is common where PyTorch does physics."""
    torch.set_default_dtype(dtype)
    try:
        for own in {}, networks_for(kind, 2):
            agent = iq.new_agent(DEMOS[kind], make_config(kind), **own)
            iq.learn(DEMOS[kind], ENVS[kind], agent=agent)
            agent.save(tmp_path / "agent.pt")
            back = iq.load(tmp_path / "agent.pt", **own)
            assert same(weights(back), weights(agent))
            assert {x.dtype for x in weights(agent).values()} == {torch.float32}
            reward = agent.reward(*arguments(DEMOS[kind]))
            assert reward.dtype == np.float32 and np.isfinite(reward).all()
    finally:
        torch.set_default_dtype(torch.float32)


# ---------------------------------------------------------------------------- methods

@kinds
def test_arrays_lists_and_double_precision_are_the_same_to_every_method(kind):
    def answers(convert):
        agent = iq.learn(DEMOS[kind], config=make_config(kind))
        s, a, s2, end = map(convert, arguments(DEMOS[kind]))
        return [agent.reward(s, a, s2, end), agent.log_prob(s, a), agent.act(s),
                agent.act(s, greedy=False)]

    first = answers(lambda x: x)
    assert all(isinstance(x, np.ndarray) and len(x) == len(DEMOS[kind])
               for x in first)
    def wide(x):
        return x.astype(np.float64 if x.dtype == np.float32 else x.dtype)

    for convert in np.ndarray.tolist, lambda x: x[::-1].copy()[::-1], wide:
        assert all(map(np.array_equal, answers(convert), first))


@kinds
def test_actions_may_be_flat_or_in_a_column_for_every_method(kind):
    def answers(shape):
        agent = iq.learn(DEMOS[kind], config=make_config(kind))
        s, a, s2, end = arguments(DEMOS[kind])
        return [agent.reward(s, a.reshape(shape), s2, end),
                agent.log_prob(s, a.reshape(shape))]

    assert all(map(np.array_equal, answers(-1), answers((-1, 1))))


@kinds
@pytest.mark.parametrize("greedy", [True, False])
def test_act_takes_a_single_observation_as_well_as_many(kind, greedy):
    demos, answers = DEMOS[kind], []
    for rows in 0, slice(0, 1):
        agent = iq.learn(demos, config=make_config(kind))
        answers.append(agent.act(demos.observations[rows], greedy))
    one, many = answers
    assert one.shape == demos.action_space.shape and np.array_equal(one, many[0])
    assert one.dtype == demos.action_space.dtype


def spoiled(x, row, value):
    x = x.astype(np.float64)
    x[row] = value
    return x


QUESTIONS = {  # of three transitions s, a, s', terminated: what is wrong, what it says
    "nan": (lambda s, a, s2, e: (spoiled(s, 1, np.nan), a, s2, e),
            r"^observations\[1, 0\] is nan; allowed: finite"),
    "inf": (lambda s, a, s2, e: (spoiled(s, 2, -np.inf), a, s2, e),
            r"^observations\[2, 0\] is -inf; allowed: finite"),
    "too large for float32": (lambda s, a, s2, e: (spoiled(s, 1, 1e300), a, s2, e),
                              r"^observations\[1, 0\] is 1e\+300; allowed: finite"),
    "nan in the next": (lambda s, a, s2, e: (s, a, spoiled(s2, 1, np.nan), e),
                        r"^next_observations\[1, 0\] is nan"),
    "an input too many": (lambda s, a, s2, e: (np.append(s, s, 1), a, s2, e),
                          r"^observations\b.*\(3, 4\); allowed: .*\(3, 2\)"),
    "one action": (lambda s, a, s2, e: (s, a[:1], s2, e), r"^actions\b.*\(3,"),
    "terminations in a column": (lambda s, a, s2, e: (s, a, s2, e[:, None]),
                                 r"^terminations\b.*\(3, 1\); allowed: bool.*\(3,\)"),
    "terminations of one row": (lambda s, a, s2, e: (s, a, s2, e[:1]), "^terminations"),
    "terminations as numbers": (lambda s, a, s2, e: (s, a, s2, e * 1.0),
                                r"^terminations\b.*float64"),
    "one row less": (lambda s, a, s2, e: (s, a, s2[1:], e), "^next_observations"),
    "bytes": (lambda s, a, s2, e: (s.astype(np.uint8), a, s2, e),
              r"^observations\b.*uint8.*float32"),
    "words": (lambda s, a, s2, e: (s.astype(str), a, s2, e), "^observations"),
    "an action outside": (lambda s, a, s2, e: (s, a + 7, s2, e), r"^actions\[0\] is"),
    "actions of None": (lambda s, a, s2, e: (s, [None] * 3, s2, e), "^actions"),
}


@kinds
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_bad_question_is_refused_by_name_place_and_what_is_allowed(kind, name):
    spoil, says = QUESTIONS[name]
    agent = iq.new_agent(DEMOS[kind], make_config(kind))
    s, a, s2, end = asked = spoil(*arguments(DEMOS[kind], slice(3)))
    with pytest.raises(ValueError, match=says):
        agent.reward(*asked)
    if says.startswith(("^obs", "^act")):
        with pytest.raises(ValueError, match=says):
            agent.log_prob(s, a)
    if says.startswith("^obs"):
        with pytest.raises(ValueError, match=says):
            agent.act(s)


@kinds
@pytest.mark.parametrize("obs", [np.full(2, np.nan), np.zeros(3), np.float32(0),
                                 np.zeros((1, 1, 2)), "up", None, {}], ids=repr)
def test_act_refuses_a_single_bad_observation(kind, obs):
    with pytest.raises(ValueError, match="^observations"):
        iq.new_agent(DEMOS[kind], make_config(kind)).act(obs)


def test_the_reward_is_q_less_the_discounted_value_of_the_next_state():
    """By SoftQ's functions of tensors, at a terminal the learned value V_A."""
    demos = DEMOS["discrete"]
    agent = iq.learn(demos, "Walk-v0", make_config(steps=30, gamma=0.7))
    s, a, s2, end = map(torch.as_tensor, arguments(demos))
    with torch.no_grad():
        q, v = agent.q(s, a).numpy(), agent.value(s2).numpy()
    v_a = agent.absorbing_value.item()
    reward = agent.reward(*arguments(demos))
    assert end.any() and v_a != 0
    assert reward == pytest.approx(q - 0.7 * np.where(end, v_a, v), abs=1e-5)
    agent = iq.learn(demos, config=make_config(steps=30, absorbing=False))
    with torch.no_grad():
        q = agent.q(s, a).numpy()
    assert agent.reward(*arguments(demos))[end] == pytest.approx(q[end], abs=1e-6)


def test_the_critic_sees_actions_from_minus_1_to_1():
    seen = []

    class Watching(nn.Linear):
        def forward(self, obs, action):
            seen.append(action)
            return super().forward(action)

    space = Box(np.float32([-2, 10]), np.float32([2, 30]))
    actions = np.float32([[-2, 10], [2, 30], [1, 15]])
    agent = iq.SoftActorCritic(np.zeros(3, np.float32), space,
                               make_config("actor_critic"), critic=Watching(2, 1))
    agent.reward(np.zeros((3, 3)), actions, np.zeros((3, 3)), np.zeros(3, bool))
    expected = torch.tensor([[-1.0, -1], [1, 1], [0.5, -0.5]])
    assert any(torch.equal(x, expected) for x in seen)


# -------------------------------------------------------------------- a user's networks

class Own(nn.Module):
    """A network of one's own, with any layers within."""

    def __init__(self, inputs, outputs, *layers):
        super().__init__()
        self.body = nn.Sequential(
    nn.Linear(
        inputs,
        16),
        *layers,
        nn.Linear(
            16,
             outputs))

    def forward(self, *inputs):
        return self.body(torch.cat(inputs, 1))


def networks_for(kind, inputs, *layers, seed=0):
    """A user's own, with outputs as the class tells."""
    torch.manual_seed(seed)
    if kind == "actor_critic":
        return {"critic": Own(inputs + 1, 1, *copy.deepcopy(layers)),
                "actor": Own(inputs, 2, *layers)}
    return {"critic": Own(inputs, 2 if kind == "discrete" else 3, *layers)}


class Eye(nn.Module):
    """A small image encoder (B, 3, 8, 8) bytes -> features, with a head."""

    def __init__(self, outputs, extra=0):
        super().__init__()
        self.see = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(4 * 9 + extra, outputs)

    def forward(self, image, *action):
        assert image.shape[1:] == (3, 8, 8) and image.dtype == torch.float32
        return self.head(torch.cat([self.see(image), *action], 1))


def images(kind, n=40):
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 256, (n + 1, 3, 8, 8), np.uint8)
    space = Discrete(2) if kind == "discrete" else Box(-1.0, 5.0, (2,))
    actions = (seen[:-1, 0, 0, 0] > 127).astype(np.int64)  # the picture shows it
    if kind != "discrete":
        actions = rng.uniform(-1, 5, (n, 2)).astype(np.float32)
    ends = np.arange(n) == n - 1
    return iq.Demos(space, observations=seen[:-1], actions=actions, terminations=ends,
                    next_observations=seen[1:], truncations=ends & False)


def eyes(kind):
    torch.manual_seed(0)
    if kind == "actor_critic":
        return {"critic": Eye(1, extra=2), "actor": Eye(4)}
    return {"critic": Eye(2 if kind == "discrete" else 5)}


@kinds
def test_images_are_learned_by_a_user_s_user_networks(kind, tmp_path):
    demos, own = images(kind), eyes(kind)
    agent = iq.new_agent(demos, make_config(kind, steps=20), **own)
    before = weights(agent)
    iq.learn(demos, agent=agent)
    for name in own:
        assert all(not torch.equal(x, before[k]) for k, x in weights(agent).items()
                   if k.startswith(name + "."))
    assert np.isfinite(agent.reward(*arguments(demos))).all()
    agent.save(tmp_path / "agent.pt")
    back = iq.load(tmp_path / "agent.pt", **eyes(kind))
    assert same(weights(back), weights(agent))
    assert np.array_equal(back.act(demos.observations), agent.act(demos.observations))


@kinds
def test_load_says_which_networks_it_needs_and_which_do_not_fit(kind, tmp_path):
    path = tmp_path / "agent.pt"
    own = networks_for(kind, 2)
    iq.new_agent(DEMOS[kind], make_config(kind), **own).save(path)
    with pytest.raises(ValueError) as caught:
        iq.load(path)
    assert all(f"{name}=" in str(caught.value) for name in own)
    assert str(path) in str(caught.value) and "KeyError" not in str(caught.value)
    with pytest.raises(ValueError, match="agent.pt") as caught:
        iq.load(path, **networks_for(kind, 2, nn.Tanh(), nn.Linear(16, 16)))
    assert "critic" in str(caught.value) and "\n" not in str(caught.value)
    iq.new_agent(DEMOS[kind], make_config(kind)).save(path)
    with pytest.raises(ValueError, match="agent.pt"):
        iq.load(path, **own)  # which the saved agent does not have


def test_large_images_need_a_network_of_one_s_own_and_it_is_loaded(tmp_path):
    class Mean(nn.Linear):
        def forward(self, image):
            return super().forward(image.flatten(1).mean(1, keepdim=True))

    image = np.zeros((3, 480, 640), np.uint8)
    with pytest.raises(ValueError, match="921600 inputs.*network of your own.*critic"):
        iq.SoftQ(image, Discrete(2))
    agent = iq.SoftQ(image, Discrete(2), critic=Mean(1, 2))
    agent.save(tmp_path / "agent.pt")
    back = iq.load(tmp_path / "agent.pt", critic=Mean(1, 2))
    assert same(weights(back), weights(agent))


def test_an_image_network_learns_what_the_expert_does():
    demos = images("discrete")
    config = make_config(steps=300, learning_rate=3e-3, batch_size=32)
    agent = iq.new_agent(demos, config, **eyes("discrete"))
    iq.learn(demos, agent=agent)
    assert (agent.act(demos.observations) == demos.actions).mean() > 0.9


@kinds
def test_dropout_and_batch_norm_train_in_an_update_and_nowhere_else(kind, tmp_path):
    demos = DEMOS[kind]
    layers = nn.BatchNorm1d(16), nn.Dropout(0.5)
    own = networks_for(kind, 2, *layers)
    agent = iq.new_agent(demos, make_config(kind, target_rate=0.5), **own)
    seen, modes = [], []
    agent.critic.register_forward_hook(lambda net, *_: modes.append(net.training))
    agent.target.register_forward_hook(
        lambda net, *_: modes.append("target") if net.training else None)

    def methods(step=0, info=None):
        before = weights(agent)
        acts = [agent.act(demos.observations) for _ in range(2)]
        assert np.array_equal(*acts)
        iq.evaluate(agent, ENVS[kind], 1, seed=0)
        agent.reward(*arguments(demos))
        agent.log_prob(*arguments(demos)[:2])
        assert same(weights(agent), before)
        seen.append(before)

    methods()
    iq.learn(demos, ENVS[kind], callback=methods, agent=agent)
    moved = {k for k in seen[0] if "running" in k
             and not torch.equal(seen[0][k], seen[-1][k])}
    assert {k.split(".")[0] for k in moved} == {"target", *own}  # buffers follow
    assert True in modes and False in modes and "target" not in modes
    last = weights(agent)
    for name, x in last.items():
        if name.startswith("target") and "running" in name:
            assert torch.equal(x, last[name.replace("target", "critic")])
    agent.save(tmp_path / "a.pt")
    back = iq.load(tmp_path / "a.pt", **networks_for(kind, 2, *layers))
    assert np.array_equal(back.act(demos.observations), agent.act(demos.observations))


def test_a_subclass_s_networks_train_in_an_update_and_nowhere_else():
    """build_networks may be overridden as well."""
    class Dropping(iq.SoftQ):
        def build_networks(self):
            self.critic = nn.Sequential(
    nn.Linear(
        2, 8), nn.Dropout(0.5), nn.Linear(
            8, 2))

    demos, modes = DEMOS["discrete"], []
    agent = Dropping(demos.observations[0], demos.action_space, make_config())
    agent.critic.register_forward_hook(lambda net, *_: modes.append(net.training))
    obs = torch.as_tensor(demos.observations)
    assert torch.equal(agent.value(obs), agent.value(obs)) and modes == [False] * 2
    iq.learn(demos, agent=agent)
    assert True in modes
    assert torch.equal(agent.value(obs), agent.value(obs)) and not modes[-1]


@pytest.mark.parametrize("kind, name, network, says", [
    ("discrete", "critic", lambda: nn.Linear(2, 3), r"\(1, 3\).*\(1, 2\)"),
    ("discrete", "critic", lambda: nn.Sequential(nn.Linear(2, 2), nn.Flatten(0)), "2,"),
    ("naf", "critic", lambda: nn.Linear(2, 2), r"\(1, 2\).*\(1, 3\)"),
    ("actor_critic", "critic", lambda: Own(3, 2), r"\(1, 2\).*\(1, 1\)"),
    ("actor_critic", "actor", lambda: nn.Linear(2, 1), r"\(1, 1\).*\(1, 2\)")])
def test_a_network_of_other_outputs_is_refused_when_it_is_passed(
        kind, name, network, says):
    with pytest.raises(ValueError, match=f"{name}.*{says}"):
        iq.new_agent(DEMOS[kind], make_config(kind), **{name: network()})


@kinds
def test_one_network_for_several_seeds_is_copied_for_each(kind):
    """In a loop over seeds the second agent would begin with what the first learned."""
    own = networks_for(kind, 2, nn.Tanh())
    before = {name: copy.deepcopy(net.state_dict()) for name, net in own.items()}
    first, second = (iq.learn(DEMOS[kind], config=None, agent=iq.new_agent(
        DEMOS[kind], make_config(kind), **own)) for _ in range(2))
    assert same(weights(first), weights(second))
    for name, net in own.items():
        assert getattr(first, name) is not net and net.training
        assert same(before[name], net.state_dict())
        assert not same(before[name], getattr(first, name).state_dict())


def test_networks_that_share_an_encoder_get_one_each():
    """The actor's objective would move the critic by an encoder that both have."""
    encoder = nn.Linear(2, 8)

    class Critic(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = encoder, nn.Linear(9, 1)

        def forward(self, obs, action):
            return self.head(torch.cat([self.encoder(obs), action], 1))

    actor = nn.Sequential(encoder, nn.Tanh(), nn.Linear(8, 2))
    agent = iq.new_agent(DEMOS["actor_critic"], make_config("actor_critic"),
                         critic=Critic(), actor=actor)
    assert agent.critic.encoder is not agent.actor[0]
    iq.learn(DEMOS["actor_critic"], agent=agent)
    assert not torch.equal(agent.critic.encoder.weight, agent.actor[0].weight)


# ---------------------------------------------------------------------- agents travel

def learn_a_seed(demos, env, config, seed):
    return iq.learn(demos, env, replace(config, seed=seed))


def test_five_seeds_in_a_process_pool_are_those_of_one_process():
    demos, config = DEMOS["discrete"], make_config(steps=5)
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        agents = [*pool.map(partial(learn_a_seed, demos, "Walk-v0", config), range(5))]
    for seed, agent in enumerate(agents):
        alone = learn_a_seed(demos, "Walk-v0", config, seed)
        assert agent.config.seed == seed and same(weights(agent), weights(alone))


WAYS = {"pickled": lambda x: pickle.loads(pickle.dumps(x)), "copied": copy.deepcopy}


@kinds
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("own", [False, True])
def test_an_agent_that_is_pickled_or_copied_learns_on_like_the_first(kind, way, own):
    demos = DEMOS[kind]
    networks = networks_for(kind, 2, nn.Dropout(0.5)) if own else {}
    agent = iq.new_agent(demos, make_config(kind), **networks)
    if not own:  # dropout draws from torch's own generator
        iq.learn(demos, ENVS[kind], agent=agent)
    other = WAYS[way](agent)
    assert same(weights(agent), weights(other)) and other.config == agent.config
    assert np.array_equal(agent.act(demos.observations), other.act(demos.observations))
    for one in agent, other:
        torch.manual_seed(0)
        iq.learn(demos, ENVS[kind], agent=one)
    assert same(weights(agent), weights(other))
    assert agent.replay.size == other.replay.size


# ------------------------------------------------------------------------- checkpoints

@kinds
def test_a_loaded_agent_acts_and_learns_on_as_the_saved_one(kind, tmp_path):
    demos, path = DEMOS[kind], tmp_path / "agent.pt"
    agent = iq.learn(demos, ENVS[kind], make_config(kind, steps=30))
    agent.save(path)
    back = iq.load(path)
    assert [x.name for x in tmp_path.iterdir()] == ["agent.pt"]
    assert type(back) is type(agent) and back.config == agent.config
    assert back.action_space == agent.action_space
    assert same(weights(back), weights(agent))
    assert np.array_equal(back.act(demos.observations), agent.act(demos.observations))
    assert np.array_equal(back.log_prob(*arguments(demos)[:2]),
                          agent.log_prob(*arguments(demos)[:2]))
    batch = agent.to_batch(*arguments(demos))
    with torch.no_grad():
        q, other = (x.q(batch.obs, batch.action) for x in (agent, back))
    assert torch.equal(q, other)
    agent.replay = iq.Replay()  # which files do not keep
    more = replace(agent.config, steps=7)
    for one in agent, back:  # both with a new optimizer, by the seed of a Config
        iq.learn(demos, ENVS[kind], more, agent=one)
    assert same(weights(back), weights(agent))


@kinds
def test_an_agent_of_big_endian_demonstrations_can_be_saved(kind, tmp_path):
    data = {name: x.astype(x.dtype.newbyteorder(">"))
            for name, x in DEMOS[kind].columns.items()}
    agent = iq.learn(iq.Demos(DEMOS[kind].action_space, **data),
                     config=make_config(kind))
    agent.save(tmp_path / "agent.pt")
    plain = iq.learn(DEMOS[kind], config=make_config(kind))
    assert same(weights(iq.load(tmp_path / "agent.pt")), weights(plain))


def test_a_save_that_fails_leaves_the_old_agent(tmp_path, monkeypatch):
    path = tmp_path / "agent.pt"
    agent = iq.new_agent(DEMOS["discrete"], make_config())
    agent.save(path)
    before = path.read_bytes()

    def half(state, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        agent.save(path)
    assert path.read_bytes() == before and [*tmp_path.iterdir()] == [path]


def test_constant_networks_give_the_share_of_each_action():
    demos = iq.Demos(Discrete(3), **DEMOS["discrete"].columns)
    agent = iq.new_agent(demos, make_config(temperature=0.05),
                         critic=Constant(0.0, 0.02, -0.05))
    share = np.exp(agent.log_prob(np.zeros((3, 2)), np.arange(3)))
    assert share.sum() == pytest.approx(1, abs=1e-5)
    drawn = agent.act(np.zeros((20_000, 2)), greedy=False)
    assert np.bincount(drawn) / 20_000 == pytest.approx(share, abs=0.02)  # 5 sigma
    assert agent.act(np.zeros(2)) == share.argmax()
