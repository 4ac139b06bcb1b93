"""Where a training stands, in one safetensors file, so that a killed run goes on from its last epoch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import structlog
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

_log = structlog.get_logger()


@dataclass(frozen=True)
class Standing:
    """What training has reached: the held-out loss before it and after each epoch, and the best network."""

    losses: tuple[float, ...]
    best: Mapping[str, torch.Tensor]

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.losses) - 1

    @property
    def stale(self) -> int:
        """How many epochs ago the best one was."""
        return self.epoch - self.losses.index(min(self.losses))

    def after(self, loss: float, network: torch.nn.Module) -> Standing:
        """With one more epoch, which ended with this loss."""
        best = copied(network) if loss < min(self.losses) else self.best
        return Standing((*self.losses, loss), best)


def copied(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state of a network that its training does not move."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


@dataclass(frozen=True)
class Checkpoint:
    """The place of one run. `fingerprint` names its data and options: another run's standing is not taken up."""

    path: Path
    fingerprint: str

    def save(self, standing: Standing, *, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write aside and rename: a reader sees the one before or this one."""
        tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in standing.best.items()}
        tensors |= dict(_flat(optimizer.state_dict()["state"]))
        metadata = {"fingerprint": self.fingerprint, "losses": orjson.dumps(standing.losses).decode()}
        unfinished = self.path.with_name(f"{self.path.name}.unfinished")
        save_file(
            {name: tensor.contiguous().clone() for name, tensor in tensors.items()}, unfinished, metadata
        )
        os.replace(unfinished, self.path)

    def load(self, *, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Standing | None:
        """Put network and optimizer back where they were; None when there is nothing of this run."""
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return None
        except SafetensorError as error:
            _log.warning(
                "checkpoint cannot be read, training begins anew", path=str(self.path), error=str(error)
            )
            return None
        if metadata["fingerprint"] != self.fingerprint:
            _log.info("checkpoint is of another run, training begins anew", path=str(self.path))
            return None
        network.load_state_dict(_part(tensors, "network."))
        state = optimizer.state_dict()
        state["state"] = _nested(_part(tensors, "optimizer."))
        optimizer.load_state_dict(state)
        return Standing(tuple(orjson.loads(metadata["losses"])), _part(tensors, "best."))


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _flat(state: Mapping[int, Mapping[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    for parameter, values in state.items():
        for name, value in values.items():
            yield f"optimizer.{parameter}.{name}", value


def _nested(flat: Mapping[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    nested: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in flat.items():
        parameter, name = key.split(".", 1)
        nested.setdefault(int(parameter), {})[name] = value
    return nested
