"""Demos: a table of transitions that holds only what can be true."""
import io
import os
import pickle
import re
import warnings
import zipfile

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from helpers import (
    COLUMNS,
    REQUIRED,
    Constant,
    columns,
    from_columns,
    make_config,
    make_demos,
    messages,
    same,
    same_demos,
    weights,
    write,
)

import iq

KINDS = "discrete", "naf"


@pytest.fixture(scope="module", params=KINDS)
def demos(request):
    return make_demos(request.param, episodes=4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "demos.npz"


# ------------------------------------------------------------------------ to and fro

def test_what_is_saved_is_what_is_loaded(demos, path):
    demos.save(str(path))
    assert same_demos(iq.Demos.load(path), demos)
    assert os.listdir(path.parent) == ["demos.npz"]
    with np.load(path, allow_pickle=False) as file:
        assert set(file) - set(COLUMNS) <= {
            "n_actions", "start", "action_low", "action_high"}


def test_rewards_and_ids_may_be_absent_and_other_entries_are_ignored(demos, path):
    data = columns(demos) | {
        "note": np.array("x"), "seed": 3, "action_space": 2, "self": 1}
    del data["rewards"], data["episode_ids"]
    loaded = iq.Demos.load(write(path, data))
    assert loaded.rewards is None and np.isnan(loaded.returns()).all()
    assert np.array_equal(loaded.starts, demos.starts)
    loaded.save(path)
    assert same_demos(iq.Demos.load(path), loaded)


def test_they_are_a_copy_of_what_they_were_made_of():
    data = columns(make_demos())
    demos = from_columns(data)
    before = {name: x.copy() for name, x in demos.columns.items()}
    for x in data.values():
        x[...] = 0
    assert same(demos.columns, before)


@pytest.mark.parametrize("order", "<>")
def test_any_byte_order_and_width_can_be_learned(order, path):
    for kind in "discrete", "naf":
        data = columns(make_demos(kind, episodes=1))
        for key, wide in (("observations", "f8"), ("next_observations", "f8"),
                          ("rewards", "f2"), ("episode_ids", "i2")):
            data[key] = data[key].astype(order + wide)
        whole = order + "i4" if kind == "discrete" else order + "f8"
        data["actions"] = data["actions"].astype(whole)
        agent = iq.learn(iq.Demos.load(write(path, data)),
                         config=make_config(kind, steps=1))
        assert np.isfinite(agent.reward(*(data[k] for k in REQUIRED[:4]))).all()


# ------------------------------------------------------------------------- signatures

@pytest.mark.parametrize("name", ["reward", "observation", "terminated", "dones", "acts",
                                  "next_obs", "starts"])
def test_a_misspelt_column_is_a_type_error(name):
    """Swallowed, reward= would leave all returns NaN."""
    data = make_demos().columns
    with pytest.raises(TypeError, match=name):
        iq.Demos(Discrete(2), **data, **{name: np.zeros(len(data["actions"]))})


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_column_is_a_type_error_by_its_name(name):
    data = dict(make_demos().columns)
    del data[name]
    with pytest.raises(TypeError, match=name):
        iq.Demos(Discrete(2), **data)


# ---------------------------------------------------------------------------- methods

def test_starts_are_the_first_rows_of_episodes_and_returns_their_sums(demos):
    firsts = np.flatnonzero(demos.starts)
    ends = np.flatnonzero(demos.terminations | demos.truncations)
    assert firsts.tolist() == [0, *(ends[:-1] + 1)] and len(firsts) == 4
    sums = [demos.rewards[a:b + 1].astype(float).sum() for a, b in zip(firsts, ends)]
    assert demos.returns() == pytest.approx(sums, rel=1e-12)
    small = columns(demos) | {"rewards": np.full(len(demos), 100, np.int8)}
    lengths = np.diff([*firsts, len(demos)])
    assert from_columns(small).returns().tolist() == (100 * lengths).tolist()


@pytest.mark.parametrize("n", [1, 3, 4])
def test_take_keeps_the_first_episodes_whole(demos, n):
    rows = demos.episode_ids < n
    taken = demos.take(n)
    assert same(taken.columns, {k: x[rows] for k, x in demos.columns.items()})
    assert same({"": taken.returns()}, {"": demos.returns()[:n]})


@pytest.mark.parametrize("every", [1, 2, 3, 7, 1000])
def test_subsample_keeps_each_first_state_and_every_kth_row_after_it(demos, every):
    few = demos.subsample(every)
    rows = np.concatenate([np.flatnonzero(demos.episode_ids == e)[::every]
                           for e in range(4)])
    assert same(few.columns, {k: x[rows] for k, x in demos.columns.items()})
    assert few.starts.sum() == 4 and few.action_space == demos.action_space
    taken = few.take(3)
    assert taken.starts.sum() == 3
    assert same(few.subsample(1).columns, few.columns)


def test_take_and_subsample_refuse_what_is_not_there(demos):
    for n in 0, -1, 5:
        with pytest.raises(ValueError, match=rf"episodes is {n};.*1 to 4"):
            demos.take(n)
    for every in 0, -2:
        with pytest.raises(ValueError, match=f"subsample is {every}; allowed: 1 or"):
            demos.subsample(every)


def test_a_single_transition_will_do(path):
    demos = iq.Demos.from_episodes([np.eye(2)], [[1]], [True], Discrete(2), [[3.0]])
    assert len(demos) == 1 and demos.returns().tolist() == [3.0]
    demos.save(path)
    assert same_demos(iq.Demos.load(path), demos)
    iq.learn(demos.take(1).subsample(5), config=make_config())


# --------------------------------------------------------------- where an episode ends

def test_episodes_are_known_by_ids_and_else_by_ends_and_jumps():
    data = columns(make_demos(episodes=3))
    starts = from_columns(data).starts
    data["episode_ids"] = np.array([7, -2, 5])[data["episode_ids"]]
    assert np.array_equal(from_columns(data).starts, starts)
    del data["episode_ids"]
    data["terminations"] &= False
    data["truncations"] &= False  # nothing but that the rows don't follow each other
    assert np.array_equal(from_columns(data).starts, starts)


def merged(parts):
    """Demonstrations put together column by column, ids and all."""
    return from_columns({k: np.concatenate([x[k] for x in parts]) for k in COLUMNS}
                        | {"n_actions": np.array(2)})


@pytest.mark.parametrize("sizes", [(1, 1), (1, 1, 1), (3, 1), (1, 4), (2, 2)])
def test_an_end_splits_whatever_ids_say(sizes):
    """Two files whose episodes are both numbered from 0: the last and the first meet."""
    parts = [make_demos(episodes=n, seed=i) for i, n in enumerate(sizes)]
    demos = merged([x.columns for x in parts])
    returns = np.concatenate([x.returns() for x in parts])
    assert demos.returns() == pytest.approx(returns)
    assert demos.episode_ids.max() == sum(sizes) - 1
    assert demos.take(sum(sizes) - 1).returns() == pytest.approx(returns[:-1])


@pytest.mark.parametrize("flag", ["terminations", "truncations"])
def test_one_id_for_all_or_an_end_within_an_id_splits_by_ends(flag):
    data = columns(make_demos(episodes=3)) | {}
    starts = from_columns(data).starts
    data["episode_ids"][:] = 4
    both = data["terminations"] | data["truncations"]
    data |= {"terminations": both & False, "truncations": both & False, flag: both}
    assert np.array_equal(from_columns(data).starts, starts)
    data[flag] = both.copy()
    data[flag][1] = True  # the next row follows, and is the first of another
    split = from_columns(data, recorded=True).starts
    assert split.sum() == 4 and split[2]


def test_ids_split_where_nothing_else_does():
    """An episode that goes on in the next file, cut without a flag."""
    data = columns(make_demos(episodes=1))
    data["episode_ids"][3:] = 1
    assert np.flatnonzero(from_columns(data).starts).tolist() == [0, 3]


def test_late_times_separate_rows():
    """In float32, time stamps of 1.7e9 a second apart are the same number."""
    time = 1.7e9 + np.arange(6.0)[:, None]
    ends = np.zeros(5, bool)
    with pytest.warns(UserWarning, match=r"1.*700000000.*float32|1\.7e\+09.*float32"):
        demos = iq.Demos(Discrete(2), observations=time[[0, 1, 3, 4, 2]],
                         actions=ends.astype(int), terminations=ends, truncations=ends,
                         next_observations=time[[1, 2, 4, 5, 3]])
    assert demos.starts.tolist() == [True, False, True, False, True]


# ----------------------------------------------------------------- time limits as ends

def episodes(lengths, terminated, truncated=False):
    """Demonstrations with episodes of these lengths, all ending by the same flags."""
    rng = np.random.default_rng(0)
    n = sum(lengths)
    last = np.zeros(n, bool)
    last[np.cumsum(lengths) - 1] = True
    return lambda: iq.Demos(
        Discrete(2), rng.normal(size=(n, 2)), rng.integers(2, size=n),
        rng.normal(size=(n, 2)), last & terminated, last & truncated,
        episode_ids=np.repeat(np.arange(len(lengths)), lengths))


@pytest.mark.parametrize("lengths", [[5] * 3, [200] * 4, [2] * 9, [1000] * 10])
def test_a_time_limit_that_is_told_as_a_terminal_state_is_warned_of(lengths):
    """imitation's terminal, RLDS's is_last, robomimic's dones, torchrl's done."""
    said, = messages(episodes(lengths, True))
    assert str(lengths[0]) in said and str(len(lengths)) in said
    assert "truncations" in said and "limit" in said
    shaped = [np.zeros((n + 1, 2)) + np.arange(n + 1)[:, None] + 9 * i
              for i, n in enumerate(lengths)]
    said, = messages(lambda: iq.Demos.from_episodes(
        shaped, [np.zeros(n, int) for n in lengths], [True] * len(lengths), Discrete(2)))
    assert "limit" in said


@pytest.mark.parametrize("lengths, terminated, truncated", [
    ([5, 5, 6], True, False), ([1] * 9, True, False), ([5], True, False),
    ([5] * 3, False, True), ([5] * 3, False, False), ([7, 3, 8, 5], True, False),
    ([5] * 3, True, True)])
def test_other_ends_are_not_warned_of(lengths, terminated, truncated):
    assert not messages(episodes(lengths, terminated, truncated))


def test_both_flags_at_once_are_terminal():
    """A limit that falls on a terminal state by chance."""
    learned = []
    for flags in (True, True), (True, False), (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a time limit
            demos = episodes([5] * 3, *flags)()
        learned.append(weights(iq.learn(demos, config=make_config(steps=5))))
    assert same(*learned[:2]) and not same(*learned[1:])


# -------------------------------------------------------- a person's own arrays

def episodes_of(demos):
    """Lists with an entry an episode, as Minari and imitation keep them."""
    parts = [np.flatnonzero(demos.episode_ids == e) for e in range(4)]
    obs = [np.append(demos.observations[rows], demos.next_observations[rows[-1:]], 0)
           for rows in parts]
    return (obs, [demos.actions[rows] for rows in parts],
            [demos.terminations[rows] for rows in parts],
            [demos.rewards[rows] for rows in parts])


def test_lists_of_episodes_become_demonstrations_in_one_call(demos):
    obs, actions, ends, rewards = episodes_of(demos)
    one = [bool(x[-1]) for x in ends]
    for terminated in ends, one, np.array(one), [x.tolist() for x in ends], [
            np.array([x]) for x in one]:
        made = iq.Demos.from_episodes(
            obs, actions, terminated, demos.action_space, rewards)
        assert same_demos(made, demos)
    lists = [x.tolist() for x in obs], [x.tolist() for x in actions]
    made = iq.Demos.from_episodes(*lists, one, demos.action_space)
    assert made.rewards is None and np.isnan(made.returns()).all()
    assert made.observations == pytest.approx(demos.observations)
    assert np.array_equal(made.starts, demos.starts)
    kind = "discrete" if isinstance(demos.action_space, Discrete) else "naf"
    iq.learn(made, config=make_config(kind, steps=2))


def test_episodes_that_do_not_fit_each_other_are_refused(demos):
    obs, actions, ends, rewards = episodes_of(demos)
    space = demos.action_space
    for bad, says in (
            ((obs[:3], actions, ends, space), "observations"),
            ((obs, actions[1:], ends, space), "observations|terminated"),
            ((obs, actions, ends[:2], space), "terminated"),
            ((obs, actions, True, space), "terminated"),
            ((obs, actions, ends, space, rewards[1:]), "rewards"),
            ((obs, actions, ends, space, [x[1:] for x in rewards]), "rewards"),
            (([], [], [], space), "episode"),
            (([{"a": x} for x in obs], actions, ends, space), "observations|episode 0")):
        with pytest.raises(ValueError, match=says) as caught:
            iq.Demos.from_episodes(*bad)
        assert "\n" not in str(caught.value)


def test_a_missing_last_observation_is_named_once_with_what_to_do(demos):
    """Not the lengths of 200 episodes."""
    obs, actions, ends, _ = episodes_of(demos)
    many = [x[1:] for x in obs * 50], actions * 50, ends * 50, demos.action_space
    with pytest.raises(ValueError) as caught:
        iq.Demos.from_episodes(*many)
    said = str(caught.value)
    n = len(actions[0])
    assert re.search(f"episode 0 has {n} observations .* {n} actions", said)
    assert "one observation more" in said and "leave out the last action" in said
    assert len(said) < 300


@pytest.mark.parametrize("most", [1e-3, 1.0, 1e5])
def test_an_action_leaves_its_box_by_rounding_or_is_refused(most):
    space, obs = Box(-most, most, (1,), np.float64), [np.arange(6.0).reshape(3, 2)]
    made = lambda x: iq.Demos.from_episodes(obs, [[[x], [-x]]], [True], space)
    assert len(made(most * (1 + 1e-7))) == 2
    with pytest.raises(ValueError, match=r"^actions\[0\] is"):
        made(most * (1 + 1e-4))


# --------------------------------------------------------------------- action spaces

def test_a_space_is_known_by_the_file_the_caller_or_an_environment(path):
    data = columns(make_demos())
    del data["n_actions"]
    write(path, data)
    for given in Discrete(2), "CartPole-v1":
        assert iq.Demos.load(path, action_space=given).action_space == Discrete(2)
    with pytest.raises(ValueError, match="demos.npz.*action space.*action_space="):
        iq.Demos.load(path)
    data = columns(make_demos("naf"))
    del data["action_low"]
    with pytest.raises(ValueError, match="action"):
        iq.Demos.load(write(path, data))


@pytest.mark.parametrize("kind, given", [
    ("discrete", Discrete(3)), ("discrete", Discrete(2, start=1)),
    ("discrete", Box(-3, 1, (1,))), ("discrete", "Pendulum-v1"),
    ("naf", Box(-3, 1.5, (1,))), ("naf", Box(-3.001, 1, (1,))),
    ("naf", Box(-3, 1, (2,))), ("naf", "CartPole-v1")])
def test_another_space_than_the_file_s_is_refused_with_both(kind, given, path):
    make_demos(kind).save(path)
    with pytest.raises(ValueError, match="action space is .*; allowed: "):
        iq.Demos.load(path, action_space=given)


def test_a_space_in_another_precision_is_the_same(path):
    demos = make_demos("naf")
    double = Box(-3.0, 1.0, (1,), np.float64)
    demos.save(path)
    assert same_demos(iq.Demos.load(path, Box(-3.0, 1.0, (1,))), demos)
    assert np.array_equal(iq.Demos.load(path, double).actions, demos.actions)
    agent = iq.new_agent(demos, make_config("naf"), critic=Constant(0, 1, 1))
    iq.learn(iq.Demos(double, **demos.columns), agent=agent)


@pytest.mark.parametrize("space", [Dict(a=Discrete(2)), None, 2, "Discrete(2)"], ids=str)
def test_what_is_no_action_space_is_refused_by_name(space):
    with pytest.raises(ValueError, match="action space") as caught:
        iq.Demos(space, **make_demos().columns)
    assert str(space) in str(caught.value)


# ------------------------------------------------------------------------- bad input

def put(key, row, value):
    def change(data):
        wide = np.result_type(data[key], np.min_scalar_type(value), np.float32)
        if isinstance(value, float):
            data[key] = data[key].astype(np.float64 if abs(value) > 1e30 else wide)
        data[key][row] = value
    return change


def cast(key, kind):
    return lambda data: data.update({key: data[key].astype(kind)})


def cut(key, rows=slice(1, None)):
    return lambda data: data.update({key: data[key][rows]})


def drop(*keys):
    return lambda data: [data.pop(key) for key in keys]


def empty(data):
    data.update({k: data[k][:0] for k in COLUMNS})


def no_features(data):
    for key in "observations", "next_observations":
        data[key] = data[key][:, :0]


SPOILED = {
    **{f"{k} shorter": (cut(k), rf"^{k}\b") for k in COLUMNS[1:]},
    "observations shorter": (cut("observations"), r"^actions\b"),
    **{f"{k} with an axis too many": (cut(k, np.s_[:, None]), k)
       for k in (*COLUMNS[2:], "observations")},
    "observations (N,)": (cut("observations", np.s_[:, 0]),
                          r"^observations\b.*\(\d+,\).*allowed.*N, "),
    "observations ()": (cut("observations", np.s_[0, 0]), "^observations"),
    "next observations narrower": (
        cut("next_observations", np.s_[:, :1]), "^next_observations"),
    "no rows": (empty, "^observations"), "no features": (no_features, "^observations"),
    **{f"{x} in {k}": (put(k, 3, x), rf"^{k}\[3.*\] is {re.escape(str(x))}; allowed: finite")
       for k in ("observations", "next_observations", "rewards")
       for x in (np.nan, np.inf, -np.inf, 1e39)},
    **{f"{kind} {k}": (cast(k, kind), rf"^{k}\b") for k, kind in (
        ("observations", "U8"), ("observations", "c8"), ("observations", "M8[s]"),
        ("terminations", "f4"), ("truncations", "i8"), ("episode_ids", "f4"),
        ("rewards", "U8"), ("actions", "U8"), ("actions", bool))},
}
DISCRETE = {
    "too high": (put("actions", 5, 2), r"^actions\[5\] is 2.*Discrete\(2\)"),
    "below 0": (put("actions", 5, -1), r"^actions\[5\] is -1.*Discrete\(2\)"),
    "below all": (put("actions", 5, np.iinfo(np.int64).min), r"actions.*Discrete\(2\)"),
    "above all": (put("actions", 5, np.iinfo(np.int64).max), r"actions.*Discrete\(2\)"),
    "a fraction": (put("actions", 5, 0.5), r"^actions\b.*(whole numbers|integers)"),
    "far too high in a byte": (
        lambda data: (cast("actions", "u1")(data), put("actions", 5, 128)(data)),
        r"^actions.*128"),
    "with an axis too many": (cut("actions", np.s_[:, None]), r"^actions\b"),
}
CONTINUOUS = {
    "too high": (put("actions", 5, 1.1), r"^actions\[5\] is .*1.1.*Box"),
    "too low": (put("actions", 5, -3.1), r"^actions\[5\] is .*-3\..*Box"),
    "nan in actions": (put("actions", 3, np.nan),
                       r"^actions\[3, 0\] is nan; allowed: finite"),
    "actions (N,)": (cut("actions", np.s_[:, 0]), r"^actions\b"),
}
IN_FILES = {
    **{f"no {k}": (drop(k), rf"no .*'{k}'.*has.*episode_ids") for k in REQUIRED},
    "pickled": (cast("observations", object), "npz of arrays"),
    "no actions to choose from": (put("n_actions", (), 0), "."),
    "several numbers of actions": (
        lambda data: data.update(n_actions=np.array([2, 2])), "."),
    "words for bounds": (
        lambda data: data.update(action_low=np.array(["low"]), n_actions=None), "."),
}
CASES = [(kind, name, *case) for kind, more in zip(KINDS, (DISCRETE, CONTINUOUS))
         for name, case in (more | (SPOILED if kind == "discrete" else {})).items()]
CASES += [("discrete", name, *case) for name, case in IN_FILES.items()]


@pytest.mark.parametrize("kind, name, spoil, says", CASES,
                         ids=[f"{kind}: {name}" for kind, name, *_ in CASES])
def test_spoiled_demonstrations_are_refused_by_one_line_and_left_as_they_are(
        kind, name, spoil, says, path):
    data = columns(make_demos(kind))
    spoil(data)
    before = write(path, data).read_bytes()
    with pytest.raises(ValueError, match=says) as caught:
        iq.Demos.load(path)
    assert "\n" not in str(caught.value) and "dtype.kind" not in str(caught.value)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]
    if name not in IN_FILES:
        with pytest.raises(ValueError, match=says):
            from_columns(data)


def test_absent_columns_are_named_beside_those_that_are_there(path):
    data = columns(make_demos()) | {"acts": np.zeros(3)}
    del data["actions"], data["truncations"]
    with pytest.raises(ValueError) as caught:
        iq.Demos.load(write(path, data))
    before, _, there = str(caught.value).partition("it has")
    assert "'actions'" in before and "'truncations'" in before
    assert "'acts'" in there and "'observations'" in there


@pytest.mark.parametrize("seen", [
    lambda x: {"place": x, "goal": x}, lambda x: [{"place": row} for row in x],
    lambda x: (x, x[1:]), lambda x: [x[0], x[1][:1]], lambda x: None, lambda x: "x"],
    ids=["dict", "dicts", "tuple", "ragged", "None", "word"])
def test_observations_that_are_no_array_are_refused_by_name(seen):
    data = columns(make_demos())
    data["observations"] = seen(data["observations"])
    with pytest.raises(ValueError, match="^observations"):
        from_columns(data)


def archive(path, **members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


FILES = {
    "missing": lambda path: None, "a folder": lambda path: path.mkdir(),
    "of no bytes": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("observations,actions\n0,1\n"),
    "hdf5": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200)),
    "a pickle": lambda path: path.write_bytes(pickle.dumps({"observations": [1]})),
    "a single array": lambda path: path.write_bytes(npy(np.zeros(3))),
    "an empty zip": lambda path: archive(path),
    "a zip of text": lambda path: archive(path, **{"observations.npy": "hello"}),
    "a zip without suffixes": lambda path: archive(
        path, **{k: b"1" for k in COLUMNS})}


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("name", FILES)
def test_what_holds_no_demonstrations_is_refused_in_words_of_our_own(name, path):
    FILES[name](path)
    with pytest.raises((ValueError, OSError)) as caught:
        iq.Demos.load(path)
    said = str(caught.value)
    assert "\n" not in said and "unsafe" not in said and "allow_pickle" not in said
    if name not in ("an empty zip", "a zip of text", "a zip without suffixes"):
        assert str(path) in said
    if name in ("hdf5", "a pickle", "text", "a single array"):
        assert ".npz" in said
    if name in ("missing", "a folder"):
        assert {"missing": "No such file", "a folder": "Is a directory"}[name] in said


