"""Demonstrations from other libraries, and back: one function a library.

Each reader gives iq.Demos, and asks for what its library does not tell. Copy the one
you need, with the imports below and, where it is used, choose_inputs.

After any of them, compare demos.returns() with what the expert is known to reach: every
trap that is named here, and most that are not, shows in that number. An episode that was
cut, by a time limit or by whoever recorded it, ends with a truncation.

Versions are those of tests/real, where each function is tried on the library itself.
"""

import gymnasium as gym
import numpy as np

import iq


def choose_inputs(observations, keys=None):
    """One array (T, ...) from a library's observations.

    Where they are a dict of arrays, keys names those that the agent shall see, in this
    order, side by side: (T, sum of sizes). gymnasium's FlattenObservation, in the
    environment, joins a Dict in the alphabetical order of its keys.
    """
    if not hasattr(observations, "items"):
        return np.asarray(observations)
    there = dict(observations.items())
    if not keys or set(keys) - set(there):
        raise ValueError(
            f"observations are a dict of {sorted(there)}, and keys is {keys}: name "
            f"those that the agent shall see, keys=[...]")
    if len(keys) == 1:
        return np.asarray(there[keys[0]])
    return np.concatenate([np.reshape(there[k], (len(there[k]), -1)) for k in keys], 1)


# ------------------------------------------------------------------ Minari, imitation


def from_minari(dataset, keys=None):
    """A dataset of Minari 0.5.4: minari.load_dataset("D4RL/pen/expert-v2").

    Kept: T + 1 observations, actions, rewards, both ends, the action space. Dropped
    here: infos, seeds and options of resets.
    - Install Pillow too: no extra of Minari names it, and nothing can be recorded or
      read without it.
    - Images of uint8 from 32x32 on were stored as JPEG, unless the dataset was made
      with jpeg_encoding=False: they are not quite what the expert saw.
    - A Dict of observations comes as a dict of arrays: name keys.
    - An episode that a reset broke off is marked as truncated, like a time limit.
    - dataset.recover_environment() makes the environment to be evaluated in.
    """
    episodes = list(dataset.iterate_episodes())
    return iq.Demos.from_episodes(
        [choose_inputs(e.observations, keys) for e in episodes],
        [e.actions for e in episodes],
        [e.terminations for e in episodes],
        dataset.action_space,
        [e.rewards for e in episodes])


def to_minari(demos, dataset_id, env=None):
    """Keep Demos as a local dataset of Minari 0.5.4, and give it back.

    dataset_id: a name such as "mine/cartpole-v0". env: the environment or its name, to
    be kept beside the data; without it Minari can't evaluate.
    Minari keeps no unknown rewards, and needs the observation after every action: rows
    that subsample took are refused. Images are kept whole, not as JPEG.
    """
    import minari
    from minari.data_collector import EpisodeBuffer

    if demos.rewards is None:
        raise ValueError("Minari keeps rewards, and these demos have none: make them "
                         "again with rewards, zeros if they are not known")
    observations = demos.observations
    low, high = -np.inf, np.inf
    if observations.dtype.kind in "iu":
        low, high = np.iinfo(observations.dtype).min, np.iinfo(observations.dtype).max
    space = gym.spaces.Box(low, high, observations.shape[1:], observations.dtype)
    buffers = []
    for rows in np.split(np.arange(len(demos)), np.flatnonzero(demos.starts)[1:]):
        follows = demos.next_observations[rows[:-1]] == observations[rows[1:]]
        if not follows.all():
            raise ValueError("rows are missing between an observation and the next: "
                             "convert demos before subsample")
        whole = np.append(observations[rows], demos.next_observations[rows[-1:]], 0)
        buffers.append(EpisodeBuffer(
            id=len(buffers), observations=list(whole), actions=list(demos.actions[rows]),
            rewards=list(demos.rewards[rows]),
            terminations=list(demos.terminations[rows]),
            truncations=list(demos.truncations[rows])))
    return minari.create_dataset_from_buffers(
        dataset_id, buffers, env=env, observation_space=space,
        action_space=demos.action_space, jpeg_encoding=False)


