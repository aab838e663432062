"""Every space of Gymnasium that has a fixed width, to canonical rows and back."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from actrix.envs.spaces import ActionMap, ObsMap, is_image, leaves
from actrix.errors import ActrixError
from actrix.spec import Box, Choices, Spec

FLOATS = [np.float32, np.float64]
INF = np.inf

finite = st.floats(-1e6, 1e6, allow_nan=False, width=32)


@st.composite
def boxes(draw: st.DrawFn) -> spaces.Box:
    """Boxes of any rank up to 2, any float type, bounds asymmetric, equal or (all or some) infinite."""
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    size = int(np.prod(shape))
    low = np.array(draw(st.lists(finite, min_size=size, max_size=size)))
    width = np.array(draw(st.lists(st.floats(0, 1e5, width=32), min_size=size, max_size=size)))
    high = low + width
    for bound, value in ((low, -INF), (high, INF)):
        bound[np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)), bool)] = value
    dtype = draw(st.sampled_from(FLOATS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return spaces.Box(low.reshape(shape).astype(dtype), high.reshape(shape).astype(dtype), dtype=dtype)


@st.composite
def discretes(draw: st.DrawFn) -> spaces.Discrete:
    return spaces.Discrete(draw(st.integers(1, 6)), start=draw(st.integers(-5, 5)))


@st.composite
def multi_discretes(draw: st.DrawFn, ranks: int = 2) -> spaces.MultiDiscrete:
    nvec = np.array(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    start = np.array(draw(st.lists(st.integers(-3, 3), min_size=len(nvec), max_size=len(nvec))))
    if ranks == 2 and len(nvec) == 4 and draw(st.booleans()):
        nvec, start = nvec.reshape(2, 2), start.reshape(2, 2)
    return spaces.MultiDiscrete(nvec, start=start)


binaries = st.one_of(st.integers(1, 5), st.just((2, 3))).map(spaces.MultiBinary)
leaf_spaces = st.one_of(boxes(), discretes(), multi_discretes(), binaries)
any_space = st.recursive(
    leaf_spaces,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3).map(spaces.Dict),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: spaces.Tuple(parts)),
    ),
    max_leaves=5,
)


def unrow(space: gym.Space, row: np.ndarray) -> tuple[Any, np.ndarray]:
    """An oracle: the value that a row stands for, read by the order of the space, and the rest of the row."""
    if isinstance(space, spaces.Dict):
        value = {}
        for key, inner in space.spaces.items():
            value[key], row = unrow(inner, row)
        return value, row
    if isinstance(space, spaces.Tuple):
        parts = []
        for inner in space.spaces:
            part, row = unrow(inner, row)
            parts.append(part)
        return tuple(parts), row
    if isinstance(space, spaces.Discrete):
        return int(np.flatnonzero(row[: space.n])[0]) + int(space.start), row[space.n :]
    if isinstance(space, spaces.MultiDiscrete):
        picks = []
        for n in space.nvec.reshape(-1):
            picks.append(int(np.flatnonzero(row[:n])[0]))
            assert row[:n].sum() == 1
            row = row[n:]
        return np.array(picks).reshape(space.nvec.shape) + space.start, row
    size = int(np.prod(space.shape))
    return row[:size].reshape(space.shape), row[size:]


def assert_same(found: Any, value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            assert_same(found[key], inner)
    elif isinstance(value, tuple):
        for one, other in zip(found, value, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(np.asarray(found, np.float32), np.asarray(value, np.float32))


@settings(max_examples=60, deadline=None)
@given(any_space, st.integers(0, 2**31))
def test_an_observation_row_says_all_that_the_observation_says(space: gym.Space, seed: int) -> None:
    space.seed(seed)
    made = ObsMap(space)
    value = space.sample()
    row = made.row(value)
    assert row.shape == (made.size,)
    assert row.dtype == np.float32
    found, rest = unrow(space, row)
    assert rest.size == 0
    assert_same(found, value)
    assert [p.start for p in made.parts] == [0, *(p.stop for p in made.parts[:-1])]
    assert made.parts[-1].stop == made.size
    for part in made.parts:  # what is said to be categorical is 0 or 1, and no box is said to be
        assert not part.categorical or set(row[part.start : part.stop]) <= {0.0, 1.0}
    assert all(p.categorical != isinstance(s, spaces.Box) for p, (_, s) in zip(made.parts, leaves(space), strict=True))


@settings(max_examples=60, deadline=None)
@given(st.one_of(boxes(), discretes(), multi_discretes(ranks=1), st.integers(1, 5).map(spaces.MultiBinary)), st.data())
def test_actions_go_out_and_come_back(space: gym.Space, data: st.DataObject) -> None:
    space.seed(data.draw(st.integers(0, 2**31)))
    made = ActionMap(space)
    value = space.sample()
    row = made.from_env(value)
    again = made.to_env(row)
    if isinstance(space, spaces.Box):
        np.testing.assert_allclose(again, value, rtol=1e-4, atol=1e-3 * float(np.abs(value).max(initial=1.0)))
        assert again.dtype == space.dtype
        assert again.shape == space.shape
    else:
        np.testing.assert_array_equal(again, value)
    assert space.contains(again) or isinstance(space, spaces.Discrete)


def test_asymmetric_bounds_are_met_exactly() -> None:
    space = spaces.Box(np.array([-1.0, 0.0, 5.0], np.float32), np.array([3.0, 10.0, 5.5], np.float32))
    made = ActionMap(space)
    for canonical, expected in ((-1.0, space.low), (1.0, space.high), (0.0, (space.low + space.high) / 2)):
        np.testing.assert_array_equal(made.to_env(np.full(3, canonical, np.float32)), expected)
    np.testing.assert_array_equal(made.to_env(np.array([-9, 9, 9], np.float32)), [-1.0, 10.0, 5.5])  # clipped
    assert isinstance(made.spec, Box)
    assert Spec((), made.spec).action_kind == "box"


@pytest.mark.parametrize("high", [INF, 3.4e38])
def test_infinite_bounds_leave_actions_as_they_are(high: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        space = spaces.Box(np.array([-1.0, -high], np.float32), np.array([1.0, high], np.float32))
        made = ActionMap(space)
        np.testing.assert_array_equal(made.to_env(np.array([0.5, 1e6], np.float32)), [0.5, 1e6])
        np.testing.assert_array_equal(
            made.to_env(np.array([7.0, -1e6], np.float32)), [1.0, -1e6]
        )  # the finite bound holds
    assert Spec((), made.spec).action_kind == "unbounded box"


def test_whole_numbered_boxes_round() -> None:
    made = ActionMap(spaces.Box(0, 4, (5,), np.int64))
    row = np.array([-1.0, -0.5, 0.0, 0.49, 0.99], np.float32)
    np.testing.assert_array_equal(made.to_env(row), [0, 1, 2, 3, 4])


def test_a_discrete_with_a_start() -> None:
    made = ActionMap(spaces.Discrete(3, start=-1))
    assert [made.to_env(np.array([i])) for i in range(3)] == [-1, 0, 1]
    assert made.from_env(1).tolist() == [2]
    assert made.spec == Choices((3,), "discrete", (-1,))
    np.testing.assert_array_equal(ObsMap(spaces.Discrete(3, start=7)).row(8), [0, 1, 0])


def test_images_stay_bytes_and_mixtures_become_numbers() -> None:
    image = spaces.Box(0, 255, (12, 12, 3), np.uint8)
    frame = image.sample()
    made = ObsMap(image)
    assert made.dtype == np.uint8
    assert made.parts[0].image
    np.testing.assert_array_equal(made.row(frame).reshape(12, 12, 3), frame)
    both = ObsMap(spaces.Dict(camera=image, speed=spaces.Box(-1, 1, (2,), np.float64)))
    assert both.dtype == np.float32
    assert {p.name: p.image for p in both.parts} == {"obs.camera": True, "obs.speed": False}
    assert not is_image(spaces.Box(0, 255, (128,), np.uint8))  # the memory of a console
    assert not is_image(spaces.Box(0, 1, (12, 12), np.float32))
    with pytest.raises(ActrixError, match="returned the image 'obs' as float64, but its space says uint8"):
        made.row(frame / 255.0)


@pytest.mark.parametrize(
    ("space", "value", "says"),
    [
        (spaces.Box(-1, 1, (3,)), np.zeros(2), "of shape (2,), but its space says (3,)"),
        (spaces.Box(-1, 1, (3,)), np.zeros((3, 1)), "of shape (3, 1), but its space says (3,)"),
        (spaces.Box(-1, 1, (3,)), 0.0, "of shape (), but its space says (3,)"),
        (spaces.Discrete(3), 3, "outside its space"),
        (spaces.Discrete(3), -1, "outside its space"),
        (spaces.Discrete(3, start=2), 1, "outside its space"),
        (spaces.Discrete(3), [1, 2], "of shape (2,), but its space says ()"),
        (spaces.MultiDiscrete([2, 3]), np.array([2, 0]), "outside its space"),
        (spaces.MultiDiscrete([2, 3]), np.array([1]), "of shape (1,), but its space says (2,)"),
        (spaces.MultiBinary(3), np.array([1]), "of shape (1,), but its space says (3,)"),
        (spaces.Dict(a=spaces.Dict(b=spaces.Discrete(2))), {"a": {"b": 5}}, "'obs.a.b'"),
    ],
)
def test_an_observation_outside_its_space_is_named(space: gym.Space, value: Any, says: str) -> None:
    with pytest.raises(ActrixError) as caught:
        ObsMap(space).row(value)
    assert says in caught.value.message


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(4),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Graph(spaces.Discrete(2), None),
        spaces.OneOf([spaces.Discrete(2), spaces.Box(0, 1)]),
    ],
)
def test_spaces_without_a_width_are_refused(space: gym.Space) -> None:
    with pytest.raises(ActrixError, match="which has no fixed-width form"):
        ObsMap(spaces.Dict(a=spaces.Discrete(2), b=space))
    with pytest.raises(ActrixError, match="no actor can act in this action space"):
        ActionMap(space)
