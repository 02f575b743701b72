"""What removing a structure is estimated to cost, given what has been removed already."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import sqrt
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sosp_core.structures.correlations import Correlations
from sosp_core.structures.structures import Group

Scores = NDArray[np.float64]


class Worth(Enum):
    """What the removal of structures is worth, in units that do not matter.

    With ``CAPACITY`` what is saved counts the more, the fewer parameters went for it. The root is
    from measurements; the quotient in it is the same however many layers a structure runs through.
    """

    COUNT = "structures"
    SAVED = "saved"  # of the budget's metric
    CAPACITY = "saved · √(saved / parameters)"

    def of(self, n: int, saved: float, parameters: float) -> float:
        """Of ``n`` structures together; their number where nothing is saved."""
        if self is Worth.COUNT or saved <= 0:
            return n
        return saved if self is Worth.SAVED else saved * sqrt(saved / max(parameters, 1.0))


class Prices(Protocol):
    """Prices that may change as structures go.

    Attributes:
        measurable: They estimate a rise of the loss, so that a measured rise may take their place.
        worth: What a price is divided by.
    """

    measurable: ClassVar[bool]
    worth: ClassVar[Worth]

    @property
    def scores(self) -> Scores:
        """``[S]``: the price of removing each structure next; smaller goes first."""

    def cheapest(self, members: NDArray[np.int64], n: int) -> tuple[NDArray[np.int64], float]:
        """The ``n`` of ``members`` to remove together, and the price of removing all of them.

        Ties are broken by number.
        """

    def remove(self, members: NDArray[np.int64]) -> None:
        """Take note that these structures are gone."""


@dataclass(frozen=True)
class FixedPrices:
    """Prices that do not depend on what else goes: correlations, if any, are summed beforehand.

    The published criteria rank structures by score alone, whatever they cost.
    """

    measurable: ClassVar[bool] = False
    worth: ClassVar[Worth] = Worth.COUNT
    scores: Scores

    def cheapest(self, members: NDArray[np.int64], n: int) -> tuple[NDArray[np.int64], float]:
        """The lowest scores, and their sum."""
        chosen = members[np.argsort(self.scores[members], kind="stable")[:n]]
        return chosen, float(self.scores[chosen].sum())

    def remove(self, members: NDArray[np.int64]) -> None:
        """Nothing changes."""


class RecoveryPrices(FixedPrices):
    """Prices where training follows: of the loss most comes back, of the capacity nothing does."""

    worth: ClassVar[Worth] = Worth.CAPACITY


class _PairPrices(ABC):
    """Marginal prices as a set M grows, moved by correlations of pairs, ``AᵀA``."""

    def __init__(
        self,
        gradient: Scores,
        diagonal: Scores,
        rows: NDArray[np.float32],
        groups: Sequence[Group] = (),
    ) -> None:
        """Prices at the empty M.

        Args:
            gradient: ``∂L/∂m [S]``.
            diagonal: ``G_ss [S]``, exact.
            rows: ``A [R, S]``, or a sketch of it.
            groups: What is chosen from is chosen quicker where it lies within one of them.
        """
        self._rows, self._correlations = rows, Correlations(rows, groups)
        self._scores = self._alone(gradient, diagonal)

    @staticmethod
    @abstractmethod
    def _alone(gradient: Scores, diagonal: Scores) -> Scores:
        """``[S]``: the price of each structure as the first to go."""

    @staticmethod
    @abstractmethod
    def _moves(correlations: NDArray[np.float32]) -> NDArray[np.float32]:
        """By how much correlations with one that goes move the prices of others."""

    @property
    def scores(self) -> Scores:
        """The marginal prices at the present set."""
        return self._scores

    def cheapest(self, members: NDArray[np.int64], n: int) -> tuple[NDArray[np.int64], float]:
        """Chosen one by one, each at its price given those before it; the sum is exact."""
        marginal = self._scores[members]
        chosen = [int(marginal.argmin())]
        price = float(marginal[chosen[0]])
        if n == 1:  # which needs no correlation
            return members[chosen], price
        column = self._correlations.among(members)
        for _ in range(n - 1):
            marginal += self._moves(column(chosen[-1]))
            marginal[chosen[-1]] = np.inf
            chosen.append(int(marginal.argmin()))
            price += float(marginal[chosen[-1]])
        return members[chosen], price


class QuadraticPrices(_PairPrices):
    """Marginal prices of the signed quadratic ``−Σ_M g + ½ ‖A 1_M‖²`` as the set M grows.

    The next structure costs ``−g_s + a_s·r + ½‖a_s‖²`` with ``r = A 1_M``: what is like something
    already removed costs more, what makes up for it costs less.

    Cost: one product of ``A [rows, S]`` with a vector for each removal; see ``Correlations``.
    """

    measurable: ClassVar[bool] = True
    worth: ClassVar[Worth] = Worth.SAVED

    @staticmethod
    def _alone(gradient: Scores, diagonal: Scores) -> Scores:
        return 0.5 * diagonal - gradient

    @staticmethod
    def _moves(correlations: NDArray[np.float32]) -> NDArray[np.float32]:
        return correlations

    def remove(self, members: NDArray[np.int64]) -> None:
        """Add structures to M; every other price moves by its correlation with them."""
        moved = self._rows[:, members].sum(axis=1)
        self._scores = self._scores + (moved @ self._rows).astype(np.float64)


class AbsolutePrices(_PairPrices):
    """Marginal prices of ``Σ_M |g| + ½ Σ_MM |AᵀA|`` as the set M grows: every correlation is a loss.

    The next structure costs ``|g_s| + ½ G_ss + Σ_{t ∈ M} |G_st|``; only the last sum moves.

    Cost: one product of ``A [rows, S]`` with its own columns for each removal; see ``Correlations``.
    """

    measurable: ClassVar[bool] = False
    worth: ClassVar[Worth] = Worth.COUNT

    @staticmethod
    def _alone(gradient: Scores, diagonal: Scores) -> Scores:
        return np.abs(gradient) + 0.5 * diagonal

    @staticmethod
    def _moves(correlations: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.abs(correlations)

    def remove(self, members: NDArray[np.int64]) -> None:
        """Add structures to M; every other price rises by its correlations with them."""
        correlations = np.abs(self._rows[:, members].T @ self._rows)
        self._scores = self._scores + correlations.sum(axis=0, dtype=np.float64)