def from_imitation(trajectories, action_space, terminated=None, keys=None):
    """Trajectories of imitation 1.0.1: rollout.rollout(...), or serialize.load(path).

    Kept: T + 1 observations, actions, rewards, whether the episode was finished.
    - `terminal` means finished: it is True at a time limit, too. Which of the two it
      was stands in infos[-1]["TimeLimit.truncated"], kept with exclude_infos=False
      alone. Where that is absent, say it: terminated=True or False for all, or a list
      with one bool a trajectory.
    - A trajectory that is not terminal is a fragment, broken off; if pop_trajectories
      cut an episode in two, the second begins in its middle.
    - rollout draws from the policy by default: deterministic_policy=True. It shuffles
      the trajectories, and gives more than were asked for.
    - serialize.load gives float64 and int64, whatever was saved. Learning does not
      mind; cast images back to uint8.
    - infos of a file are decoded by jsonpickle, which can run code: trust the file.
    It pins gymnasium 0.29, where iq.py runs, too; elsewhere it can't be beside iq.py.
    """
    ends = []
    for i, trajectory in enumerate(trajectories):
        told = None
        if trajectory.terminal and trajectory.infos is not None:
            told = trajectory.infos[-1].get("TimeLimit.truncated")
        if not trajectory.terminal:
            ends.append(False)
        elif terminated is not None:
            ends.append(bool(np.broadcast_to(terminated, len(trajectories))[i]))
        elif told is not None:
            ends.append(not told)
        else:
            raise ValueError(
                f"trajectory {i} does not tell whether it ended or was cut by a time "
                "limit: `terminal` is True for both. Record with exclude_infos=False, "
                "or say it: terminated=True, False, or a list of a bool for each")
    rewards = [getattr(t, "rews", None) for t in trajectories]
    return iq.Demos.from_episodes(
        [choose_inputs(t.obs, keys) for t in trajectories],
        [np.reshape(t.acts, (-1, *action_space.shape)) for t in trajectories],
        ends, action_space, None if any(r is None for r in rewards) else rewards)


def to_imitation(demos):
    """Demos as trajectories of imitation 1.0.1, with rewards if they are known.

    `terminal` is True for all, as imitation has it for every finished episode. Which
    were truncated stands in infos[-1]["TimeLimit.truncated"]; from_imitation reads it.
    Rows that subsample took are refused: the observation after each action is needed.
    """
    from imitation.data.types import Trajectory, TrajectoryWithRew

    trajectories = []
    for rows in np.split(np.arange(len(demos)), np.flatnonzero(demos.starts)[1:]):
        follows = demos.next_observations[rows[:-1]] == demos.observations[rows[1:]]
        if not follows.all():
            raise ValueError("rows are missing between an observation and the next: "
                             "convert demos before subsample")
        cut = demos.truncations[rows] & ~demos.terminations[rows]
        infos = [{"TimeLimit.truncated": bool(x)} for x in cut]
        columns = {
            "obs": np.append(
                demos.observations[rows], demos.next_observations[rows[-1:]], 0),
            "acts": demos.actions[rows], "infos": np.array(infos), "terminal": True}
        trajectories.append(
            Trajectory(**columns) if demos.rewards is None
            else TrajectoryWithRew(**columns, rews=np.float64(demos.rewards[rows])))
    return trajectories


# ----------------------------------------------------------------- Stable-Baselines3


class NoteResets(gym.Wrapper):
    """Remembers whether the next observation is the first of an episode."""

    def reset(self, **options):
        self.episode_start = True
        return super().reset(**options)


def from_sb3(model, env, episodes, seed=0, deterministic=True, vec_normalize=None):
    """A policy of Stable-Baselines3 2.9.2 or sb3-contrib, played in env for episodes.

    env: an environment or its name, with the wrappers that model was trained in.
    - predict draws by default, and an expert is usually worth more by its mode:
      deterministic=True here.
    - A policy that was trained under VecNormalize sees normalized observations. Its
      statistics are in a file of their own: VecNormalize.load(path, venv). They are
      taken from the model where it has its environment; a model that was loaded alone
      does not tell, so say vec_normalize=..., or False where there was none.
    - Recurrent policies get their state handed on, and reset with the episode.
    Demos hold env's own observations, not normalized ones: the learner sees those.
    """
    if vec_normalize is None:
        if model.get_env() is None:
            raise ValueError(
                "this model was loaded without its environment and does not tell "
                "whether VecNormalize scaled what it saw: hand in vec_normalize="
                "VecNormalize.load(path, venv), or vec_normalize=False")
        vec_normalize = model.get_vec_normalize_env() or False
    env = NoteResets(gym.make(env) if isinstance(env, str) else env)
    state = None

    def policy(obs):
        nonlocal state
        seen = vec_normalize.normalize_obs(obs) if vec_normalize else obs
        begins = np.array([env.episode_start])
        state = None if env.episode_start else state
        action, state = model.predict(seen, state, begins, deterministic)
        env.episode_start = False
        return action

    return iq.record(env, policy, episodes, seed)


