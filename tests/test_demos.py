"""Demos: a table of transitions that holds only what can be true."""
import os
import warnings
import zipfile
from dataclasses import FrozenInstanceError

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from tools import ENVS, KINDS, Walk, columns, diary, same

import iq

ROWS = "observations", "actions", "next_observations", "terminations", "truncations"


def write(path, data):
    with open(path, "wb") as file:  # an object array goes in as a pickle
        np.savez(file, **data)
    return path


def equal(a, b):
    return (all(same(getattr(a, k), getattr(b, k)) for k in iq.COLUMNS)
            and a.action_space == b.action_space and a.env_id == b.env_id)


@pytest.fixture(scope="module", params=KINDS)
def demos(request):
    return diary(request.param, episodes=4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "diary.npz"


# ------------------------------------------------------------------------ to and fro

def test_what_is_saved_is_what_is_loaded(demos, path):
    demos.save(path)
    assert equal(iq.Demos.load(path), demos)
    assert os.listdir(path.parent) == ["diary.npz"]


def test_the_file_holds_no_pickle_and_only_the_names_of_the_design(demos, path):
    demos.save(str(path))
    with np.load(path, allow_pickle=False) as file:
        assert set(iq.COLUMNS) <= set(file)
        assert set(file) - set(iq.COLUMNS) <= {
            "env_id", "n_actions", "action_low", "action_high"}
        assert same(file["actions"], demos.actions)
        assert str(file["env_id"]) == demos.env_id


def test_rewards_ids_and_environment_may_be_absent(demos, path):
    data = columns(demos)
    for key in "rewards", "episode_ids", "env_id":
        del data[key]
    loaded = iq.Demos.load(write(path, data))
    assert loaded.rewards is None and loaded.env_id is None
    assert np.array_equal(loaded.starts, demos.starts)
    loaded.save(path)
    assert equal(iq.Demos.load(path), loaded)


def test_keys_that_mean_nothing_here_are_left_alone(demos, path):
    assert equal(iq.Demos.load(write(path, columns(demos) | {"note": 1})), demos)


def test_a_table_does_not_change_once_made(demos):
    with pytest.raises(FrozenInstanceError):
        demos.actions = None


def test_numbers_become_single_floats_and_images_stay_bytes():
    obs = np.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    flags = np.array([False, False]), np.array([False, True])
    for kind, kept in ("u1", np.uint8), ("f8", np.float32), ("i8", np.float32):
        x = obs.astype(kind)
        demos = iq.Demos(x[:1], [0], x[1:], *(f[:1] for f in flags), Discrete(2))
        assert demos.observations.dtype == demos.next_observations.dtype == kept
        assert np.array_equal(demos.observations, x[:1])


def test_arrays_of_the_right_type_are_kept_and_not_copied():
    old = diary()
    new = iq.Demos(*(getattr(old, k) for k in ROWS), old.action_space)
    assert all(np.shares_memory(getattr(old, k), getattr(new, k)) for k in ROWS)


@pytest.mark.parametrize("order", "<>")
def test_a_diary_of_any_byte_order_and_width_can_be_learned(order, path):
    for kind in KINDS:
        data = columns(diary(kind, episodes=1))
        for key, wide in ("observations", "f8"), ("next_observations", "f2"), (
                "rewards", "f8"), ("episode_ids", "i2"):
            data[key] = data[key].astype(order + wide)
        data["actions"] = data["actions"].astype(
            order + ("i4" if kind == "discrete" else "f8"))
        agent = iq.learn(iq.Demos.load(write(path, data)),
                         config=iq.Config(steps=1, hidden=4, device="cpu"))
        assert agent.updates == 1


# ---------------------------------------------------------------------------- verbs

def test_starts_are_the_first_rows_of_episodes_and_returns_their_sums(demos):
    firsts = np.flatnonzero(demos.starts)
    ends = np.flatnonzero(demos.terminations | demos.truncations)
    assert firsts.tolist() == [0, *(ends[:-1] + 1)] and len(firsts) == 4
    sums = [demos.rewards[a:b + 1].astype(float).sum()
            for a, b in zip(firsts, ends, strict=True)]
    assert demos.returns() == pytest.approx(sums, rel=1e-12)


def test_episodes_may_be_numbered_in_any_order():
    old = diary(episodes=3)
    ids = np.array([7, -2, 5])[old.episode_ids]
    new = iq.Demos(*(getattr(old, k) for k in ROWS), old.action_space, episode_ids=ids)
    assert np.array_equal(new.starts, old.starts)


def test_returns_are_unknown_where_rewards_are():
    demos = diary()
    bare = iq.Demos(*(getattr(demos, k) for k in ROWS), demos.action_space)
    assert bare.returns().shape == (4,) and np.isnan(bare.returns()).all()


@pytest.mark.parametrize("n", [1, 3, 4])
def test_take_keeps_the_first_episodes_whole(demos, n):
    taken = demos.take(n)
    rows = demos.episode_ids < n
    assert all(same(getattr(taken, k), getattr(demos, k)[rows]) for k in iq.COLUMNS)
    assert (taken.env_id, taken.action_space) == (demos.env_id, demos.action_space)
    assert same(taken.returns(), demos.returns()[:n])


@pytest.mark.parametrize("n", [0, -1, 5])
def test_take_refuses_what_is_not_there(demos, n):
    with pytest.raises(ValueError, match=rf"episodes is {n};.*1 to 4"):
        demos.take(n)


@pytest.mark.parametrize("every", [1, 2, 3, 7, 1000])
def test_subsample_keeps_each_first_state_and_every_kth_transition_after_it(
        demos, every):
    few = demos.subsample(every)
    rows = np.concatenate([np.flatnonzero(demos.episode_ids == e)[::every]
                           for e in range(4)])
    assert all(same(getattr(few, k), getattr(demos, k)[rows]) for k in iq.COLUMNS)
    assert few.starts.sum() == 4
    assert same(few.observations[few.starts], demos.observations[demos.starts])


@pytest.mark.parametrize("every", [0, -2])
def test_subsample_refuses_a_step_that_goes_nowhere(demos, every):
    with pytest.raises(ValueError, match=f"^subsample is {every}; allowed: 1 or more$"):
        demos.subsample(every)


def test_a_subsampled_diary_is_saved_and_loaded_like_any_other(demos, path):
    few = demos.subsample(3)
    few.save(path)
    assert equal(iq.Demos.load(path), few)


def test_a_subsampled_diary_loads_without_ids_only_where_order_can_still_be_told(
        demos, path):
    data = columns(demos.subsample(3))
    del data["episode_ids"]
    with pytest.raises(ValueError, match="order"):
        iq.Demos.load(write(path, data))


# --------------------------------------------------------------------- action spaces

@pytest.mark.parametrize("caller", [None, Discrete(2)])
def test_a_space_told_by_the_caller_or_else_by_the_file_is_taken_silently(path, caller):
    data = columns(diary())
    data["actions"][:] = 0
    if caller:
        del data["n_actions"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert iq.Demos.load(write(path, data), caller).action_space == Discrete(2)


def test_a_space_from_the_caller_goes_before_that_of_the_file(path):
    diary().save(path)
    assert iq.Demos.load(path, action_space=Discrete(3)).action_space == Discrete(3)
    diary("continuous").save(path)
    wide = Box(-9, 9, (1,))
    assert iq.Demos.load(path, action_space=wide).action_space == wide
    with pytest.raises(ValueError, match="action"):
        iq.Demos.load(path, action_space=Box(-0.01, 0.01, (1,)))


def test_discrete_actions_without_a_space_are_counted_with_a_warning(path):
    data = columns(diary())
    del data["n_actions"]
    data["actions"][0] = 4
    with pytest.warns(UserWarning, match="n_actions"):
        assert iq.Demos.load(write(path, data)).action_space == Discrete(5)
    data["actions"][:] = 0
    with pytest.warns(UserWarning, match="n_actions"):
        assert iq.Demos.load(write(path, data)).action_space == Discrete(1)


def test_that_warning_points_at_the_line_that_loads(path):
    data = columns(diary())
    del data["n_actions"]
    with pytest.warns(UserWarning) as told:
        iq.Demos.load(write(path, data))
    assert [w.filename for w in told] == [__file__]
    assert str(told[0].message) == (
        f"{path} has no n_actions: the largest action is the last")


@pytest.mark.parametrize("absent", [["action_low"], ["action_high"],
                                    ["action_low", "action_high"]])
def test_continuous_actions_without_bounds_are_refused_and_told_how_to_give_them(
        path, absent):
    data = columns(diary("continuous"))
    for key in absent:
        del data[key]
    with pytest.raises(ValueError) as caught:
        iq.Demos.load(write(path, data))
    assert str(caught.value).endswith(
        ": action space is unknown; allowed: action_low and action_high in it, "
        "or load(..., action_space=...)")
    assert iq.Demos.load(path, Box(-3, 1, (1,))).action_space == Box(-3, 1, (1,))


@pytest.mark.parametrize("space", [
    MultiBinary(1), Dict(a=Discrete(2)), Discrete(2, start=1), Box(-np.inf, 1, (1,)),
    Box(-1, 1, (1, 1)), Box(0, 9, (1,), np.int64)], ids=str)
def test_spaces_that_can_not_be_learned_are_refused_by_name(path, space):
    diary("continuous").save(path)
    with pytest.raises(ValueError, match="action space") as caught:
        iq.Demos.load(path, action_space=space)
    assert str(space) in str(caught.value)


def test_a_box_in_double_precision_is_learned_like_any_other(tmp_path):
    demos = diary("continuous")
    wide = Box(-3.0, 1.0, (1,), np.float64)
    demos = iq.Demos(*(getattr(demos, k) for k in ROWS), wide)
    assert demos.action_space == Box(-3.0, 1.0, (1,), np.float32)
    agent = iq.learn(demos, config=iq.Config(steps=2, hidden=4, device="cpu"))
    assert agent.act(demos.observations).shape == (len(demos), 1)
    agent.save(tmp_path / "agent.pt")
    env = Walk(continuous=True)
    env.action_space = wide
    back = iq.load(tmp_path / "agent.pt", "cpu")
    more = iq.Config(steps=5, device="cpu")
    assert iq.learn(demos, env, more, agent=back).updates == 5


# ------------------------------------------------------------------------- bad input

def put(key, row, value):
    def change(data):
        data[key] = data[key].astype(np.result_type(data[key], np.float64)
                                     if isinstance(value, float) else data[key].dtype)
        data[key][row] = value
    return change


def cast(key, kind):
    return lambda data: data.update({key: data[key].astype(kind)})


def cut(key, rows=slice(1, None)):
    return lambda data: data.update({key: data[key][rows]})


def drop(key):
    return lambda data: data.pop(key)


def column(key):
    return lambda data: data.update({key: data[key][:, None]})


def shuffle(data):
    order = np.random.default_rng(0).permutation(len(data["actions"]))
    data.update({k: data[k][order] for k in iq.COLUMNS})
    del data["episode_ids"]


def swap_episodes_by_halves(data):
    order = np.argsort(np.arange(len(data["actions"])) % 2, kind="stable")
    data.update({k: data[k][order] for k in iq.COLUMNS})


def empty(data):
    data.update({k: data[k][:0] for k in iq.COLUMNS})


def no_features(data):
    for key in "observations", "next_observations":
        data[key] = data[key][:, :0]


SPOILED = {
    **{f"no {k}": (drop(k), k) for k in ROWS},
    **{f"{k} shorter": (cut(k), k) for k in iq.COLUMNS[1:]},
    "observations shorter": (cut("observations"), "actions"),
    **{f"{k} with an axis too many": (column(k), k)
       for k in iq.COLUMNS if not k.endswith("observations")},
    "observations (N,)": (cut("observations", np.s_[:, 0]), "observations"),
    "next observations narrower": (
        cut("next_observations", np.s_[:, :1]), "next_observations"),
    "no rows": (empty, "observations"),
    "no features": (no_features, "observations"),
    **{f"{x} in {k}": (put(k, 3, x), k)
       for k in ("observations", "next_observations", "rewards")
       for x in (np.nan, np.inf, -np.inf)},
    "too large for a single float": (put("observations", 3, 1e300), "observations"),
    "words for observations": (cast("observations", "U8"), "observations"),
    "complex observations": (cast("observations", "c8"), "observations"),
    "flags as numbers": (cast("terminations", "f4"), "terminations"),
    "flags as whole numbers": (cast("truncations", "i8"), "truncations"),
    "ids as fractions": (cast("episode_ids", "f4"), "episode_ids"),
    "rewards as words": (cast("rewards", "U8"), "rewards"),
    "pickled observations": (cast("observations", object), "pickle"),
    "pickled, and not even needed": (
        lambda data: data.update(note=np.array([{}], object)), "pickle"),
    "no order": (shuffle, "order"),
    "episodes not side by side": (swap_episodes_by_halves, "episode"),
    "an end in mid-episode": (put("truncations", 1, True), "episode"),
    "one id for two episodes": (
        lambda data: data["episode_ids"].clip(max=2, out=data["episode_ids"]),
        "episode"),
}
DISCRETE = {
    "an action too high": (put("actions", 5, 2), r"action 5 is 2.*Discrete\(2\)"),
    "an action below 0": (put("actions", 5, -1), r"action 5 is -1.*Discrete\(2\)"),
    "fractions for actions": (cast("actions", "f4"), "action"),
    "flags for actions": (cast("actions", bool), "action"),
    "no actions to choose from": (put("n_actions", (), 0), "."),
    "fewer than no actions": (put("n_actions", (), -3), "."),
    "many numbers of actions": (
        lambda data: data.update(n_actions=np.array([2, 2])), "."),
}
CONTINUOUS = {
    "an action too high": (put("actions", 5, 1.1), r"action 5 is \[1.1.*Box"),
    "an action too low": (put("actions", 5, -3.1), r"action 5 is \[-3.1.*Box"),
    "NaN in actions": (put("actions", 3, np.nan), "actions"),
    "inf in actions": (put("actions", 3, np.inf), "actions"),
    "actions (N,)": (cut("actions", np.s_[:, 0]), "action"),
    "a bound at infinity": (put("action_high", 0, np.inf), "action"),
    "a bound that is NaN": (put("action_low", 0, np.nan), "low"),
    "low above high": (put("action_low", 0, 2.0), "low"),
    "bounds of another length": (
        lambda data: data.update(action_low=np.zeros(2), action_high=np.ones(2)),
        "action"),
    "words for bounds": (
        lambda data: data.update(action_low=np.array(["low"])), "."),
}
CASES = [(k, name, *case) for k, table in
         (("discrete", SPOILED | DISCRETE), ("continuous", SPOILED | CONTINUOUS))
         for name, case in table.items()]


@pytest.mark.parametrize("kind, name, spoil, says", CASES,
                         ids=[f"{k}: {name}" for k, name, *_ in CASES])
def test_a_spoiled_diary_is_refused_by_one_line_and_left_as_it_is(
        kind, name, spoil, says, path, recwarn):
    data = columns(diary(kind))
    spoil(data)
    before = write(path, data).read_bytes()
    with pytest.raises(iq.InputError, match=says) as caught:
        iq.Demos.load(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]
    assert [w for w in recwarn if w.category is not ResourceWarning] == []


@pytest.mark.parametrize("name, spoil, says", [
    (name, *case) for name, case in SPOILED.items()
    if not name.startswith(("no ", "pickled"))])
def test_a_table_made_in_memory_is_held_to_the_same(name, spoil, says):
    data = columns(diary())
    spoil(data)
    n, env_id = data.pop("n_actions"), str(data.pop("env_id"))
    with pytest.raises(ValueError, match=says):
        iq.Demos(**data, action_space=Discrete(int(n)), env_id=env_id)


@pytest.mark.parametrize("key, kinds", [
    ("next_observations", "fiu"), ("actions", "iu"), ("terminations", "b"),
    ("truncations", "b"), ("rewards", "fiu"), ("episode_ids", "iu")])
def test_a_column_of_another_length_is_refused_word_for_word(key, kinds):
    data = columns(diary()) | {"env_id": None}
    n, x = data.pop("n_actions"), data[key]
    data[key] = x[1:]
    with pytest.raises(ValueError) as caught:
        iq.Demos(**data, action_space=Discrete(int(n)))
    assert str(caught.value) == (
        f"{key} is {x.dtype} {x[1:].shape}; allowed: {x.shape}, dtype.kind in {kinds}")


@pytest.mark.parametrize("name, text", [
    ("nan in observations",
     "observations is NaN or infinite in float32; allowed: finite numbers"),
    ("no order",
     "what follows row 0 is another row; allowed: rows in order of time, or "
     "episode_ids to tell which belong together"),
    ("an end in mid-episode",
     "number of episodes is 4 by id, 5 by order, ends; allowed: an episode's rows side "
     "by side, none but the last of them an end")])
def test_rows_that_can_not_be_true_are_refused_word_for_word(name, text):
    data = columns(diary()) | {"env_id": None}
    n = data.pop("n_actions")
    SPOILED[name][0](data)
    with pytest.raises(ValueError) as caught:
        iq.Demos(**data, action_space=Discrete(int(n)))
    assert str(caught.value) == text


def test_the_row_after_which_another_was_expected_is_named():
    data = columns(diary())
    for key in "episode_ids", "n_actions", "env_id":
        del data[key]
    data["next_observations"][3] += 1  # row 3 doesn't lead to row 4
    with pytest.raises(ValueError, match="^what follows row 3 is another row;"):
        iq.Demos(**data, action_space=Discrete(2))


def archive(path, **members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


FILES = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "of no bytes": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("observations,actions\n0,1\n"),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(4096)),
    "a single array": lambda path: np.save(open(path, "wb"), np.zeros(3)),
    "an empty zip": lambda path: archive(path),
    "a zip of text": lambda path: archive(path, **{"observations.npy": "hello"}),
    "a zip without suffixes": lambda path: archive(
        path, **{k: b"1" for k in iq.COLUMNS}),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_not_a_diary_is_refused_by_name(name, path):
    FILES[name](path)
    with pytest.raises(iq.InputError) as caught:
        iq.Demos.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_a_diary_cut_short_is_refused(demos, path, part):
    demos.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(iq.InputError, match="diary.npz"):
        iq.Demos.load(path)


@pytest.mark.parametrize("where", ["no/such/folder/d.npz", "file/d.npz"])
def test_a_diary_that_can_not_be_written_is_an_input_error(demos, tmp_path, where):
    (tmp_path / "file").write_text("a file, no folder")
    with pytest.raises(iq.InputError, match="d.npz"):
        demos.save(tmp_path / where)
    assert (tmp_path / "file").read_text() == "a file, no folder"


# -------------------------------------------------------- another environment's diary

def test_a_diary_of_another_environment_is_refused_with_both_names():
    other = gym.make("CartPole-v1")
    for env in "CartPole-v1", other:
        with pytest.raises(iq.InputError) as caught:
            iq.learn(diary(), env, iq.Config(steps=1, device="cpu"))
        assert "CartPole-v1" in str(caught.value) and "Walk-v0" in str(caught.value)


def test_a_diary_that_names_no_environment_is_still_held_against_its_spaces():
    demos = diary()
    bare = [getattr(demos, k) for k in ROWS]
    nameless = iq.Demos(*bare, Discrete(2))
    assert iq.learn(nameless, ENVS["discrete"], iq.Config(
        steps=2, hidden=4, device="cpu")).updates == 2
    for space, env in (Discrete(3), ENVS["discrete"]), (Discrete(2), "CartPole-v1"):
        with pytest.raises(iq.InputError, match="environment"):
            iq.learn(iq.Demos(*bare, space), env, iq.Config(steps=1, device="cpu"))


def test_an_agent_refuses_the_diary_of_another_environment():
    agent = iq.new_agent(diary(), iq.Config(steps=1, hidden=4, device="cpu"))
    with pytest.raises(iq.InputError, match="diary"):
        iq.learn(diary("continuous"), agent=agent)


@pytest.mark.parametrize("shape", [(), (5,), (0, 2), (5, 0)])
def test_observations_of_such_a_shape_are_refused_by_it(shape):
    seen, ends = np.zeros(shape, np.float32), np.zeros(shape[:1], bool)
    with pytest.raises(ValueError) as caught:
        iq.Demos(seen, ends.astype(int), seen, ends, ends, Discrete(2))
    assert str(caught.value) == f"shape of observations is {shape}; allowed: (N, ...)"


# ---------------------------------------------------------------------------- minari

@pytest.fixture(scope="module")
def minari(tmp_path_factory):
    os.environ["MINARI_DATASETS_PATH"] = str(tmp_path_factory.mktemp("minari"))
    yield pytest.importorskip("minari")
    del os.environ["MINARI_DATASETS_PATH"]


def collect(minari, env, name, seeds):
    """A real dataset, and the transitions that its environment truly went through."""
    env, rows = minari.DataCollector(env), []
    for seed in seeds:
        env.action_space.seed(seed)
        obs, ended, cut = env.reset(seed=seed)[0], False, False
        while not (ended or cut):
            action = env.action_space.sample()
            after, reward, ended, cut, _ = env.step(action)
            rows.append((obs, action, after, ended, cut, reward, seed))
            obs = after
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # who the author is, and the like
        dataset = env.create_dataset(dataset_id=name)
    env.close()
    return dataset, rows


@pytest.mark.parametrize("env_id", ["CartPole-v1", "WalkFar-v0"])
def test_a_minari_dataset_is_read_row_for_row(minari, env_id):
    dataset, rows = collect(minari, gym.make(env_id), f"{env_id}/random-v0", range(5))
    demos = iq.Demos.from_minari(dataset)
    *five, rewards, ids = (np.array(x) for x in zip(*rows, strict=True))
    for name, true in zip(ROWS, five, strict=True):
        assert np.array_equal(getattr(demos, name), true), name
    assert demos.rewards == pytest.approx(rewards)
    assert np.array_equal(demos.starts, np.append(True, np.diff(ids) != 0))
    assert (demos.env_id, demos.action_space) == (env_id, gym.make(env_id).action_space)
    agent = iq.learn(demos, config=iq.Config(steps=2, hidden=4, device="cpu"))
    assert agent.updates == 2


def test_a_minari_dataset_of_a_kind_that_can_not_be_learned_is_refused(minari):
    dataset, _ = collect(minari, gym.make("DictSeen-v0"), "dict/random-v0", [0])
    with pytest.raises(ValueError, match=r"^observation space is Dict.*; allowed: Box"):
        iq.Demos.from_minari(dataset)
