"""Jobs as their users are shown them: made once for each change, however often somebody asks."""

from __future__ import annotations

from dataclasses import dataclass

from service.jobs.states import TERMINAL
from service.jobs.store import Jobs
from service.schemas import AttemptView, JobDetail

MOST, LARGEST_BYTES = 1000, 2**15


@dataclass(frozen=True)
class Answer:
    """A job at one moment."""

    seq: int
    ended: bool
    body: bytes


class Answers:
    """Keeps the last answer about each of up to ``MOST`` jobs; safe to share between threads.

    ``seq`` grows with every visible change, by whichever process: an answer is as good as new while
    the row has its number.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._kept: dict[str, Answer] = {}

    def now(self, jobs: Jobs, job_id: str) -> Answer:
        """The job as it is now; ``NotFound`` unless ``jobs`` are those of somebody who may see it."""
        seq, kept = jobs.seq(job_id), self._kept.get(job_id)
        return kept if kept is not None and kept.seq == seq else self._make(job_id)

    def _make(self, job_id: str) -> Answer:
        job, attempts = self._jobs.look(job_id)
        view = JobDetail.of(job, attempts=[AttemptView.of(row) for row in attempts])
        answer = Answer(job.seq, job.state in TERMINAL, view.model_dump_json().encode())
        if len(answer.body) <= LARGEST_BYTES:
            if len(self._kept) >= MOST:
                self._kept.clear()
            self._kept[job_id] = answer
        return answer