def from_sb3_buffer(buffer, terminated=None):
    """The replay buffer of Stable-Baselines3 2.9.2: model.replay_buffer.

    Kept: true next observations, actions in -1 to 1 (given back in the environment's
    units here), rewards, and `dones`, which include time limits: `timeouts` tells them
    apart. Where the buffer was made with handle_timeout_termination=False they can't
    be told apart: say terminated=True if the environment has no time limit, False if
    all its episodes end by one.
    - It holds a learner's training, with its early blunders and its noise. For the
      expert's own way, play the policy: from_sb3.
    - Under optimize_memory_usage=True the next observation at an end is that of the
      reset: refused. So are rollout buffers of PPO and A2C: they keep no next
      observations, and actions before they were clipped to the bounds. Play the policy.
    - Images are channels first, (3, H, W), whatever the environment gives.
    - Of a full buffer the oldest episode has lost its beginning.
    """
    if not hasattr(buffer, "next_observations"):
        raise ValueError(f"{type(buffer).__name__} does not keep the observation at the "
                         "end of an episode: play the policy with from_sb3")
    if hasattr(buffer.observations, "items"):
        raise ValueError("the buffer's observations are a dict: train with gymnasium's "
                         "FlattenObservation, or play the policy with from_sb3")
    if not buffer.handle_timeout_termination and terminated is None:
        raise ValueError("this buffer's dones do not tell ends from time limits: say "
                         "terminated=True (no time limit) or False (no other ends)")
    rows = np.arange(buffer.size())  # oldest first, for each of the environments
    if buffer.full:
        rows = np.roll(rows, -buffer.pos)

    def column(values):  # (rows, environments, ...) -> one environment after another
        return np.concatenate([*np.swapaxes(values[rows], 0, 1)])

    space = buffer.action_space
    actions = column(buffer.actions).reshape(-1, *space.shape)
    if isinstance(space, gym.spaces.Box):
        low, high = np.float64(space.low), np.float64(space.high)
        actions = (low + (actions + 1.0) / 2 * (high - low)).astype(space.dtype)
        actions = actions.clip(space.low, space.high)
    dones, limits = column(buffer.dones) > 0, column(buffer.timeouts) > 0
    if not buffer.handle_timeout_termination:
        limits = dones & (not terminated)
    last = np.arange(1, len(dones) + 1) % len(rows) == 0  # of an environment's rows
    ends = dones | last
    return iq.Demos(
        space, observations=column(buffer.observations), actions=actions,
        next_observations=column(buffer.next_observations),
        terminations=dones & ~limits, truncations=ends & ~(dones & ~limits),
        rewards=column(buffer.rewards), episode_ids=np.append(0, ends[:-1].cumsum()))


# ------------------------------------------------------ d3rlpy, tianshou and torchrl


def from_d3rlpy(episodes, action_space):
    """Episodes of d3rlpy 2.8.1: dataset.episodes, of an MDPDataset or ReplayBuffer.

    Kept: T observations for T actions, rewards, one `terminated` an episode.
    - The observation after the last action is not there. Of an episode that was cut,
      the last action and its reward are dropped here, so that its return is one reward
      short. Of one that ended they stay, and its last observation stands twice: what
      comes after an end is never read by learning.
    - MDPDataset has dropped the rows after the last end already, without a word; hand
      it timeouts with the last row True.
    - Discrete actions come as (T, 1), rewards as (T, 1).
    """
    wholes, actions, ends, rewards = [], [], [], []
    for e in episodes:
        kept = len(e.actions) if e.terminated else len(e.actions) - 1
        if kept == 0:
            continue
        observations = choose_inputs(e.observations)
        again = observations[-1:] if e.terminated else observations[:0]
        wholes.append(np.append(observations, again, 0))
        actions.append(np.reshape(e.actions, (-1, *action_space.shape))[:kept])
        rewards.append(np.ravel(e.rewards)[:kept])
        ends.append(e.terminated)
    return iq.Demos.from_episodes(wholes, actions, ends, action_space, rewards)


