"""Demos: a table of transitions that holds only what can be true."""
import os
import pickle
import warnings
import zipfile

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from helpers import Constant, columns, same

import iq

KINDS = "discrete", "continuous"
NEEDED = [*COLUMNS][:5]


def write(path, data):
    with open(path, "wb") as file:  # an object array goes in as a pickle
        np.savez(file, **data)
    return path


def table(data):
    """A diary made in memory, of what a file holds."""
    if "n_actions" in data:
        space = Discrete(int(data["n_actions"]))
    else:
        space = Box(data["action_low"], data["action_high"])
    return iq.Demos(space, **{k: x for k, x in data.items() if k in COLUMNS})


@pytest.fixture(scope="module", params=KINDS)
def demos(request):
    return make_demos(request.param, episodes=4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "diary.npz"


# ------------------------------------------------------------------------ to and fro

def test_what_is_saved_is_what_is_loaded(demos, path):
    demos.save(str(path))
    assert same_demos(iq.Demos.load(path), demos)
    assert os.listdir(path.parent) == ["diary.npz"]
    with np.load(path, allow_pickle=False) as file:
        assert set(file) - set(COLUMNS) <= {
            "n_actions", "action_low", "action_high"}


def test_rewards_and_ids_may_be_absent_and_others_are_left_alone(demos, path):
    data = columns(demos) | {
        "note": np.array("x"), "seed": 3, "action_space": 2, "self": 1}
    del data["rewards"], data["episode_ids"]
    loaded = iq.Demos.load(write(path, data))
    assert loaded.rewards is None and np.isnan(loaded.returns()).all()
    assert np.array_equal(loaded.starts, demos.starts)
    loaded.save(path)
    assert same_demos(iq.Demos.load(path), loaded)


def test_the_space_may_be_given_by_its_name(demos):
    data = columns(demos) | {"action_space": demos.action_space}
    assert same_demos(iq.Demos(**data), demos)


def test_a_diary_is_a_copy_of_what_it_was_made_of():
    data = columns(make_demos())
    demos = table(data)
    before = {name: x.copy() for name, x in demos.columns.items()}
    for x in data.values():
        x[...] = 0
    assert same(demos.columns, before)


@pytest.mark.parametrize("order", "<>")
def test_a_diary_of_any_byte_order_and_width_can_be_learned(order, path):
    for kind in "discrete", "naf":
        data = columns(make_demos(kind, episodes=1))
        for key, wide in (("observations", "f8"), ("next_observations", "f8"),
                          ("rewards", "f2"), ("episode_ids", "i2")):
            data[key] = data[key].astype(order + wide)
        whole = order + "i4" if kind == "discrete" else order + "f8"
        data["actions"] = data["actions"].astype(whole)
        agent = iq.learn(iq.Demos.load(write(path, data)), config=make_config(kind, steps=1))
        assert np.isfinite(agent.reward(*(data[k] for k in NEEDED[:4]))).all()


# ---------------------------------------------------------------------------- verbs

def test_starts_are_the_first_rows_of_episodes_and_returns_their_sums(demos):
    firsts = np.flatnonzero(demos.starts)
    ends = np.flatnonzero(demos.terminations | demos.truncations)
    assert firsts.tolist() == [0, *(ends[:-1] + 1)] and len(firsts) == 4
    sums = [demos.rewards[a:b + 1].astype(float).sum() for a, b in zip(firsts, ends)]
    assert demos.returns() == pytest.approx(sums, rel=1e-12)
    small = columns(demos) | {"rewards": np.full(len(demos), 100, np.int8)}
    lengths = np.diff([*firsts, len(demos)])
    assert table(small).returns().tolist() == (100 * lengths).tolist()


def test_episodes_are_told_by_ids_and_else_by_ends_and_jumps():
    data = columns(make_demos(episodes=3))
    starts = table(data).starts
    data["episode_ids"] = np.array([7, -2, 5])[data["episode_ids"]]
    assert np.array_equal(table(data).starts, starts)
    del data["episode_ids"]
    data["terminations"] &= False
    data["truncations"] &= False  # nothing but that the rows don't follow each other
    assert np.array_equal(table(data).starts, starts)


def test_late_times_are_told_apart():
    """In float32, time stamps of 1.7e9 a second apart are the same number."""
    time = 1.7e9 + np.arange(6.0)[:, None]
    ends = np.zeros(5, bool)
    with pytest.warns(UserWarning, match=r"1.7e\+09.*float32"):
        demos = iq.Demos(Discrete(2), observations=time[[0, 1, 3, 4, 2]],
                         actions=ends.astype(int), terminations=ends, truncations=ends,
                         next_observations=time[[1, 2, 4, 5, 3]])
    assert demos.starts.tolist() == [True, False, True, False, True]


@pytest.mark.parametrize("column, merges", [
    (1.7e9 + np.arange(6.0), True), (20_000_000 + np.arange(6), True),
    (1e-3 + 1e-10 * np.arange(6), True), (np.float32(1.7e9) + np.zeros(6), False),
    (np.full(6, 0.1), False), (np.full(6, 1.7e9 + 1), False), (np.arange(6), False),
    (np.linspace(-1, 1, 6), False), (1e-7 * np.arange(6.0), False),
    (1.7e9 + 1e6 * np.arange(6.0), False),
    (np.arange(250, 256).astype(np.uint8), False)])
def test_what_float32_would_merge_is_told(column, merges):
    """Agents see float32; a diary whose numbers do not survive that says so."""
    obs = np.column_stack([np.linspace(0, 1, 6), column])
    ends = np.zeros(5, bool)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        iq.Demos(Discrete(2), observations=obs[:-1], actions=ends.astype(int),
                 terminations=ends, truncations=ends, next_observations=obs[1:])
    assert [f"{obs[0, 1:]}" in str(x.message) for x in told] == [True] * merges


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


def test_take_and_subsample_refuse_what_is_not_there(demos):
    for n in 0, -1, 5:
        with pytest.raises(ValueError, match=rf"episodes is {n};.*1 to 4"):
            demos.take(n)
    for every in 0, -2:
        with pytest.raises(ValueError, match=f"subsample is {every}; allowed: 1 or"):
            demos.subsample(every)


# -------------------------------------------------------------- a person's own arrays

def episodes_of(demos):
    """A diary as lists with an entry an episode, as Minari and imitation keep them."""
    parts = [np.flatnonzero(demos.episode_ids == e) for e in range(4)]
    obs = [np.append(demos.observations[rows], demos.next_observations[rows[-1:]], 0)
           for rows in parts]
    return (obs, [demos.actions[rows] for rows in parts],
            [demos.terminations[rows] for rows in parts],
            [demos.rewards[rows] for rows in parts])


def test_lists_of_episodes_become_a_diary_in_one_call(demos):
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
    for bad in ((obs[:3], actions, ends, space), (obs, actions[1:], ends, space),
                ([x[1:] for x in obs], actions, ends, space),
                (obs, actions, ends[:2], space),
                (obs, actions, ends, space, [x[1:] for x in rewards]),
                ([], [], [], space),
                ([{"a": x} for x in obs], actions, ends, space)):
        with pytest.raises(ValueError):
            iq.Demos.from_episodes(*bad)
    with pytest.raises(ValueError, match="^rows of observations less 1 is .*; allowed"):
        iq.Demos.from_episodes([x[1:] for x in obs], actions, ends, space)


@pytest.mark.parametrize("most", [1e-3, 1.0, 1e5])
def test_an_action_leaves_its_box_by_rounding_or_is_refused(most):
    space, obs = Box(-most, most, (1,), np.float64), [np.arange(6.0).reshape(3, 2)]
    made = lambda x: iq.Demos.from_episodes(obs, [[[x], [-x]]], [True], space)
    assert len(made(most * (1 + 1e-7))) == 2
    with pytest.raises(ValueError, match="^an action is"):
        made(most * (1 + 1e-4))


# --------------------------------------------------------------------- action spaces

def test_a_space_is_told_by_the_file_by_the_caller_or_by_an_environment(path):
    data = columns(make_demos())
    del data["n_actions"]
    write(path, data)
    for told in Discrete(2), "CartPole-v1":
        assert iq.Demos.load(path, action_space=told).action_space == Discrete(2)
    with pytest.raises(ValueError, match="action space is None; allowed: told"):
        iq.Demos.load(path)
    data = columns(make_demos("continuous"))
    del data["action_low"]
    with pytest.raises(ValueError, match="action"):
        iq.Demos.load(write(path, data))


@pytest.mark.parametrize("kind, told", [
    ("discrete", Discrete(3)), ("discrete", Box(-3, 1, (1,))),
    ("discrete", "Pendulum-v1"),
    ("continuous", Box(-3, 1.5, (1,))), ("continuous", Box(-3.001, 1, (1,))),
    ("continuous", Box(-3, 1, (2,))), ("continuous", "CartPole-v1")])
def test_a_space_told_otherwise_than_by_the_file_is_refused_with_both(kind, told, path):
    make_demos(kind).save(path)
    with pytest.raises(ValueError, match="action space is .*; allowed: "):
        iq.Demos.load(path, action_space=told)


def test_a_space_told_in_another_precision_is_the_same(path):
    demos = make_demos("continuous")
    double = Box(-3.0, 1.0, (1,), np.float64)
    demos.save(path)
    assert same_demos(iq.Demos.load(path, Box(-3.0, 1.0, (1,))), demos)
    assert np.array_equal(iq.Demos.load(path, double).actions, demos.actions)
    agent = iq.new_agent(demos, make_config("naf"), critic=Constant(0, 1, 1))
    iq.learn(iq.Demos(double, **demos.columns), agent=agent)


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
    **{f"{k} shorter": (cut(k), k) for k in [*COLUMNS][1:]},
    "observations shorter": (cut("observations"), "(observations|actions) "),
    **{f"{k} with an axis too many": (cut(k, np.s_[:, None]), k) for k in COLUMNS},
    "observations (N,)": (cut("observations", np.s_[:, 0]),
                          r"^observations' shape is \(\d+,\); allowed: \(N, ...\)$"),
    "observations ()": (cut("observations", np.s_[0, 0]), "observations"),
    "next observations narrower": (
        cut("next_observations", np.s_[:, :1]), "next_observations"),
    "no rows": (empty, "observations"), "no features": (no_features, "observations"),
    **{f"{x} in {k}": (put(k, 3, x), f"{k}? .*finite")
       for k in ("observations", "next_observations", "rewards")
       for x in (np.nan, np.inf, -np.inf)},
    **{f"{kind} {k}": (cast(k, kind), f"{k}? ") for k, kind in (
        ("observations", "U8"), ("observations", "c8"), ("observations", "M8[s]"),
        ("terminations", "f4"), ("truncations", "i8"), ("episode_ids", "f4"),
        ("rewards", "U8"), ("actions", "U8"), ("actions", bool))},
}
DISCRETE = {
    "too high": (put("actions", 5, 2), r"action.*\[2\].*Discrete\(2\)"),
    "below 0": (put("actions", 5, -1), r"action.*\[-1\].*Discrete\(2\)"),
    "below all": (put("actions", 5, np.iinfo(np.int64).min), r"action.*Discrete\(2\)"),
    "above all": (put("actions", 5, np.iinfo(np.int64).max), r"action.*Discrete\(2\)"),
    "a fraction": (put("actions", 5, 0.5), "actions?"),
    "far too high in a byte": (
        lambda data: (cast("actions", "u1")(data), put("actions", 5, 128)(data)),
        r"action.*\[128\]"),
}
CONTINUOUS = {
    "too high": (put("actions", 5, 1.1), r"action.*1.1.*Box"),
    "too low": (put("actions", 5, -3.1), r"action.*-3\..*Box"),
    "nan in actions": (put("actions", 3, np.nan), "actions .*finite"),
    "actions (N,)": (cut("actions", np.s_[:, 0]), "actions"),
}
IN_FILES = {
    **{f"no {k}": (drop(k), rf"^.*'{k}'.*absent.*episode_ids") for k in NEEDED},
    "pickled": (cast("observations", object), "npz of arrays"),
    "no actions to choose from": (put("n_actions", (), 0), "."),
    "several numbers of actions": (
        lambda data: data.update(n_actions=np.array([2, 2])), "."),
    "words for bounds": (
        lambda data: data.update(action_low=np.array(["low"]), n_actions=None), "."),
}
CASES = [(kind, name, *case) for kind, more in zip(KINDS, (DISCRETE, CONTINUOUS))
         for name, case in (SPOILED | more).items()]
