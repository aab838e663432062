"""Fields that the configurations of several systems share: what the feeds and the learners' bases here read of them.

A system's `Config` derives from one of these, and states only what is its own or has another default. The file is
read, not imported, where systems are listed: it stays small.
"""

from __future__ import annotations

from actrix.registry import Settings


class WarmStart(Settings, before="warm_steps"):
    """A supervised start from demonstrations (`LanguageFeed.prelude`)."""

    warm_steps: int = 2_000  # supervised batches before the first round
    warm_batch: int = 64  # demonstrations per supervised batch
    warm_slips: float = 0.7  # share of demonstrations that are careless, where the task knows how (countdown)
    warm_rate: float = 2e-3  # Adam learning rate of the warm start, falling to zero as a cosine


class Sampled(WarmStart, before="temperature"):
    """And a policy that learns from what it says (`LanguageLearner`)."""

    temperature: float = 1.0  # of sampling, and of the policy that learns


class Answers(Sampled, before="temperature"):
    """Groups of answers to prompts (`PromptFeed`)."""

    model: str = "tiny"  # micro, tiny, small or medium (our transformer, from scratch), or hf:PATH
    prompts: int = 64  # prompts per round
    group: int = 8  # answers per prompt
    minibatches: int = 2  # updates per pass over a round; groups are never split
    epochs: int = 1  # passes over a round
    rate: float = 2e-4  # Adam learning rate


class Clipped(Answers, before="temperature"):
    """And a bound on how far a token's probability may go in a round (`objectives.clipped`)."""

    clip: float = 0.2  # how far below 1 the ratio may count
    clip_high: float = 0.28  # how far above 1


class Valued(Answers, before="temperature"):
    """And a critic that values the text so far (`ValuedLearner`)."""

    model: str = "tiny"  # micro, tiny, small or medium (our transformer, from scratch), or hf:PATH; critic too
    minibatches: int = 2  # updates per pass over a round
    rate: float = 2e-4  # Adam learning rate of the actor
    critic_rate: float = 5e-4  # Adam learning rate of the critic
    discount: float = 1.0  # per token
    decay: float = 0.95  # lambda of generalised advantage estimation
    clip: float = 0.2  # how far below 1 the ratio may count
    clip_high: float = 0.2  # how far above 1


class Comparisons(WarmStart, before="rate"):
    """Pairs of completions that are compared (`PairFeed`, `PreferenceLearner`)."""

    model: str = "tiny"  # micro, tiny, small or medium, hf:PATH, or table (for a game)
    prompts: int = 64  # prompts per update
    group: int = 4  # completions per prompt, paired off
    rate: float = 2e-4  # learning rate
    optimiser: str = "adam"  # adam, or sgd: plain steps
    momentum: float = 0.0  # decay of Adam's first moment; with it a game turns in circles
    warm_steps: int = 500  # supervised batches before the first round; the reference is what they give


class Rollouts(Settings, before="clip_norm"):
    """A policy and a value that learn from batches of fresh experience (`RolloutFeed`)."""

    hidden: tuple[int, ...] = (64, 64)  # units of each hidden layer, actor and critic (tanh)
    rate: float = 3e-4  # Adam learning rate
    discount: float = 0.99  # per environment step
    decay: float = 0.95  # lambda of generalised advantage estimation
    clip_norm: float = 0.5  # bound on each gradient's norm
    log_std: float = 0.0  # initial log standard deviation of continuous actions, in canonical actions
    normalise_obs: bool = True  # centre and scale observations by running statistics (images are left alone)
    normalise_advantage: bool = True  # standardise advantages in each minibatch
    horizon: int = 2048  # steps of each environment between updates
    epochs: int = 10  # passes over each batch of experience
    minibatch: int = 64  # steps per gradient; 0 is all
    envs: int = 1  # environments stepped together


class Proximal(Rollouts, before="clip_norm"):
    """And one loss of both, clipped as PPO's."""

    clip: float = 0.2  # bound on the change of a probability ratio
    value_weight: float = 0.5  # weight of the value loss
    entropy_weight: float = 0.0  # weight of the entropy bonus, per nat (0.01 helps with discrete actions)