def from_tianshou(buffer, action_space, map_action=None):
    """The buffer of a Collector of tianshou 2.0.1: ReplayBuffer, VectorReplayBuffer.

    Kept: true next observations, both ends, rewards; actions as the policy gave them,
    before it scaled them to the environment's bounds and clipped them. For a Box hand
    in map_action=policy.map_action, or False if the buffer was filled with actions in
    the environment's own units.
    - buffer.obs[:len(buffer)] of a VectorReplayBuffer takes rows that were never
      filled, and leaves out others: rows are asked for by sample_indices(0) here.
    - A Collector explores while it trains; of an expert take one that tests.
    - Of a full buffer the oldest episode has lost its beginning.
    """
    if isinstance(action_space, gym.spaces.Box) and map_action is None:
        raise ValueError(
            "the buffer keeps actions before the policy maps them to the environment: "
            "hand in map_action=policy.map_action, or False if they were not mapped")
    if buffer.options.get("ignore_obs_next"):
        raise ValueError("a buffer with ignore_obs_next=True has lost the observation "
                         "at the end of an episode: collect again without it")
    rows = buffer.sample_indices(0)  # all that are filled, in order of time
    data = buffer[rows]
    actions = np.asarray(map_action(data.act) if map_action else data.act)
    ends = data.terminated | data.truncated | np.isin(rows, buffer.last_index)
    return iq.Demos(
        action_space, observations=choose_inputs(data.obs),
        actions=actions.reshape(-1, *action_space.shape),
        next_observations=choose_inputs(data.obs_next), terminations=data.terminated,
        truncations=ends & ~data.terminated, rewards=data.rew,
        episode_ids=np.append(0, ends[:-1].cumsum()))


def from_torchrl(data, action_space, observation="observation", terminated=None):
    """A TensorDict of torchrl 0.14.1, from a collector, env.rollout or buffer[:].

    data: (T,), or (B, T) of B environments, in order of time; what split_trajectories
    padded is left out. observation: the key of what the agent shall see.
    Kept: true next observations, rewards, both ends. Discrete actions are one-hot,
    unless the environment was made with categorical_action_encoding=True.
    - ("next", "terminated") is the end. The root's "terminated" tells of the state
      before the action, so that it lags by a row; "done" includes time limits. Where
      "next" has "done" alone, say terminated=True or False, for all episodes.
    - A collector's policy draws, unless set_exploration_type says otherwise.
    - env.rollout(100) stops at the first end, or after 100 steps; the latter it does
      not mark as truncated.
    """
    if data.ndim > 1:
        last = np.zeros(data.shape, bool)
        last[..., -1] = True
        last = last.ravel()
        data = data.reshape(-1)
    else:
        last = np.arange(1, len(data) + 1) == len(data)
    keys = set(data.keys(True, True))

    def column(*path):
        return data[path].detach().cpu().numpy()

    def flags(name):
        path = ("next", name)
        return column(*path).reshape(-1) if path in keys else np.zeros(len(last), bool)

    if ("next", "terminated") in keys:
        ended = flags("terminated")
    elif terminated is None:
        raise ValueError('"next" has no "terminated", and its "done" includes time '
                         "limits: say terminated=True or False, for all episodes")
    else:
        ended = flags("done") & terminated
    last |= flags("done") | flags("truncated") | ended
    if ("collector", "traj_ids") in keys:
        ids = column("collector", "traj_ids").reshape(-1)
        last |= np.append(ids[1:] != ids[:-1], True)
    actions = column("action")
    if isinstance(action_space, gym.spaces.Discrete):
        if actions.shape[1:] == (action_space.n,):
            actions = actions.argmax(1)
        actions = actions.reshape(-1) + action_space.start
    there = np.ones(len(last), bool)
    if ("collector", "mask") in keys:
        there = column("collector", "mask").reshape(-1)
        last |= np.append(~there[1:], True)
    return iq.Demos(
        action_space, observations=column(observation)[there], actions=actions[there],
        next_observations=column("next", observation)[there],
        terminations=ended[there], truncations=(last & ~ended)[there],
        rewards=column("next", "reward").reshape(-1)[there],
        episode_ids=np.append(0, last[there][:-1].cumsum()))


# --------------------------------------------------------- robots: files of episodes