CASES += [("discrete", name, *case) for name, case in IN_FILES.items()]


@pytest.mark.parametrize("kind, name, spoil, says", CASES,
                         ids=[f"{kind}: {name}" for kind, name, *_ in CASES])
def test_a_spoiled_diary_is_refused_by_one_line_and_left_as_it_is(
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
            table(data)


def test_absent_columns_are_named_beside_those_that_are_there(path):
    data = columns(make_demos()) | {"acts": np.zeros(3)}
    del data["actions"], data["truncations"]
    with pytest.raises(ValueError) as caught:
        iq.Demos.load(write(path, data))
    before, _, there = str(caught.value).partition("absent")
    assert "'actions'" in before and "'truncations'" in before
    assert "'acts'" in there and "'observations'" in there


@pytest.mark.parametrize("seen", [
    lambda x: {"place": x, "goal": x}, lambda x: [{"place": row} for row in x],
    lambda x: (x, x[1:])], ids=["dict", "dicts", "tuple"])
def test_observations_of_several_parts_are_named_as_such(seen):
    data = columns(make_demos())
    data["observations"] = seen(data["observations"])
    with pytest.raises(ValueError, match="dict|list|tuple|inhomogeneous"):
        table(data)


@pytest.mark.parametrize("space", [Dict(a=Discrete(2)), Discrete(2, start=1), None, 2,
                                   "Discrete(2)"], ids=str)
def test_what_is_no_action_space_of_ours_is_refused_by_name(space):
    with pytest.raises(ValueError, match="action space") as caught:
        iq.Demos(space, **make_demos().columns)
    assert str(space) in str(caught.value)


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
    "a single array": lambda path: np.save(open(path, "wb"), np.zeros(3)),
    "an empty zip": lambda path: archive(path),
    "a zip of text": lambda path: archive(path, **{"observations.npy": "hello"}),
    "a zip without suffixes": lambda path: archive(
        path, **{k: b"1" for k in COLUMNS})}


