"""Noise processes: between data and noise, there (to train a network) and back (to sample from it).

    noisy = alpha(time) clean + sigma(time) noise,  noise ~ N(0, 1);  time 0 is noise, time 1 is clean

A network that looks at `noisy` and `time` predicts the noise, the clean sample, or their difference, which is called
velocity: clean - noise. Each can be had from any other. On the straight path of flow matching the velocity is
d noisy / d time. Three processes differ in alpha and sigma, in which times are trained and in what is predicted:

    Diffusion  DDPM with its discrete steps (cosine betas); predicts noise
    EDM        alpha = 1, sigma from `high` to `low`; predicts clean, through scalings that keep the network's input and
               output near unit size
    Flow       alpha = time, sigma = 1 - time; predicts velocity

One sampler serves them all: predict clean and noise, and put them together again at the next time,
noisy' = alpha' clean + sigma' noise. That is DDIM; for EDM it is the Euler step in sigma, and for flow the Euler step
in time. (EDM's second-order step is not here.)

Sources: Ho et al. 2020, Denoising Diffusion Probabilistic Models (2006.11239); Nichol & Dhariwal 2021 (2102.09672),
cosine betas; Song et al. 2021, DDIM (2010.02502); Karras et al. 2022, EDM (2206.00364), table 1; Lipman et al. 2023,
Flow Matching (2210.02747).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from actrix.errors import ActrixError

Kind = Literal["noise", "clean", "velocity"]
Field = Callable[[Tensor, Tensor], Tensor]  # (noisy [..., A], time [...]) -> prediction [..., A]
Guide = Callable[
    [Tensor, Tensor, float], Tensor
]  # (noisy, clean as predicted, time) -> added to velocity, all [..., A]


class Sinusoidal(nn.Module):
    """Features of a time: [...] -> [..., size], sines and cosines of angular frequencies 1 to `fastest`, geometric."""

    frequency: Tensor

    def __init__(self, size: int = 16, fastest: float = 64.0) -> None:
        super().__init__()
        half = size // 2
        self.register_buffer("frequency", fastest ** (torch.arange(half) / max(half - 1, 1)), persistent=False)

    def forward(self, time: Tensor) -> Tensor:
        angle = time[..., None] * self.frequency
        return torch.cat((angle.cos(), angle.sin()), -1)


class Noised(NamedTuple):
    """What a network is trained on, for rows [...] of samples [..., A]."""

    noisy: Tensor  # [..., A]
    time: Tensor  # [...]
    target: Tensor  # [..., A] what it should predict
    weight: Tensor  # [...] of its squared error


class NoiseProcess(nn.Module):
    """Base of the processes; see the head of this file. A process says `predicts`, `levels`, `level` and `draw`."""

    predicts: Kind

    def levels(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma at times [...], both [...]."""
        raise NotImplementedError

    def level(self, time: float) -> tuple[float, float]:
        """alpha and sigma at one time: for samplers, whose times are known."""
        raise NotImplementedError

    def draw(self, like: Tensor) -> Tensor:
        """Times to train on, one for each number of `like` [...]."""
        raise NotImplementedError

    def times(self, steps: int, start: float = 0.0) -> list[float]:
        """The times of a sampler of so many steps: steps + 1 of them, from `start` to 1."""
        return [start + (1.0 - start) * i / steps for i in range(steps)] + [1.0]

    # -- the network's side: what it is given and what its output means ----------------------------------------

    def scaled(self, noisy: Tensor, time: Tensor) -> Tensor:
        """`noisy` as the network takes it."""
        return noisy

    def clock(self, time: Tensor) -> Tensor:
        """`time` as the network takes it: [...] -> [...], of unit size."""
        return time

    def meant(self, raw: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        """The prediction that the network's output stands for."""
        return raw

    def weight(self, time: Tensor) -> Tensor:
        """Weight of the squared error of a prediction: [...] -> [...]."""
        return torch.ones_like(time)

    # -- there ---------------------------------------------------------------------------------------------------

    def at(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """alpha clean + sigma noise: [..., A] at times [...]."""
        alpha, sigma = self.levels(time)
        return alpha[..., None] * clean + sigma[..., None] * noise

    def pairs(self, clean: Tensor) -> Noised:
        """Clean samples [..., A] with noise of a random time each, and what should be predicted of them."""
        time, noise = self.draw(clean[..., 0]), torch.randn_like(clean)
        targets = {"noise": noise, "clean": clean, "velocity": clean - noise}
        return Noised(self.at(clean, noise, time), time, targets[self.predicts], self.weight(time))

    def parts(self, prediction: Tensor, noisy: Tensor, time: Tensor, kind: Kind | None = None) -> tuple[Tensor, Tensor]:
        """Clean and noise, both [..., A], that a prediction of this kind (default: the process's own) amounts to.

        A predicted noise says nothing where alpha is 0, nor a predicted clean sample where sigma is: the result is
        not finite there.
        """
        alpha, sigma = (level[..., None] for level in self.levels(time))
        return apart(prediction, noisy, alpha, sigma, self.predicts if kind is None else kind)

    def convert(self, prediction: Tensor, noisy: Tensor, time: Tensor, source: Kind, target: Kind) -> Tensor:
        """A prediction of one kind as one of another: [..., A] at times [...]. See `parts` for where it is defined."""
        if source == target:
            return prediction
        clean, noise = self.parts(prediction, noisy, time, source)
        return {"noise": noise, "clean": clean, "velocity": clean - noise}[target]

    # -- and back ------------------------------------------------------------------------------------------------

    def tilt(self, gradient: Tensor, time: float) -> Tensor:
        """What a guide returns to sample from density * weight, given d log weight / d noisy [..., A].

        `weight` at a time is the expectation of the clean sample's weight given `noisy` (Dhariwal & Nichol 2021,
        classifier guidance). 0 where alpha is 0: nothing of the sample can be seen there.
        """
        alpha, sigma = self.level(time)
        return gradient * (sigma * (sigma + alpha) / alpha if alpha > 0 else 0.0)

    def sample(
        self,
        field: Field,
        shape: Sequence[int],
        steps: int,
        *,
        noise: Tensor | None = None,
        init: Tensor | None = None,
        start_time: float = 0.0,
        guide: Guide | None = None,
        churn: float = 0.0,
        clip: float | None = None,
    ) -> Tensor:
        """Samples of `shape` [..., A], drawn from torch's current stream.

        noise: of the beginning, [..., A]; None draws it. With no churn the sample is a function of it.
        init: begin from these samples, brought to `start_time`, and so change them only in what is lost there (SDEdit).
        For the others see `solve`, which also gives the chain.
        """
        if init is None and start_time != 0.0:
            raise ActrixError("a sampler can only begin late from something", "give init, or start_time 0", misuse=True)
        like = next(self.buffers(), torch.empty(())) if init is None else init
        if noise is None:
            noise = torch.randn(tuple(shape), dtype=like.dtype, device=like.device)
        times = self.times(steps, start_time)
        alpha, sigma = self.level(times[0])
        noisy = sigma * noise if init is None else alpha * init + sigma * noise
        return self.solve(field, noisy, times, guide=guide, churn=churn, clip=clip)[-1]

    def solve(
        self,
        field: Field,
        noisy: Tensor,
        times: Sequence[float],
        *,
        guide: Guide | None = None,
        churn: float = 0.0,
        clip: float | None = None,
    ) -> list[Tensor]:
        """The chain from `noisy` [..., A] at times[0] to times[-1]: a list as long as `times`, `noisy` first.

        field: predicts what the process predicts.
        guide: what it returns is added to the velocity clean - noise, as predicted, at every step.
        churn: 0 solves the probability-flow equation; 1 draws anew as much noise as DDPM's posterior does.
        clip: bound on the size of predicted clean samples.
        """
        chain = [noisy]
        for now, then in pairwise(times):
            time = torch.full(noisy.shape[:-1], now, dtype=noisy.dtype, device=noisy.device)
            alpha, sigma = self.level(now)
            clean, noise = apart(field(noisy, time), noisy, alpha, sigma, self.predicts)
            if clip is not None:
                clean = clean.clamp(-clip, clip)
                noise = (noisy - alpha * clean) / sigma
            if guide is not None:
                change = guide(noisy, clean, now) / (alpha + sigma)
                clean, noise = clean + sigma * change, noise - alpha * change
            alpha_next, sigma_next = self.level(then)
            if churn:
                part = (alpha * sigma_next / (alpha_next * sigma)) ** 2
                drawn = churn * sigma_next * math.sqrt(max(1.0 - part, 0.0))
                kept = math.sqrt(max(sigma_next**2 - drawn**2, 0.0))
                noisy = alpha_next * clean + kept * noise + drawn * torch.randn_like(noisy)
            else:
                noisy = alpha_next * clean + sigma_next * noise
            chain.append(noisy)
        return chain


def apart(
    prediction: Tensor, noisy: Tensor, alpha: Tensor | float, sigma: Tensor | float, kind: Kind
) -> tuple[Tensor, Tensor]:
    """Clean and noise that a prediction of this kind amounts to: see `NoiseProcess.parts`."""
    if kind == "noise":
        return (noisy - sigma * prediction) / alpha, prediction
    if kind == "clean":
        return prediction, (noisy - alpha * prediction) / sigma
    total = alpha + sigma
    return (noisy + sigma * prediction) / total, (noisy - alpha * prediction) / total


class Diffusion(NoiseProcess):
    """DDPM's discrete process of `steps` steps: step k of the paper is time 1 - k / steps.

    beta_k = 1 - f(k) / f(k - 1), at most 0.999, f(k) = cos^2((k / steps + 0.008) / 1.008 * pi / 2); alpha is the root
    of the product of 1 - beta. A sampler may take fewer steps, which are then spread over these.
    """

    predicts: Kind = "noise"
    alpha: Tensor
    sigma: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        f = [math.cos((k / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(steps + 1)]
        kept = torch.tensor([1.0] + [max(f[k] / f[k - 1], 0.001) for k in range(1, steps + 1)], dtype=torch.float64)
        product = kept.cumprod(0)
        self._table = list(zip(product.sqrt().tolist(), (1 - product).sqrt().tolist()))
        self.register_buffer("alpha", product.sqrt().to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("sigma", (1 - product).sqrt().to(torch.get_default_dtype()), persistent=False)

    def levels(self, time: Tensor) -> tuple[Tensor, Tensor]:
        step = ((1.0 - time) * self.steps).round().long()
        return self.alpha[step].to(time.dtype), self.sigma[step].to(time.dtype)

    def level(self, time: float) -> tuple[float, float]:
        return self._table[round((1.0 - time) * self.steps)]

    def draw(self, like: Tensor) -> Tensor:
        step = torch.randint(1, self.steps + 1, like.shape, device=like.device)
        return 1.0 - step.to(like.dtype) / self.steps

    def times(self, steps: int, start: float = 0.0) -> list[float]:
        first = round((1.0 - start) * self.steps)
        if not 0 < steps <= first:
            raise ActrixError(
                f"a sampler cannot take {steps} steps where the process has {first}",
                f"take 1 to {first} steps, or train with more of them",
                misuse=True,
            )
        return [1.0 - round(first * (steps - i) / steps) / self.steps for i in range(steps + 1)]


class EDM(NoiseProcess):
    """clean + sigma noise; sigma^(1/curve) falls on a straight line from `high` to `low`, and ends at 0.

    spread is the standard deviation of the data (0.5: of numbers in [-1, 1]). Trained on log sigma ~ N(-1.2, 1.2).
    """

    predicts: Kind = "clean"

    def __init__(
        self, spread: float = 0.5, low: float = 0.002, high: float = 80.0, curve: float = 7.0, mean: float = -1.2,
        deviation: float = 1.2,
    ) -> None:  # fmt: skip
        super().__init__()
        self.spread, self.low, self.high, self.curve = spread, low, high, curve
        self.mean, self.deviation = mean, deviation

    def levels(self, time: Tensor) -> tuple[Tensor, Tensor]:
        top, bottom = self.high ** (1 / self.curve), self.low ** (1 / self.curve)
        sigma = (top + time * (bottom - top)) ** self.curve
        return torch.ones_like(time), torch.where(time < 1.0, sigma, torch.zeros_like(sigma))

    def level(self, time: float) -> tuple[float, float]:
        top, bottom = self.high ** (1 / self.curve), self.low ** (1 / self.curve)
        return 1.0, (top + time * (bottom - top)) ** self.curve if time < 1.0 else 0.0

    def draw(self, like: Tensor) -> Tensor:
        sigma = (self.mean + self.deviation * torch.randn_like(like)).exp()
        top, bottom = self.high ** (1 / self.curve), self.low ** (1 / self.curve)
        # (at time 1 there would be nothing to learn)
        return ((top - sigma ** (1 / self.curve)) / (top - bottom)).clamp(0.0, 0.999)

    def scaled(self, noisy: Tensor, time: Tensor) -> Tensor:
        sigma = self.levels(time)[1][..., None]
        return noisy * (sigma.square() + self.spread**2).rsqrt()

    def clock(self, time: Tensor) -> Tensor:
        return self.levels(time)[1].log() / 4

    def meant(self, raw: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        sigma = self.levels(time)[1][..., None]
        total = sigma.square() + self.spread**2
        return noisy * self.spread**2 / total + raw * sigma * self.spread * total.rsqrt()

    def weight(self, time: Tensor) -> Tensor:
        sigma = self.levels(time)[1]
        return (sigma.square() + self.spread**2) / (sigma * self.spread).square()


class Flow(NoiseProcess):
    """The straight path time * clean + (1 - time) * noise. Times to train on are uniform in [0, 1]; where `grid` is not
    0, uniform on 0, 1 / grid, ..., 1, which is where a sampler of so many steps looks, and the end."""

    predicts: Kind = "velocity"

    def __init__(self, grid: int = 0) -> None:
        super().__init__()
        self.grid = grid

    def levels(self, time: Tensor) -> tuple[Tensor, Tensor]:
        return time, 1.0 - time

    def level(self, time: float) -> tuple[float, float]:
        return time, 1.0 - time

    def draw(self, like: Tensor) -> Tensor:
        if not self.grid:
            return torch.rand_like(like)
        return torch.randint(self.grid + 1, like.shape, device=like.device).to(like.dtype) / self.grid
