"""Runs that learn from recorded data, and those that go on in an environment."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from actrix import api, cli, registry
from actrix.credit import returns_to_go
from actrix.data.formats import write_flat
from actrix.envs.make import make_env
from actrix.errors import ActrixError
from actrix.run.collect import record
from actrix.run.folder import RunFolder
from actrix.run.offline import Continued, DatasetFeed
from actrix.run.trainer import RunOptions, Trainer

SMALL = {"hidden": (8,), "batch": 16, "threads": 1, "compile": "no", "eval_episodes": 2}
SAC = "--env Pendulum-v1 --steps 60 --warmup 20 --hidden 8 --batch 8 --eval-episodes 1 --threads 1"
IQL = "--steps 40 --hidden 8 --batch 8 --eval-episodes 2 --threads 1"
PLAIN = {**SMALL, "checkpoint_every": 20, "eval_every": 40, "log_every": 10}


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 episodes of random torques, with the environment's id and bounds in the file."""
    path = tmp_path_factory.mktemp("data") / "pendulum.npz"
    return written(path, "Pendulum-v1", "Pendulum-v1")


def written(path: Path, env_id: str, said: str) -> Path:
    env = make_env(env_id)
    played = record(lambda obs, mask: env.action_space.sample(), env, 3, 0)
    write_flat(path, played, (env.observation_space, env.action_space), {"env": said})
    return path


def start(system: str, folder: Path | None = None, **settings: Any) -> Trainer:
    entry = registry.load(system)
    fields = entry.config.__dataclass_fields__
    config = entry.config(**{k: v for k, v in settings.items() if k in fields})
    options = RunOptions(**{k: v for k, v in settings.items() if k in RunOptions.__dataclass_fields__})
    return Trainer.start(system, options, config, folder)


def bits(folder: Path) -> dict[str, str]:
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    manifest = json.loads((newest / "manifest.json").read_text())
    return {
        "step": newest.name,
        "weights": hashlib.sha256((newest / "learner.safetensors").read_bytes()).hexdigest(),
        "counters": json.dumps(manifest["counters"]),
        "metrics": (folder / "metrics.jsonl").read_text(),
    }


def says(argv: list[Any], capsys: pytest.CaptureFixture[str], status: int = 0) -> Any:
    """What a command line prints as its JSON document."""
    capsys.readouterr()
    code = cli.run([*map(str, argv), "--json"])
    out = capsys.readouterr()
    assert code == status, out
    return json.loads(out.out)


# -- the whole way ---------------------------------------------


