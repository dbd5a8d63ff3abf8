"""The configuration of a run, made of the topics in `hamjax.config.topics`."""

import dataclasses
import json
from typing import Any

from hamjax.config import topics
from hamjax.config.key import Key
from hamjax.config.topics import Strategy as Strategy
from hamjax.runtime.errors import UserError


@dataclasses.dataclass(slots=True, kw_only=True)
class Config:
    """A whole run."""

    data: topics.DataConfig = dataclasses.field(default_factory=topics.DataConfig)
    sampling: topics.SamplingConfig = dataclasses.field(default_factory=topics.SamplingConfig)
    augment: topics.AugmentConfig = dataclasses.field(default_factory=topics.AugmentConfig)
    model: topics.ModelConfig = dataclasses.field(default_factory=topics.ModelConfig)
    loss: topics.LossConfig = dataclasses.field(default_factory=topics.LossConfig)
    optimizer: topics.OptimizerConfig = dataclasses.field(default_factory=topics.OptimizerConfig)
    train: topics.TrainConfig = dataclasses.field(default_factory=topics.TrainConfig)
    eval: topics.EvalConfig = dataclasses.field(default_factory=topics.EvalConfig)
    runtime: topics.RuntimeConfig = dataclasses.field(default_factory=topics.RuntimeConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return nested dictionaries of plain values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """Rebuild a config that `to_dict` made.

        Raises:
            UserError: a key is unknown, as in a run of another version.
        """
        config = cls()
        for topic, keys in values.items():
            for name, value in keys.items() if isinstance(keys, dict) else [("", keys)]:
                if f"{topic}.{name}" not in KEYS:
                    raise UserError(
                        f"expected the config keys of this version of hamjax, got {topic}.{name}; "
                        "use the version that made the run (its config.json names it)."
                    )
                setattr(getattr(config, topic), name, tuple(value) if isinstance(value, list) else value)
        return config

    def result_keys(self) -> dict[str, Any]:
        """Return the keys that a result depends on, by topic; two runs that agree in them may resume each other."""
        kept = {
            topic: {name: value for name, value in keys.items() if KEYS[f"{topic}.{name}"].affects_result}
            for topic, keys in self.to_dict().items()
        }
        return {topic: keys for topic, keys in kept.items() if keys}


# Every key by its full name.
KEYS: dict[str, Key] = {
    f"{topic.name}.{field.name}": Key(type=field.type, default=field.default, **field.metadata)
    for topic in dataclasses.fields(Config)
    for field in dataclasses.fields(getattr(Config(), topic.name))
}
