"""Speed beside peers, in one run: python -m benchmarks [ROW ...] [--rounds N]

Every contender is a process of its own; they work in turns, piece by piece, so that a machine that slows down slows
all of them. Medians over the rounds, and ratios round by round. Peers live in .venv-bench, never in our environment.
Writes benchmarks/results.json and docs/benchmarks.md.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
OURS, PEERS = ROOT / ".venv/bin/python", ROOT / ".venv-bench/bin/python"
WORK = ROOT / "runs" / "bench"
RESULTS = ROOT / "benchmarks" / "results.json"


@dataclass(frozen=True)
class Contender:
    name: str
    row: str
    settings: dict[str, Any]
    piece: int  # units of work per turn

    @property
    def peer(self) -> bool:
        return self.row.split("_")[0] in ("sb3", "sbx", "trl", "hf")


@dataclass(frozen=True)
class Row:
    title: str
    unit: str
    contenders: tuple[Contender, ...]  # the first is ours by default, the last is what ratios are against
    target: str
    scale: float = 1.0  # units in one unit of work


def c(name: str, row: str, piece: int, **settings: Any) -> Contender:
    return Contender(name, row, settings, piece)


BIG: dict[str, Any] = {"obs": 17, "action": 6, "width": 256, "batch": 256, "threads": 2}
SMALL: dict[str, Any] = {"obs": 3, "action": 1, "width": 64, "batch": 100, "threads": 1}
CART: dict[str, Any] = {"env": "CartPole-v1", "horizon": 32, "minibatch": 256, "epochs": 20, "warm": 1024, "threads": 1}
CHEETAH: dict[str, Any] = {"env": "HalfCheetah-v5", "horizon": 256, "minibatch": 64, "epochs": 10, "warm": 4096}
SAC: dict[str, Any] = {"env": "HalfCheetah-v5", "warm": 600, "threads": 2}
MODEL = {"model": WORK / "model"}
FLEET = {"quadrotors": 16_384}

ROWS = {
    "sac-update": Row(
        "SAC updates, 2x256 networks, batch 256, HalfCheetah shapes, replay sampling included, 2 threads",
        "updates/s",
        (
            c("actrix fp32", "sac_update", 500, **BIG),
            c("actrix medium", "sac_update", 500, precision="medium", **BIG),
            c("actrix bf16", "sac_update", 500, precision="bf16", **BIG),
            c("actrix fp32, eager", "sac_update", 300, compile="no", **BIG),
            c("SBX, chunks of 64", "sbx_sac_update", 512, **BIG),
            c("stable-baselines3", "sb3_sac_update", 200, **BIG),
        ),
        "fp32 2.0x stable-baselines3; medium level with SBX; bf16 1.3x SBX",
    ),
    "sac-update-small": Row(
        "SAC updates, 2x64 networks, batch 100, 1 thread",
        "updates/s",
        (
            c("actrix fp32", "sac_update", 3000, **SMALL),
            c("actrix fp32, eager", "sac_update", 1500, compile="no", **SMALL),
            c("SBX, chunks of 64", "sbx_sac_update", 6400, **SMALL),
            c("stable-baselines3", "sb3_sac_update", 600, **SMALL),
        ),
        "5x stable-baselines3",
    ),
    "sac": Row(
        "SAC end to end on HalfCheetah-v5, an update a step, 2 threads",
        "steps/s",
        (
            c("actrix fp32", "sac", 600, **SAC),
            c("actrix bf16", "sac", 600, precision="bf16", **SAC),
            c("SBX", "sbx_sac", 400, **SAC),
            c("stable-baselines3", "sb3_sac", 300, **SAC),
        ),
        "1.8x stable-baselines3",
    ),
    "ppo-cartpole": Row(
        "PPO end to end on CartPole-v1, 8 environments, 32 steps, one batch of 256, 20 passes, 1 thread",
        "steps/s",
        (
            c("actrix", "ppo", 40_960, **CART),
            c("SBX", "sbx_ppo", 20_480, **CART),
            c("stable-baselines3", "sb3_ppo", 20_480, **CART),
        ),
        "2x stable-baselines3",
    ),
    "ppo-halfcheetah": Row(
        "PPO end to end on HalfCheetah-v5, 8 environments, 256 steps, minibatches of 64, 10 passes",
        "steps/s",
        (
            c("actrix", "ppo", 8192, threads=1, **CHEETAH),
            c("stable-baselines3, 1 thread", "sb3_ppo", 4096, threads=1, **CHEETAH),
            c("stable-baselines3, 2 threads", "sb3_ppo", 4096, threads=2, **CHEETAH),
            c("SBX", "sbx_ppo", 4096, threads=2, **CHEETAH),
        ),
        "level with SBX",
    ),
    **{
        f"generate-{n}": Row(
            f"Generation, 1.6 M parameters, 64 rows of 64 new tokens, same weights, {n} thread{'s' * (n > 1)}",
            "tokens/s",
            (
                c("actrix", "generate", 4, threads=n, **MODEL),
                c("transformers.generate", "hf_generate", 2, threads=n, **MODEL),
            ),
            "2.5x transformers.generate",
            scale=64 * 64,
        )
        for n in (1, 2)
    },
    **{
        f"grpo-{n}": Row(
            f"GRPO steps, 1.6 M parameters, 64 answers of at most 64 tokens, {n} thread{'s' * (n > 1)}",
            "steps/s",
            (
                c("actrix fp32", "grpo", 4, threads=n, data=WORK / "prompts.jsonl"),
                c("actrix medium", "grpo", 4, threads=n, data=WORK / "prompts.jsonl", precision="medium"),
                c("TRL", "trl_grpo", 3, threads=n, data=WORK / "prompts.jsonl", **MODEL),
            ),
            "2.5x TRL",
        )
        for n in (1, 2)
    },
    "quadrotor": Row(
        "Steps of 16,384 quadrotors, with rewards, ends and new starts",
        "steps/s",
        (
            c("compiled, 2 threads", "quadrotor", 300, compile="yes", threads=2, **FLEET),
            c("compiled, 1 thread", "quadrotor", 200, compile="yes", threads=1, **FLEET),
            c("eager, 2 threads", "quadrotor", 10, compile="no", threads=2, **FLEET),
        ),
        "25 million",
        scale=FLEET["quadrotors"],
    ),
}


def install_peers() -> None:
    """Make .venv-bench once."""
    if PEERS.exists() and (ROOT / ".venv-bench/installed").exists():
        return
    print("==> installing the peers into .venv-bench", flush=True)
    if not PEERS.exists():
        subprocess.run([OURS, "-m", "venv", ROOT / ".venv-bench"], check=True)
    pip = [PEERS, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", ROOT / "constraints.txt"]
    subprocess.run([*pip, "torch", "numpy"], check=True)
    subprocess.run([*pip, "-r", ROOT / "benchmarks" / "peers.txt"], check=True)
    (ROOT / ".venv-bench/installed").touch()


def prepare() -> None:
    """A small random Llama with a character tokenizer, and prompts, for the language rows."""
    if (WORK / "prompts.jsonl").exists():
        return
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    WORK.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    letters = [chr(i) for i in range(32, 127)]
    vocabulary = {t: i for i, t in enumerate(["<pad>", "<eos>", "<unk>", *letters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(WORK / "model")
    config = LlamaConfig(
        vocab_size=259, hidden_size=192, num_hidden_layers=4, num_attention_heads=4, intermediate_size=448,
        max_position_embeddings=256, tie_word_embeddings=True, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(WORK / "model")
    rows = [{"prompt": f"{i * 7919 % 9973:04d}+{i * 104729 % 9967:04d} = ", "answer": "x" * 63} for i in range(400)]
    (WORK / "prompts.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


class Process:
    """A contender at work."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        python = PEERS if contender.peer else OURS
        module = "benchmarks.peers" if contender.peer else "benchmarks.ours"
        words = [f"{k}={v}" for k, v in contender.settings.items()]
        environment = {**os.environ, "OMP_NUM_THREADS": str(contender.settings.get("threads", 2))}
        environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TF_CPP_MIN_LOG_LEVEL": "3"}
        log = open(WORK / "log.txt", "a")  # noqa: SIM115
        self.process = subprocess.Popen(
            [python, "-m", module, contender.row, *words], cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
        self._until("ready")

    def _until(self, start: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(start) if start else line[:1].isdigit():
                return line
        raise SystemExit(f"{self.contender.name} ({self.contender.row}) died: see {WORK / 'log.txt'}")

    def turn(self) -> tuple[float, float]:
        """(units per second, peak MB) of one piece of work."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.contender.piece}\n")
        self.process.stdin.flush()
        seconds, memory = self._until("").split()
        return self.contender.piece / float(seconds), float(memory)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def measure(row: Row, rounds: int) -> list[dict[str, Any]]:
    """Let the contenders of a row take turns."""
    processes = [Process(contender) for contender in row.contenders]
    speeds: list[list[float]] = [[] for _ in processes]
    memory = [0.0] * len(processes)
    for _ in range(rounds):
        for i, process in enumerate(processes):
            speed, memory[i] = process.turn()
            speeds[i].append(speed * row.scale)
    for process in processes:
        process.end()
    reference = speeds[-1]
    return [
        {
            "name": contender.name,
            "speed": statistics.median(mine),
            "ratio": statistics.median(a / b for a, b in zip(mine, reference, strict=True)),
            "low": min(mine),
            "high": max(mine),
            "megabytes": memory[i],
        }
        for i, (contender, mine) in enumerate(zip(row.contenders, speeds, strict=True))
    ]


def commands() -> list[dict[str, Any]]:
    """How long the commands that need no torch take."""
    import time

    found = []
    for words in (["--help"], ["list"], ["show", "sac"]):
        spans = []
        for _ in range(7):
            start = time.perf_counter()
            subprocess.run([ROOT / ".venv/bin/actrix", *words], check=True, stdout=subprocess.DEVNULL)
            spans.append(time.perf_counter() - start)
        found.append({"name": "actrix " + " ".join(words), "seconds": statistics.median(spans)})
    return found


def learning(found: dict[str, Any]) -> list[str]:
    """What `benchmarks.curves` measured, as lines of the page."""
    lines = []
    if "learn" in found:
        learn = found["learn"]
        lines += [
            "## Learning by precision",
            "",
            f"SAC with its defaults on {learn['env']}, {learn['steps']:,} steps; mean return of {learn['episodes']} "
            "episodes at the last evaluation, by seed. Made by `python -m benchmarks.curves learn`.",
            "",
            "![Learning curves by precision](generated/learn.svg)",
            "",
            "| | mean | of each seed |",
            "|---|---:|---|",
        ]
        for arm, runs in learn["arms"].items():
            last = [run[-1][1] for run in runs]
            lines.append(f"| {arm} | {statistics.mean(last):,.0f} | {', '.join(f'{x:,.0f}' for x in last)} |")
        lines.append("")
    if "cost" in found:
        lines += [
            "## What an update costs",
            "",
            "One update of SAC (fp32, one thread) against batch size, width of the networks and rows in the replay, "
            "the others at their defaults. Made by `python -m benchmarks.curves cost`.",
            "",
            "![Cost of an update](generated/cost.svg)",
            "",
        ]
    return lines


def page(results: dict[str, Any]) -> str:
    """docs/benchmarks.md."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench` (one row: `.venv/bin/python -m benchmarks ROW`). Contenders are processes that take",
        "turns piece by piece; speeds are medians over the rounds, ratios are medians of",
        "the rounds' ratios to the last line of each table, memory is the peak of the process.",
        "",
        (ROOT / "benchmarks" / "notes.md").read_text(),
    ]
    curves = ROOT / "benchmarks" / "curves.json"
    if curves.exists():
        lines += learning(json.loads(curves.read_text()))
    for name, found in results["rows"].items():
        row = ROWS[name]
        lines += [f"## {row.title}", "", f"Target: {row.target}. Measured {found['date']} on {found['machine']}.", ""]
        lines += [f"| | {row.unit} | slowest to fastest | ratio | peak MB |", "|---|---:|---:|---:|---:|"]
        digits = 2 if found["contenders"][0]["speed"] < 20 else 0
        for x in found["contenders"]:
            spread = f"{x['low']:,.{digits}f} to {x['high']:,.{digits}f}"
            speed = f"{x['speed']:,.{digits}f}"
            lines.append(f"| {x['name']} | {speed} | {spread} | {x['ratio']:.2f} | {x['megabytes']:,.0f} |")
        lines.append("")
    if "commands" in results:
        lines += ["## Commands that answer at once", "", "Target: 0.25 s.", "", "| | seconds |", "|---|---:|"]
        lines += [f"| `{x['name']}` | {x['seconds']:.3f} |" for x in results["commands"]]
        lines.append("")
    return "\n".join(lines)


def main(words: list[str]) -> None:
    rounds = 7
    if "--rounds" in words:
        at = words.index("--rounds")
        rounds = int(words[at + 1])
        words = words[:at] + words[at + 2 :]
    if unknown := [w for w in words if w not in ROWS and w != "commands"]:
        raise SystemExit(f"unknown rows {unknown}; known: {', '.join(ROWS)}, commands")
    WORK.mkdir(parents=True, exist_ok=True)
    install_peers()
    prepare()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": {}}
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    for name in words or [*ROWS, "commands"]:
        print(f"==> {name}", flush=True)
        if name == "commands":
            results["commands"] = commands()
            print(results["commands"])
        else:
            found = measure(ROWS[name], rounds)
            results["rows"][name] = {"date": date.today().isoformat(), "machine": machine, "contenders": found}
            for x in found:
                print(f"  {x['name']:<32}{x['speed']:>12,.1f} {ROWS[name].unit:<10} {x['ratio']:6.2f}x", flush=True)
        results["rows"] = {k: results["rows"][k] for k in ROWS if k in results["rows"]}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        (ROOT / "docs" / "benchmarks.md").write_text(page(results))


if __name__ == "__main__":
    main(sys.argv[1:])