# --------------------------------------------------------------------------- warnings

def test_an_observation_of_a_reset_as_next_observation_is_warned_of():
    data = columns(make_demos(episodes=3))
    end = np.flatnonzero(data["terminations"] | data["truncations"])[1]
    data["next_observations"][end] = data["observations"][end + 1]
    said, = messages(lambda: from_columns(data))
    assert "reset" in said and (str(end) in said or str(end + 1) in said)
    assert not messages(lambda: from_columns(data, recorded=True))
    assert not messages(lambda: from_columns(columns(make_demos(episodes=3))))


def test_take_and_subsample_do_not_warn_again():
    data = columns(make_demos(episodes=3))
    end = np.flatnonzero(data["terminations"] | data["truncations"])[0]
    data["next_observations"][end] = data["observations"][end + 1]
    with pytest.warns(UserWarning, match="reset"):
        demos = from_columns(data)
    assert not messages(lambda: demos.take(2).subsample(3))


@pytest.mark.parametrize("column, merged", [
    (1.7e9 + np.arange(6.0), True), (20_000_000 + np.arange(6), True),
    (1e-3 + 1e-10 * np.arange(6), True), (np.float32(1.7e9) + np.zeros(6), False),
    (np.full(6, 0.1), False), (np.full(6, 1.7e9 + 1), False), (np.arange(6), False),
    (np.linspace(-1, 1, 6), False), (1e-7 * np.arange(6.0), False),
    (1.7e9 + 1e6 * np.arange(6.0), False),
    (np.arange(250, 256).astype(np.uint8), False),
    (1 - 2e-8 * np.array([1, 0, 1, 1, 0, 1]), False),  # a cosine near 0, rounded
    (-1 + 1e-9 * np.arange(6.0), False)])
