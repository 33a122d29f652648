"""What is held against which job, from the processes of one command that ended, or died, while it was in flight."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# A job that was in flight at so many deaths is set aside; so is a program with so many such jobs and none that ended.
DEATHS, JOBS_OF_A_PROGRAM = 2, 3
# So many deaths for want of memory halve the networks that are computed together; later ones are held against jobs.
MOST_HALVINGS = 4

# Keys of jobs by what is compiled for them.
Jobs = Mapping[str, Sequence[str]]


@dataclass
class Record:
    """What is known of jobs, by key, from the processes of one command.

    in_flight: jobs that are being computed, with the program of each; divisible: of them those in a part that can be
    cut. began: (networks that were there, `time.monotonic` then) where the first process began to compute.
    ended_with: the exit code that the process announced, None if it did not come to that. deaths: how many each job was
    in flight at. set_aside: why jobs are not tried again; guilty: how many they are, by program. sound: programs of
    which a job ended well. halved: how many processes were killed for want of memory.
    """

    in_flight: dict[str, str] = field(default_factory=dict)
    divisible: set[str] = field(default_factory=set)
    began: tuple[int, float] | None = None
    ended_with: int | None = None
    deaths: Counter[str] = field(default_factory=Counter)
    set_aside: dict[str, str] = field(default_factory=dict)
    guilty: Counter[str] = field(default_factory=Counter)
    sound: set[str] = field(default_factory=set)
    halved: int = 0

    def note(self, line: Mapping[str, Any]) -> None:
        """One line of a process's journal."""
        if line["what"] == "bye":
            self.ended_with = line["code"]
            return
        if line["what"] == "begin":
            self.began = (line["there"], line["at"])
            return
        jobs = {key: program for program, keys in line["jobs"].items() for key in keys}
        if line["what"] == "start":
            self.in_flight |= jobs
            self.divisible.update(jobs if line["divisible"] else ())
        elif line["what"] == "late":
            self._hold_against(jobs, line["reason"], line["final"])
        else:
            self.sound.update(jobs.values() if line["well"] else ())
            for key in jobs:
                self.in_flight.pop(key, None)
                self.divisible.discard(key)
                self.deaths.pop(key, None)

    def died(self, cause: str, keys: Collection[str] | None = None) -> None:
        """The process ended by a signal of nobody's: whatever was in flight may have been why.

        keys: of the jobs that were in flight in it, where there are other processes; None for all.
        """
        for key, program in self.in_flight.items():
            if keys is not None and key not in keys:
                continue
            self.deaths[key] += 1
            if self.deaths[key] >= DEATHS and key not in self.divisible:
                times = "twice" if self.deaths[key] == 2 else f"{self.deaths[key]} times"
                self._set_aside(key, program, f"killed the process {times} ({cause})")

    def ran_out(self) -> bool:
        """The process was killed for want of memory: the next one computes half as many networks at a time.

        False where that was tried often enough: then it is held against what was in flight, as another death.
        """
        if self.halved >= MOST_HALVINGS:
            return False
        self.halved += 1
        return True

    def restarted(self) -> None:
        """Another process is about to go on: nothing is in flight."""
        self.in_flight.clear()
        self.divisible.clear()
        self.ended_with = None

    def dropped(self, keys: Iterable[str]) -> None:
        """Jobs are in flight no more, and nothing is known of how they would have ended."""
        for key in keys:
            self.in_flight.pop(key, None)
            self.divisible.discard(key)

    @property
    def suspects(self) -> dict[str, int]:
        """At how many deaths those jobs were in flight that are to run alone."""
        return {key: deaths for key, deaths in self.deaths.items() if key not in self.set_aside}

    def _hold_against(self, jobs: Mapping[str, str], reason: str, final: bool) -> None:
        for key, program in jobs.items():
            self.deaths[key] = DEATHS
            if final:
                self._set_aside(key, program, reason)

    def _set_aside(self, key: str, program: str, reason: str) -> None:
        if key not in self.set_aside:
            self.set_aside[key] = reason
            self.guilty[program] += 1

    @property
    def hopeless(self) -> frozenset[str]:
        """Programs that are not tried any further."""
        return frozenset(
            program for program, n in self.guilty.items() if n >= JOBS_OF_A_PROGRAM and program not in self.sound
        )
