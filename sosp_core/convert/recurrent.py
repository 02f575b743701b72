"""RNN, GRU and LSTM, unrolled: torch's fused kernels cannot be differentiated twice on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.convert.table import Compute, Operator, Unconvertible, converters

Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Activation] = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Of one direction: what multiplies the hidden state, its bias, peepholes (LSTM only)."""

    recurrent: Tensor
    bias: Tensor
    peephole: Tensor | None


#: The states ``[B, H]`` after a step, from the input's share of the gates ``[B, gates · H]``.
State = tuple[Tensor, ...]
Step = Callable[[Tensor, State, Weights, list[Activation]], State]


def _lstm_step(inputs: Tensor, state: State, weights: Weights, act: list[Activation]) -> State:
    """Gates stand in the order input, output, forget, cell."""
    hidden, cell = state
    i, o, f, c = (inputs + F.linear(hidden, weights.recurrent, weights.bias)).chunk(4, 1)
    if weights.peephole is not None:
        p_i, p_o, p_f = weights.peephole.chunk(3)
        i, f = i + p_i * cell, f + p_f * cell
        cell = act[0](f) * cell + act[0](i) * act[1](c)
        return act[0](o + p_o * cell) * act[2](cell), cell
    cell = act[0](f) * cell + act[0](i) * act[1](c)
    return act[0](o) * act[2](cell), cell


def _gru_step(linear_before_reset: bool) -> Step:
    def step(inputs: Tensor, state: State, weights: Weights, act: list[Activation]) -> State:
        """Gates stand in the order update, reset, hidden."""
        (hidden,) = state
        size = hidden.shape[1]
        gates = F.linear(hidden, weights.recurrent[: 2 * size], weights.bias[: 2 * size])
        z, r = act[0](inputs[:, : 2 * size] + gates).chunk(2, 1)
        own, bias = weights.recurrent[2 * size :], weights.bias[2 * size :]
        memory = r * F.linear(hidden, own, bias) if linear_before_reset else F.linear(r * hidden, own, bias)
        new = act[1](inputs[:, 2 * size :] + memory)
        return ((1 - z) * new + z * hidden,)

    return step


def _rnn_step(inputs: Tensor, state: State, weights: Weights, act: list[Activation]) -> State:
    return (act[0](inputs + F.linear(state[0], weights.recurrent, weights.bias)),)


def _scan(
    inputs: Tensor,
    state: State,
    weights: Weights,
    step: Step,
    act: list[Activation],
    *,
    back: bool,
    lens: Tensor | None,
) -> tuple[Tensor, State]:
    """Hidden states ``[T, B, H]`` and the last states.

    Beyond its length a sequence gives zeros and keeps its state; read backward, it so
    starts at its own end.
    """
    outputs = []
    times = range(inputs.shape[0])
    for t in reversed(times) if back else times:
        new = step(inputs[t], state, weights, act)
        shown = new[0]
        if lens is not None:
            alive = (lens > t).unsqueeze(1)
            new = tuple(torch.where(alive, n, old) for n, old in zip(new, state, strict=True))
            shown = torch.where(alive, shown, torch.zeros_like(shown))
        state = new
        outputs.append(shown)
    return torch.stack(outputs[::-1] if back else outputs), state


def _activations(op: Operator, defaults: list[str]) -> list[list[Activation]]:
    """By direction, the functions f, g, h of the operator's equations."""
    directions = DIRECTIONS[op.attribute("direction", "forward")]
    names = [name.lower() for name in op.attribute("activations") or defaults * len(directions)]
    unknown = sorted(set(names) - set(ACTIVATIONS))
    if unknown or op.attribute("activation_alpha") or op.attribute("activation_beta"):
        raise Unconvertible(f"activations {unknown or 'with parameters'}")
    if op.attribute("clip") is not None or op.attribute("input_forget", 0):
        raise Unconvertible("clip or input_forget")
    functions = [ACTIVATIONS[name] for name in names]
    return [functions[i : i + len(defaults)] for i in range(0, len(functions), len(defaults))]


def _recurrent(op: Operator, step: Step, defaults: list[str], n_states: int) -> Compute:
    activations, batch_first = _activations(op, defaults), bool(op.attribute("layout", 0))
    backward = DIRECTIONS[op.attribute("direction", "forward")]

    def compute(
        x: Tensor,
        w: Tensor,
        r: Tensor,
        b: Tensor | None = None,
        lens: Tensor | None = None,
        *rest: Tensor | None,
    ) -> Tensor | tuple[Tensor, ...]:
        initial, peepholes = rest[:n_states], rest[n_states] if len(rest) > n_states else None
        x = x.transpose(0, 1) if batch_first else x
        bias = w.new_zeros(w.shape[0], 2 * w.shape[1]) if b is None else b
        zero = x.new_zeros(x.shape[1], r.shape[2])
        sequences, finals = [], []
        for d, back in enumerate(backward):
            given = [*initial, *[None] * n_states][:n_states]
            state = tuple(zero if s is None else s[:, d] if batch_first else s[d] for s in given)
            own, recurrent = bias[d].chunk(2)
            weights = Weights(
                recurrent=r[d], bias=recurrent, peephole=None if peepholes is None else peepholes[d]
            )
            inputs = F.linear(x, w[d], own)
            sequence, final = _scan(inputs, state, weights, step, activations[d], back=back, lens=lens)
            sequences.append(sequence)
            finals.append(final)
        y = torch.stack(sequences, 1)  # [T, directions, B, H]
        last = [torch.stack(states, 1 if batch_first else 0) for states in zip(*finals, strict=True)]
        outputs = (y.permute(2, 0, 1, 3) if batch_first else y, *last)[: op.n_outputs]
        return outputs if op.n_outputs > 1 else outputs[0]

    return compute


@converters.register("LSTM", since=7, trainable=(1, 2, 3, 7))
def lstm(op: Operator) -> Compute:
    """``c ← σ(f) c + σ(i) tanh(g)``, ``h ← σ(o) tanh(c)``; outputs all h, last h, last c."""
    return _recurrent(op, _lstm_step, ["Sigmoid", "Tanh", "Tanh"], 2)


@converters.register("GRU", since=7, trainable=(1, 2, 3))
def gru(op: Operator) -> Compute:
    """``h ← (1 − z) new + z h``; ``linear_before_reset`` resets the product R h, not h."""
    step = _gru_step(bool(op.attribute("linear_before_reset", 0)))
    return _recurrent(op, step, ["Sigmoid", "Tanh"], 1)


@converters.register("RNN", since=7, trainable=(1, 2, 3))
def rnn(op: Operator) -> Compute:
    """``h ← tanh(W x + R h + b)``."""
    return _recurrent(op, _rnn_step, ["Tanh"], 1)