class TeamRollouts(Settings, before="clip_norm"):
    """PPO for teams, with one critic of all (`RolloutFeed`)."""

    hidden: tuple[int, ...] = (64, 64)  # units of each hidden layer, actor and critic (tanh)
    actor_rate: float = 5e-4  # Adam learning rate of the actor
    critic_rate: float = 5e-4  # Adam learning rate of the critic
    discount: float = 0.99  # per environment step
    decay: float = 0.95  # lambda of generalised advantage estimation
    clip: float = 0.2  # bound on the change of a probability ratio
    value_clip: float = 0.2  # bound on a value's change, in standard deviations of the targets
    huber: float = 10.0  # error from which the value loss is linear, in standard deviations of the targets
    entropy_weight: float = 0.01  # weight of the entropy bonus, per nat
    clip_norm: float = 10.0  # bound on each gradient's norm
    value_rate: float = 0.05  # weight of each batch of experience in the targets' statistics; 0 does not normalise
    normalise_obs: bool = True  # centre and scale observations by running statistics (images are left alone)
    normalise_advantage: bool = True  # standardise advantages in each minibatch
    horizon: int = 128  # steps of each environment between updates
    epochs: int = 10  # passes over each batch of experience
    minibatch: int = 0  # steps per gradient; 0 is all
    envs: int = 16  # environments stepped together


class Climbing(Settings, before="climb_steps"):
    """An archive, some of whose offspring climb the critic of a TD3 agent (`PopulationFeed`, `QualityDiversity`)."""

    hidden: tuple[int, ...] = (128, 128)  # units of each hidden layer of a policy and of the greedy actor
    critic_hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer of the critics
    cells: int = 1024  # of the archive
    offspring: int = 256  # policies evaluated in a round, one episode each
    climb_steps: int = 150  # gradient steps of a climbing policy
    climb_rate: float = 5e-3  # their Adam learning rate
    critic_steps: int = 3_000  # updates of the critic in a round
    rate: float = 3e-4  # Adam learning rate of critics and greedy actor
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the targets
    delay: int = 2  # updates of the critics per update of the greedy actor
    smoothing: float = 0.2  # standard deviation of the target action's noise, in canonical actions (a range of 2)
    smoothing_clip: float = 0.5  # bound on that noise, in canonical actions
    batch: int = 100  # transitions per update; climbing policies share them
    capacity: int = 1_000_000  # transitions in the replay
    horizon: int = 1_000  # environment steps that an episode may take; a longer one is an error
    offset: float = 0.0  # added to every fitness in qd_score, to make it positive
    envs: int = 64  # environments stepped together; offspring are evaluated in blocks of so many


class DataFirst(Settings, before="batch"):
    """Learning from data, then in an environment (`DatasetFeed`, `ReplayFeed`)."""

    batch: int = 256  # transitions per update
    capacity: int = 1_000_000  # transitions in the replay, once online
    updates_per_step: float = 1.0  # updates per environment step, once online
    warmup: int = 0  # environment steps of uniform actions; none, where data come first
    envs: int = 1  # environments stepped together, once online


class Prior(DataFirst, before="temperature"):
    """SAC on half data and half replay, with many critics (`PriorLearner`)."""

    delay: int = 1  # updates of the critics per update of the actor
    temperature: float = 1.0  # initial temperature, in units of reward per nat
    members: int = 10  # critics
    subset: int = 2  # of them, drawn anew for each target
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer, actor and critics
    rate: float = 3e-4  # Adam learning rate of all groups
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target critics, per update


class Held(DataFirst, before="weight"):
    """TD3 whose actor is held to what was done (`HeldLearner`)."""

    weight: float = 2.5  # of the value against imitation; 0 is behaviour cloning
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer, actor and critics
    rate: float = 3e-4  # Adam learning rate of both groups
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target actor and critics, per actor update
    delay: int = 2  # updates of the critics per update of the actor
    noise: float = 0.1  # standard deviation of exploration once online, in canonical actions (a range of 2)
    smoothing: float = 0.2  # standard deviation of the target action's noise, in canonical actions
    smoothing_clip: float = 0.5  # bound on the target action's noise, in canonical actions
    normalise_obs: bool = True  # by mean and standard deviation of the data (images are left alone)