def from_robomimic(file, action_space, keys, terminated, mask=None):
    """An HDF5 file in the layout of robomimic 0.3: h5py.File("low_dim_v15.hdf5").

    keys: of "obs", those that the agent shall see. mask: a filter such as "train".
    Kept: observations by key, actions, rewards, `dones`, and next_obs if the file was
    made with it. The action space is not in the file: robosuite's is Box(-1, 1, (7,)).
    - `dones` can't be read: dataset_states_to_obs.py sets them at success, at the end
      of the recording, or at both (--done_mode 0, 1, 2), and the file does not say
      which. So say terminated: True where the world ends with the episode, else
      False; or a list of a bool for each demonstration. robosuite's worlds do not end
      at success.
    - By name demo_10 comes before demo_2: the order here is by number.
    - Without next_obs the observation after the last action is not there: the last
      action of an episode that was cut is dropped; of one that ended, its last
      observation stands twice.
    """
    names = [n.decode() for n in file["mask"][mask][()]] if mask else list(file["data"])
    names = sorted(names, key=lambda name: int(name.rsplit("_", 1)[1]))
    wholes, actions, rewards, ends = [], [], [], []
    for name, ended in zip(names, np.broadcast_to(terminated, len(names)), strict=True):
        demo = file["data"][name]
        observations = choose_inputs({k: demo["obs"][k][()] for k in demo["obs"]}, keys)
        if "next_obs" in demo:
            after = {k: demo["next_obs"][k][()] for k in demo["next_obs"]}
            after = choose_inputs(after, keys)[-1:]
        else:
            after = observations[-1:] if ended else observations[:0]
        wholes.append(np.append(observations, after, 0))
        kept = len(wholes[-1]) - 1
        actions.append(demo["actions"][:kept])
        rewards.append(demo["rewards"][:kept])
        ends.append(ended)
    return iq.Demos.from_episodes(wholes, actions, ends, action_space, rewards)


def from_rlds(episodes, action_space, keys=None, action_keys=None):
    """Episodes of RLDS: tfds.as_numpy(tensorflow_datasets.load(...)["train"]).

    Each is a dict with "steps", in which a step has observation, action, reward,
    is_first, is_last, is_terminal. Read so by tensorflow_datasets 4.9.10.
    Kept: everything but the action space, which you hand in. keys, action_keys: where
    observations or actions are dicts, the parts in the order that you name.
    - `is_last` is the last step, also of an episode that was cut; `is_terminal` alone
      says that it ended.
    - The action and the reward of the last step are void: nothing follows. Dropped.
    - Some sets keep observations T for T actions, with the last of both meant: there
      the last transition is lost, for what came after it was never kept.
    - TensorFlow shuffles files, and episodes with them: order tells nothing.
    """
    wholes, actions, rewards, ends = [], [], [], []
    for episode in episodes:
        steps = list(episode["steps"])
        if len(steps) < 2:
            continue

        def column(name, keys=None, steps=steps):
            first = steps[0][name]
            if not hasattr(first, "items"):
                return np.array([step[name] for step in steps])
            parts = {k: np.array([step[name][k] for step in steps]) for k in first}
            return choose_inputs(parts, keys)

        wholes.append(column("observation", keys))
        chosen = column("action", action_keys)[:-1]
        actions.append(chosen.reshape(-1, *action_space.shape))
        rewards.append(column("reward")[:-1])
        ends.append(bool(steps[-1]["is_terminal"]))
    return iq.Demos.from_episodes(wholes, actions, ends, action_space, rewards)


def from_lerobot(dataset, action_space, keys, terminated):
    """A LeRobotDataset of lerobot 0.4.4.

    keys: those that the agent shall see, such as ["observation.state"].
    Kept: observations by key, actions, next.reward where there is one.
    - The observation after the last action is never kept: of an episode that was cut
      the last action is dropped; of one that ended, its last observation stands twice.
    - Whether it ended is not kept, either; next.done, where there is one, also marks
      where the recording stopped. Say terminated: True where the world ends with the
      episode, else False; or a list of a bool for each episode. Of robots, False.
    - An action or a state of shape (1,) comes back as a scalar.
    - Images come as float32 (3, H, W) from 0 to 1; videos are decoded by each access.
    """
    rows = [dataset[i] for i in range(len(dataset))]
    if set(keys) - set(rows[0]):
        raise ValueError(f"keys are {keys}; of this dataset: {sorted(rows[0])}")
    which = np.array([int(row["episode_index"]) for row in rows])
    starts = np.flatnonzero(np.append(True, which[1:] != which[:-1]))
    table = {k: np.array([np.atleast_1d(row[k]) for row in rows]) for k in keys}
    observations = choose_inputs(table, keys)
    moves = np.array([np.asarray(row["action"]) for row in rows])
    moves = moves.reshape(-1, *action_space.shape)
    told = "next.reward" in rows[0]
    wholes, actions, rewards, ends = [], [], [], []
    for part, ended in zip(np.split(np.arange(len(rows)), starts[1:]),
                           np.broadcast_to(terminated, len(starts)), strict=True):
        again = part[-1:] if ended else part[:0]
        kept = part if ended else part[:-1]
        if len(kept) == 0:
            continue
        wholes.append(observations[np.append(part, again)])
        actions.append(moves[kept])
        rewards.append([float(rows[i]["next.reward"]) for i in kept] if told else None)
        ends.append(ended)
    return iq.Demos.from_episodes(
        wholes, actions, ends, action_space, rewards if told else None)
