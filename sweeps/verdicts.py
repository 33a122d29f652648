"""What the self-check says of a program, and what follows from it."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sweeps.parts import Job


class SelfCheckError(Exception):
    """The fast pass and float64 NumPy disagree: nothing that this program computes can be trusted. One sentence."""

    is_sentence = True


@dataclass
class Verdicts:
    """One verdict for each program: an activation, normalization and width. Safe to call from several threads.

    say: told of a program that is condemned, once.
    """

    say: Callable[[str], None]
    _locks: dict[tuple, threading.Lock] = field(default_factory=dict)
    _found: dict[tuple, str | None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def bind(self, job: Job, compare: Callable[[], Sequence[str]]) -> None:
        """Return where a job's program is right, which its first job here decides; the others wait for that.

        compare: what the program got wrong, in sentences. An error in comparing is no verdict.
        Errors: SelfCheckError.
        """
        program = (job.activation, job.normalization, job.width)
        with self._lock:
            own = self._locks.setdefault(program, threading.Lock())
        with own:
            if program not in self._found:
                wrong = compare()
                self._found[program] = _condemned(job, wrong) if wrong else None
                if wrong:
                    self.say(str(self._found[program]))
        if (sentence := self._found[program]) is not None:
            raise SelfCheckError(sentence)


def _condemned(job: Job, wrong: Sequence[str]) -> str:
    blamed = (
        f"{job.activation} does not compute in float32 what it computes in float64: look for float16 or whole "
        "numbers in it."
        if ":" in job.activation
        else "This jax and jaxlib cannot be trusted here; see `winit doctor`."
    )
    named = f"{job.activation}{'' if job.normalization == 'none' else f' with {job.normalization} normalization'}"
    return f"the self-check failed for {named} at width {job.width}: {wrong[0]} ({len(wrong)} in all). {blamed}"
