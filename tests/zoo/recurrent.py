"""Small networks of sequences: torch's recurrent modules, as tagging and reading use them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Tagger(nn.Module):
    """Two bidirectional layers over embedded words; a label for each word."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6)
        self.lstm = nn.LSTM(6, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.words(tokens))[0])


class LastState(nn.Module):
    """A GRU read at its last state only."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 6, batch_first=True)
        self.head = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x)[1][-1])


class Crnn(nn.Module):
    """Columns of an image read as a sequence, as text recognition does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d((4, 1))),
        )
        self.lstm = nn.LSTM(16, 6, bidirectional=True)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(1, 2).permute(2, 0, 1)
        return F.log_softmax(self.head(self.lstm(x)[0]), -1).transpose(0, 1)


class Elman(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(3, 6, batch_first=True)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.rnn(x)[0]).mean(1))
