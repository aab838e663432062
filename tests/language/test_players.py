"""Players: the official client against a server that fails on purpose, models with adapters, and stated error rates."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

import actrix
from actrix.api import resume
from actrix.budget import Budget
from actrix.errors import ActrixError
from actrix.language.convert import make_model
from actrix.language.players import Endpoint, ModelPlayer, Simulated, judged_by
from actrix.language.sampler import Sampling, generate
from actrix.language.tokens import ByteTokenizer

pytest.importorskip("openai")


class Server(ThreadingHTTPServer):
    """An OpenAI-compatible server that says its prompt in capitals, after the failures that it is told to make."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.failures: list[int] = []  # status of the next replies
        self.requests: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.most, self.now = 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.requests.append(asked)
            status = self.server.failures.pop(0) if self.server.failures else 200
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        threading.Event().wait(0.02)
        with self.server.lock:
            self.server.now -= 1
        if status == 200:
            text = asked["messages"][-1]["content"]
            reply: dict[str, Any] = {
                "id": "1", "object": "chat.completion", "created": 0, "model": asked["model"],
                "choices": [
                    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text.upper()}}
                ],
                "usage": {"prompt_tokens": len(text), "completion_tokens": 3, "total_tokens": len(text) + 3},
            }  # fmt: skip
        else:
            reply = {"error": {"message": f"status {status}", "type": "test", "code": None, "param": None}}
        body = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


def test_answers_come_in_order_and_are_paid_for(server: Server) -> None:
    player = Endpoint("m", server.url, price=(2.0, 100.0), at_once=3, system="Be brief.")
    texts = [f"number {i}" for i in range(12)]
    assert player(texts, seed=5) == [t.upper() for t in texts]
    spent, read = player.budget.spent, sum(map(len, texts))
    assert (spent.calls, spent.tokens) == (12, read + 3 * 12)
    assert spent.money == pytest.approx((2.0 * read + 100.0 * 36) / 1e6)
    assert 1 < server.most <= 3  # together, but never more than was allowed
    assert all(r["messages"][0] == {"role": "system", "content": "Be brief."} for r in server.requests)
    assert len({r["seed"] for r in server.requests}) == 12


def test_what_passes_is_tried_again(server: Server) -> None:
    server.failures = [429, 500, 503]
    assert Endpoint("m", server.url, retries=3)(["a"], 0) == ["A"]
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("status", "says"), [(401, "refuses the key"), (404, "no model 'm'"), (500, "failed 2 times"), (429, "failed 2")]
)
def test_what_does_not_pass_is_said(server: Server, status: int, says: str) -> None:
    server.failures = [status] * 2
    player = Endpoint("m", server.url, retries=1)
    with pytest.raises(ActrixError, match=says):
        player(["a"], 0)
    assert player.budget.spent.calls == 0  # what failed is not paid for
    assert len(server.requests) == (1 if status in (401, 404) else 2)


def test_no_server_no_key_no_budget(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ActrixError, match="no answer from"):
        Endpoint("m", "http://127.0.0.1:9/v1", retries=0)(["a"], 0)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ActrixError, match="OPENAI_API_KEY"):
        Endpoint("m")
    with pytest.raises(ActrixError, match="room for 1"):
        Endpoint("m", server.url, budget=Budget(calls=1))(["a", "b"], 0)
    assert server.requests == []
    poor = Endpoint("m", server.url, price=(0.0, 1e6), budget=Budget(money=4.0), at_once=1)
    with pytest.raises(ActrixError, match="money"):
        poor(["a", "b", "c"], 0)  # 3 a call: two are made, and nothing after them
    assert len(server.requests) == 2


def test_a_judge_without_a_number_gives_no_verdict(server: Server) -> None:
    judge = judged_by(Endpoint("m", server.url), "{text}", scale=(0.0, 10.0))
    right, none, outside = judge(["first 2, then 7.5", "excellent", "11"])
    assert right.score == 0.75
    assert right.text == "FIRST 2, THEN 7.5"
    assert none.score is None
    assert none.status == "no number was said"
    assert outside.score is None


def test_simulated_players_err_at_their_rate() -> None:
    player = Simulated(lambda text: "yes", lambda text, draw: draw.choice(["no", "perhaps"]), error=0.3)
    said = player([str(i) for i in range(4_000)], seed=1)
    wrong = sum(s != "yes" for s in said) / 4_000
    assert abs(wrong - 0.3) < 4 * (0.3 * 0.7 / 4_000) ** 0.5
    assert said == player([str(i) for i in range(4_000)], seed=1)
    assert said != player([str(i) for i in range(4_000)], seed=2)
    with pytest.raises(ActrixError, match="error rate"):
        Simulated(lambda text: "", lambda text, draw: "", error=1.5)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in `transformers`' own format."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("model")
    LlamaForCausalLM(config).save_pretrained(folder)
    letters = {c: i for i, c in enumerate(["<end>", "<unk>", *map(chr, range(32, 127))])}
    inner = Tokenizer(WordLevel(letters, unk_token="<unk>"))
    inner.pre_tokenizer = Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>").save_pretrained(folder)
    return folder


def test_adapters_leave_the_model_as_it_was_and_are_all_that_is_trained(saved: Path) -> None:
    full, adapted = make_model(f"hf:{saved}", 258, 64), make_model(f"lora4:{saved}", 258, 64)
    tokens = torch.randint(0, 258, (3, 9), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(adapted.log_prob(tokens), full.log_prob(tokens))  # B starts at zero
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    # rank 4 in each of 7 maps of 2 layers: 4 (in + out)
    sizes = [(32, 32)] * 4 + [(32, 48)] * 2 + [(48, 32)]
    count = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert count == 2 * sum(4 * (a + b) for a, b in sizes)


def test_training_moves_the_adapters_only_and_resumes(saved: Path, tmp_path: Path) -> None:
    settings = {"model": f"lora4:{saved}", "prompts": 2, "group": 2, "warm_steps": 2, "warm_batch": 2}
    whole = actrix.train("rloo", task="sort", steps=2, eval_episodes=2, folder=tmp_path / "a", **settings)
    state = actrix.load(whole.folder).learner.state()
    fresh = make_model(f"lora4:{saved}", 0, 0).state_dict()
    moved = {k for k, v in fresh.items() if not torch.equal(v, state[f"actor.{k}"])}
    assert moved
    assert all("lora_" in name for name in moved)
    actrix.train("rloo", task="sort", steps=1, eval_episodes=2, folder=tmp_path / "b", **settings)
    again = actrix.load(resume(tmp_path / "b", steps=2).folder).learner.state()
    assert all(torch.equal(v, again[k]) for k, v in state.items())


def test_a_model_plays_as_the_sampler_does(saved: Path) -> None:
    tokenizer, model = ByteTokenizer(), make_model(f"hf:{saved}", 258, 64)
    player = ModelPlayer(model, tokenizer, Sampling(max_new=6, temperature=1.0))
    said = player(["one", "two"], seed=3)
    ids = [tokenizer.encode(t) for t in ("one", "two")]
    samples = generate(model, ids, Sampling(max_new=6), eos=tokenizer.eos, pad=tokenizer.pad, seed=3)
    assert said == [tokenizer.decode(t) for t in samples.completions()]
    assert player.budget.spent.tokens == sum(map(len, samples.completions()))


@pytest.mark.parametrize("name", ["lora0:x", "lora:x", "lorax:y"])
def test_bad_names_of_adapters(name: str, saved: Path) -> None:
    with pytest.raises(ActrixError, match=r"rank of adapters|unknown model"):
        make_model(name.replace(":x", f":{saved}"), 258, 64)