def test_what_float32_would_merge_is_named_by_its_column(column, merged):
    """Networks see float32; demonstrations whose numbers do not survive that say so."""
    obs = np.column_stack([np.linspace(0, 1, 6), column])
    ends = np.zeros(5, bool)
    said = messages(lambda: iq.Demos(
        Discrete(2), observations=obs[:-1], actions=ends.astype(int),
        terminations=ends, truncations=ends, next_observations=obs[1:]))
    assert [bool(re.search(r"observations\[.*, 1\].*float32", x)) for x in said] == (
        [True] * merged)


# ----------------------------------------------------------------------------- saving

@pytest.mark.parametrize("where", ["no/such/folder/d.npz", "file/d.npz", "folder"])
def test_what_can_not_be_written_is_an_oserror_and_harms_nothing(
        demos, tmp_path, where):
    (tmp_path / "file").write_text("a file, no folder")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        demos.save(tmp_path / where)
    assert (tmp_path / "file").read_text() == "a file, no folder"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_old_file(demos, path, monkeypatch, error):
    demos.save(path)
    before = path.read_bytes()

    def half(file, **data):
        file.write(b"half")
        raise error

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(type(error)):
        demos.save(path)
    assert path.read_bytes() == before and os.listdir(path.parent) == ["demos.npz"]