@pytest.mark.parametrize("kind", ["minari", "d4rl", "npz"])
def test_collect_look_train_eval(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    words = SAC.split()
    says(["train", "sac", *words, "--folder", run], capsys)
    made = says(["collect", run, "--episodes", 3, "--out", tmp_path / "data-v0", "--format", kind], capsys)
    data = Path(made["data"])
    assert data.exists()
    env = ["--env", "Pendulum-v1"] if kind == "d4rl" else []  # that layout has no place for it
    seen = says(["data", data, *env], capsys)
    assert seen["rows"] == made["rows"] == 600
    assert (seen["episodes"], seen["terminated"], seen["truncated"]) == (3, 0, 3)
    assert seen["env"] == "Pendulum-v1"
    assert seen["return"]["mean"] == pytest.approx(made["mean"], rel=1e-5)
    page = Path(seen["page"]).read_text()
    assert page.count("<svg") == 4 + 1 + 3, "returns, order, lengths, rewards; one action, three observations"
    assert seen["fingerprint"] in page
    words = IQL.split()
    trained = says(["train", "iql", "--data", data, *env, *words, "--folder", tmp_path / "iql"], capsys)
    assert trained["step"] == 40
    assert len(trained["evaluation"]["scores"]) == 2
    assert says(["eval", tmp_path / "iql", "--episodes", 2], capsys)["env"] == "Pendulum-v1"
    assert says(["data", data, *env], capsys)["fingerprint"] == seen["fingerprint"], "the page is no part of the data"
    again = says(["collect", run, "--episodes", 3, "--out", tmp_path / "data-v0", "--format", kind], capsys, 2)
    assert "is already there" in again["error"]


def test_the_same_episodes_are_collected_again(tmp_path: Path) -> None:
    api.train("sac", env="Pendulum-v1", folder=tmp_path / "run", quiet=True, steps=30, warmup=10, **PLAIN)
    made = [api.collect(tmp_path / "run", tmp_path / f"{i}.npz", 2, seed=i // 2, format="npz") for i in range(3)]
    blobs = [dict(np.lib.npyio.NpzFile(m["data"])) for m in made]
    assert all(np.array_equal(blobs[0][k], blobs[1][k]) for k in blobs[0])
    assert not np.array_equal(blobs[0]["obs"], blobs[2]["obs"])
    modes = [api.collect(tmp_path / "run", tmp_path / f"m{i}.npz", 1, mode="mean", format="npz") for i in range(2)]
    assert modes[0]["mean"] == modes[1]["mean"]


@pytest.mark.parametrize("system", ["sac", "bc", "cal-ql"])
def test_one_trainer_for_all_sources(system: str, pendulum: Path) -> None:
    """From the environment alone (where the system can), from data alone, and from data and then the environment."""
    sources: list[dict[str, Any]] = [{"data": (str(pendulum),), "steps": 20}]
    if system != "bc":
        sources.append({"data": (str(pendulum),), "steps": 20, "online_steps": 20})
    if system == "sac":
        sources.append({"env": "Pendulum-v1", "steps": 40, "warmup": 10})
    for source in sources:
        trainer = start(system, **{**SMALL, **source})
        before = {k: v.clone() for k, v in trainer.learner.state().items()}
        reports = list(trainer)
        trainer.close()
        assert reports[-1].step == source["steps"] + source.get("online_steps", 0)
        assert reports[-1].evaluation is not None
        assert any(not torch.equal(before[k], v) for k, v in trainer.learner.state().items())


# -- the two parts ---------------------------------------------


def feed_of(trainer: Trainer) -> DatasetFeed:
    assert isinstance(trainer.feed, DatasetFeed)
    return trainer.feed


@pytest.mark.parametrize(("mix", "share"), [((), 0.5), ((1.0,), 0.5), ((3.0, 1.0), 0.25)])
def test_batches_mix_the_data_with_the_replay(mix: tuple[float, ...], share: float, tmp_path: Path) -> None:
    """Rows from the data are known by their reward."""
    data = dict(np.lib.npyio.NpzFile(written(tmp_path / "a.npz", "Pendulum-v1", "Pendulum-v1")))
    data["reward"][:] = 77.0
    np.savez(tmp_path / "a.npz", **data)
    trainer = start("sac", **{**SMALL, "data": (str(tmp_path / "a.npz"),), "mix": mix, "steps": 5, "online_steps": 50})
    feed = feed_of(trainer)
    feed.reset()
    for step in range(55):
        for batch, _ in feed.round(trainer.learner):
            recorded = float((batch.reward == 77.0).float().mean())
            assert recorded == (1.0 if step < 5 else 1 - share)
            feed.progress.updates += 1
    assert feed.progress.steps == 55
    assert feed.progress.updates == 55, "no warmup: it learns from the first step on"
    assert feed.online is not None
    assert len(feed.online.replay) == 50
    trainer.close()


def test_data_sets_are_weighted_by_size_or_as_told(tmp_path: Path) -> None:
    paths = []
    for i, n in enumerate((100, 300)):
        paths.append(str(tmp_path / f"{i}.npz"))
        zero, flag = np.zeros((n, 3), np.float32), np.zeros(n, bool)
        np.savez(paths[-1], obs=zero, action=zero[:, :1], reward=np.full(n, float(i)), terminated=flag, next_obs=zero)
    for mix, expected in (((), 0.75), ((4.0, 1.0), 0.2)):
        trainer = start("bc", **{**SMALL, "batch": 100, "data": tuple(paths), "mix": mix, "steps": 5})
        batch, _ = next(trainer.feed.round(trainer.learner))
        assert float(batch.reward.mean()) == pytest.approx(expected, abs=0.011)
        trainer.close()


class Walk(gym.Env):
    """Random rewards; an episode terminates after 3 steps or is cut off after 5, by turns."""

    count = 0

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t, self.count = 0, self.count + 1
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        ends = self.count % 2 == 1
        terminated, truncated = ends and self.t == 3, not ends and self.t == 5
        return np.full(1, self.t, np.float32), float(self.np_random.normal()), terminated, truncated, {}


gym.register("Walk-v0", entry_point=Walk)


def test_returns_of_online_episodes_are_filled_in_when_they_end(tmp_path: Path) -> None:
    data = written(tmp_path / "walk.npz", "Walk-v0", "Walk-v0")
    settings = {**SMALL, "data": (str(data),), "steps": 1, "online_steps": 24, "envs": 2, "samples": 2}
    trainer = start("cal-ql", **settings, discount=0.9)
    feed = feed_of(trainer)
    feed.reset()
    for _ in range(1 + 12):
        for _ in feed.round(trainer.learner):
            feed.progress.updates += 1
    assert isinstance(feed.online, Continued)
    found = {k: v.numpy() for k, v in feed.online.replay.tensors().items()}
    for world in range(2):
        mine = {k: v[world::2] for k, v in found.items()}
        last = mine["terminated"] | mine["truncated"]
        expected = returns_to_go(mine["reward"], mine["terminated"], last, 0.9)
        over = np.flatnonzero(last).max() + 1
        assert over < len(last) == 12
        np.testing.assert_allclose(mine["returns"][:over], expected[:over], rtol=1e-5)
        assert (mine["returns"][over:] == -np.inf).all(), "the running episode has no bound yet"
    trainer.close()


def test_observations_are_normalised_by_the_data_and_stay_so(pendulum: Path) -> None:
    trainer = start("td3-bc", **{**SMALL, "data": (str(pendulum),), "steps": 3, "online_steps": 10})
    obs = np.lib.npyio.NpzFile(pendulum)["obs"]
    for _ in trainer:
        observer = trainer.learner.observer
        assert observer is not None
        np.testing.assert_allclose(observer.mean.numpy(), obs.mean(0), rtol=1e-4)
        np.testing.assert_allclose(observer.variance.numpy(), obs.var(0), rtol=1e-4)
    trainer.close()


# -- runs that survive ---------------------------------------------

RUNS = {
    "offline": {"system": "td3-bc", "steps": 80},
    "then online": {"system": "cal-ql", "steps": 40, "online_steps": 60, "samples": 2, "capacity": 30},
    "chunks, then online": {
        "system": "qgf", "steps": 40, "online_steps": 60, "chunk": 3, "denoising_steps": 1, "guide": "none", "envs": 2,
        "capacity": 30,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_has_the_same_bits(name: str, pendulum: Path, tmp_path: Path) -> None:
    settings = {**PLAIN, **RUNS[name], "data": (str(pendulum),)}
    system = str(settings.pop("system"))
    whole = start(system, tmp_path / "whole", **settings)
    list(whole)
    whole.close()
    for stop in (7, 33, 47, 71):
        folder = tmp_path / str(stop)
        trainer = start(system, folder, **settings)
        for report in trainer:
            if report.step >= stop:
                break
        trainer.close()
        resumed = Trainer.resume(folder)
        assert resumed.step == stop // 20 * 20
        list(resumed)
        resumed.close()
        assert bits(folder) == bits(tmp_path / "whole")


def test_an_offline_run_is_continued_online(pendulum: Path, tmp_path: Path) -> None:
    """`resume --online-steps` gives what one run of both would have given."""
    settings = {**PLAIN, "data": (str(pendulum),), "steps": 40}
    whole = start("sac", tmp_path / "whole", **settings, online_steps=40)
    list(whole)
    whole.close()
    first = start("sac", tmp_path / "first", **settings)
    list(first)
    first.close()
    result = api.resume(tmp_path / "first", quiet=True, online_steps=40)
    assert result.step == 80
    assert bits(tmp_path / "first") == bits(tmp_path / "whole")
    run = RunFolder(tmp_path / "first").config()["run"]
    assert (run["steps"], run["online_steps"]) == (40, 40)
    assert api.resume(tmp_path / "first", 100, quiet=True).step == 100, "a new budget lengthens the part online"
    with pytest.raises(ActrixError, match="must be at least 40, which were learned from data"):
        api.resume(tmp_path / "first", 30, quiet=True)


def test_changed_data_are_refused(tmp_path: Path) -> None:
    data = written(tmp_path / "data.npz", "Pendulum-v1", "Pendulum-v1")
    trainer = start("bc", tmp_path / "run", **{**PLAIN, "data": (str(data),), "steps": 40})
    list(trainer)
    trainer.close()
    config = RunFolder(tmp_path / "run").config()
    assert config["spec"]["data"][0]["rows"] == 600
    before = data.read_bytes()
    columns = dict(np.lib.npyio.NpzFile(data))
    columns["reward"][5] += 1
    np.savez(data, **columns)
    with pytest.raises(ActrixError, match=r"the data at .*data.npz have changed since this run began") as caught:
        Trainer.resume(tmp_path / "run", 60)
    assert "put the data back" in caught.value.hint
    data.unlink()
    with pytest.raises(ActrixError, match="there is no data at"):
        Trainer.resume(tmp_path / "run", 60)
    assert api.load(tmp_path / "run").act(np.zeros(3, np.float32)).shape == (1,), "its policy needs no data"
    data.write_bytes(before)
    assert api.resume(tmp_path / "run", 60, quiet=True).step == 60


def test_data_that_cannot_be_read_leave_no_run(tmp_path: Path) -> None:
    data = written(tmp_path / "data.npz", "Pendulum-v1", "Pendulum-v1")
    columns = dict(np.lib.npyio.NpzFile(data))
    columns["obs"][123, 1] = np.nan
    np.savez(data, **columns)
    with pytest.raises(ActrixError, match=r"data.npz, row 123: observation\[1\] is nan"):
        start("bc", tmp_path / "run", **{**PLAIN, "data": (str(data),), "steps": 40})
    assert not (tmp_path / "run").exists()


# -- without an environment ---------------------------------------------


@pytest.mark.parametrize("said", ["", "Nowhere-v0"])
def test_without_an_environment_it_trains_and_says_that_it_does_not_evaluate(
    said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written(tmp_path / "data.npz", "Pendulum-v1", said)
    words = ["train", "iql", "--data", data, "--steps", 30, "--hidden", 8, "--batch", 8, "--threads", 1]
    assert cli.run([*map(str, words), "--folder", str(tmp_path / "run")]) == 0
    out = capsys.readouterr()
    assert "not evaluated" in out.out
    assert ("Nowhere-v0 is not installed" if said else "no environment is known") in out.err
    done = says(["resume", tmp_path / "run", "--steps", 40], capsys)
    assert (done["step"], done["evaluation"]) == (40, {})
    assert not any(r["kind"] == "eval" for r in RunFolder(tmp_path / "run").records())
    action = api.load(tmp_path / "run").act(np.zeros(3, np.float32))
    assert action.shape == (1,)
    assert "no environment" in says(["eval", tmp_path / "run"], capsys, 1)["error"]
    assert "no environment" in says(["collect", tmp_path / "run", "--out", tmp_path / "x"], capsys, 2)["error"]
    assert "needs an environment" in says(["resume", tmp_path / "run", "--online-steps", 5], capsys, 2)["error"]
    assert cli.run(["report", str(tmp_path / "run")]) == 0


def test_data_do_not_choose_what_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "imported"
    (tmp_path / "planted.py").write_text(f"open({str(mark)!r}, 'w').close()")
    monkeypatch.chdir(tmp_path)
    data = written(tmp_path / "data.npz", "Pendulum-v1", "planted:Pendulum-v1")
    trainer = start("bc", **{**SMALL, "data": (str(data),), "steps": 5})
    assert "--env planted:Pendulum-v1" in trainer.regime.remark
    trainer.close()
    assert not mark.exists()
    start("bc", **{**SMALL, "data": (str(data),), "env": "planted:Pendulum-v1", "steps": 5}).close()
    assert mark.exists(), "the plant was a dud"


# -- misuse ---------------------------------------------

WRONG = {
    "ppo --data {data}": "learns from its own rollouts",
    "iql --env Pendulum-v1": "iql learns from recorded experience",
    "bc --data {data} --online-steps 5": "bc learns from data only",
    "sac --env Pendulum-v1 --online-steps 5": "--online-steps goes with --data",
    "sac --env Pendulum-v1 --mix 1": "--mix goes with --data",
    "sac --data {data} --mix 1 1": "--mix has 2 weights, but there are 1 data sets",
    "sac --data {data} --mix -1": "--mix",
    "sac --data {data} --mix 0": "--mix: weights must be 0 or more",
    "sac --data {data} --mix nan": "--mix must be",
    "sac --data nowhere.npz": "there is no data at",
    "dqn --data {data}": "dqn cannot act in",
    "sac --data {data} --env MountainCarContinuous-v0": "observations have the shape (3,), not (2,)",
    "sac": "give --env ID, --data DIR or --task NAME",
}


@pytest.mark.parametrize("words", WRONG)
def test_misuse_is_said_in_a_line(words: str, pendulum: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", *words.format(data=pendulum).split(), "--steps", "5", "--json"]
    code = cli.run(argv)
    found = json.loads(capsys.readouterr().out)
    assert WRONG[words] in found["error"]
    assert code == (1 if "MountainCar" in words else 2)


def test_masks_are_not_guessed(tmp_path: Path) -> None:
    """Data know nothing of which choices were legal."""

    class Masked(Walk):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = gym.spaces.Discrete(2)

        def reset(self, **more: Any) -> Any:
            return super().reset(**more)[0], {"action_mask": np.array([True, False])}

        def step(self, action: Any) -> Any:
            return *super().step(action)[:4], {"action_mask": np.array([True, False])}

    gym.register("MaskedWalk-v0", entry_point=Masked)
    data = written(tmp_path / "walk.npz", "MaskedWalk-v0", "MaskedWalk-v0")
    trainer = start("dqn", **{**SMALL, "data": (str(data),), "steps": 2, "online_steps": 2})
    with pytest.raises(ActrixError, match="has action masks"):
        list(trainer)
    trainer.close()