@pytest.mark.parametrize("name", FILES)
def test_what_is_not_a_diary_is_refused_in_our_own_words(name, path):
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
        assert {"missing": "FileNotFound", "a folder": "IsADirectory"}[name] in said


def test_an_observation_of_a_reset_in_the_place_of_the_last_one_is_warned_of():
    data = columns(make_demos(episodes=3))
    end = np.flatnonzero(data["terminations"] | data["truncations"])[1]
    data["next_observations"][end] = data["observations"][end + 1]
    with pytest.warns(UserWarning, match="reset") as caught:
        table(data)
    assert str(end) in str(caught[0].message) or str(end + 1) in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table(columns(make_demos(episodes=3)))


@pytest.mark.parametrize("where", ["no/such/folder/d.npz", "file/d.npz", "folder"])
def test_a_diary_that_can_not_be_written_is_an_oserror_and_harms_nothing(
        demos, tmp_path, where):
    (tmp_path / "file").write_text("a file, no folder")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        demos.save(tmp_path / where)
    assert (tmp_path / "file").read_text() == "a file, no folder"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_save_that_fails_leaves_the_old_diary(demos, path, monkeypatch):
    demos.save(path)
    before = path.read_bytes()

    def half(file, **data):
        with open(file, "wb") as part:
            part.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(OSError, match="No space left"):
        demos.save(path)
    assert path.read_bytes() == before and os.listdir(path.parent) == ["diary.npz"]
