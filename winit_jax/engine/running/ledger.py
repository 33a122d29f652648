"""What run.json says while a run goes on, and what the shards of one tell each other."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from winit_jax.engine.running.campaign import Campaign
from winit_jax.engine.running.outcome import Outcome
from winit_jax.spec.parts import Part
from winit_jax.store import compacting, leases
from winit_jax.store.asked import count_done
from winit_jax.store.folder import RunFolder
from winit_jax.store.info import Failure, Info
from winit_jax.store.journal import Record


@dataclass
class Ledger:
    """What run.json says of a process that has the folder alone.

    beside: networks of the folder's sweep that are there and not asked for. earlier: run.json as it was.
    started, began: by `time.monotonic`, of this process and of the command.
    """

    campaign: Campaign
    outcome: Outcome
    beside: int
    earlier: Info
    started: float
    began: float

    @classmethod
    def opened(cls, campaign: Campaign, committed: dict[str, Record]) -> Self:
        """The ledger of a command that finds these parts."""
        there = count_done(campaign.wanted, committed)
        already_done, began = campaign.watched.begins(there)
        outcome = Outcome(total=campaign.wanted.n_networks, already_done=already_done, done=there)
        beside = count_done(campaign.sweep, committed) - there
        return cls(campaign, outcome, beside, campaign.folder.info(), time.monotonic(), began)

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to do, and run.json says so."""
        is_done = self.outcome.done == self.outcome.total
        return is_done and bool(self.campaign.asked or self.earlier.state == "done")

    def settle(self) -> None:
        """End where there was nothing to do."""

    def tell(self) -> None:
        """How far this process is, for others."""

    def save(self, state: str) -> None:
        """Write run.json. state: where the run stands."""
        self.outcome.seconds = time.monotonic() - self.began
        self.campaign.folder.write_info(self._info(state, self.outcome.done + self.beside), self.campaign.sweep)

    def close(self, is_interrupted: bool) -> None:
        """Write how the run ended, of its own or by a signal."""
        state = "interrupted" if is_interrupted else self._final_state()
        if state == "done":
            self.campaign.folder.drop_checkpoints()
            self._compact()
        self.save(state)

    def fail(self) -> None:
        """Write that the run ended in an error."""
        self.save("failed")

    def _info(self, state: str, done: int) -> dict[str, Any]:
        campaign, outcome = self.campaign, self.outcome
        described = campaign.describe()
        checks = dict.fromkeys([*self.earlier.self_check, *described.get("self_check", [])])
        return {
            "state": state,
            "title": campaign.sweep.title,
            "networks": campaign.sweep.n_networks,
            "networks_done": done,
            "seconds": round(self.earlier.seconds + time.monotonic() - self.started, 3),
            **described,
            "self_check": list(checks),
            "failures": [*_standing(self.earlier.failures, outcome.failures, campaign.folder), *outcome.failures],
        }

    def _compact(self) -> None:
        """Join the parts of a run that has very many, all of which are there."""
        campaign = self.campaign
        if len(campaign.folder.committed()) > compacting.MANY_PARTS:
            try:
                self.outcome.notes.append(str(compacting.compact(campaign.folder, campaign.sweep)))
            except OSError as error:
                self.outcome.notes.append(f"note: its parts could not be joined: {error.strerror or error}")

    def _final_state(self) -> str:
        """Where a run stands that came to its end by itself."""
        if self.outcome.failures:
            return "failed"
        return "done" if self.outcome.done + self.beside == self.campaign.sweep.n_networks else "unfinished"


@dataclass
class ShardLedger(Ledger):
    """The same for a shard, whose lease says how far it is; run.json is of all shards, and is written behind the gate.

    The last one to end makes what is made once, and closes the run if all is there.
    """

    is_closed: bool = field(default=False, init=False)

    @classmethod
    def of(cls, campaign: Campaign, total: int, left: int) -> "ShardLedger":
        """total: networks of the shard. left: how many of them are to be computed."""
        already_done, began = campaign.watched.begins(total - left)
        outcome = Outcome(total=total, already_done=already_done, done=total - left)
        ledger = cls(campaign, outcome, 0, Info(), time.monotonic(), began)
        ledger.tell()
        return ledger

    @property
    def is_settled(self) -> bool:
        return self.outcome.done == self.outcome.total

    def settle(self) -> None:
        self.close(False)

    def tell(self) -> None:
        lease, outcome = self.campaign.folder.lease, self.outcome
        assert lease is not None
        failed = len(outcome.failures)
        lease.tell(total=outcome.total, already_done=outcome.already_done, done=outcome.done, failed=failed)

    def save(self, state: str) -> None:
        """Nothing: run.json says since the first shard began that the run goes on."""

    def close(self, is_interrupted: bool) -> None:
        own = "interrupted" if is_interrupted else self._own_state()
        self.outcome.seconds = time.monotonic() - self.began
        self._end(own, may_finish=not is_interrupted)

    def fail(self) -> None:
        if not self.is_closed:
            self._end("failed", may_finish=False)

    def _own_state(self) -> str:
        if self.outcome.failures:
            return "failed"
        return "done" if self.outcome.done == self.outcome.total else "unfinished"

    def _end(self, own: str, may_finish: bool) -> None:
        """Leave the folder to the others, or close it behind the last of them."""
        campaign, folder = self.campaign, self.campaign.folder
        assert folder.lease is not None
        with folder.gate() as others:
            self.is_closed = True
            self.tell()
            self.earlier = folder.info()
            done = count_done(campaign.sweep, folder.committed())
            is_whole = done == campaign.sweep.n_networks
            if not others and may_finish and is_whole:
                campaign.finish()
            info = self._info("", done)
            info["state"] = self._state(own, others, is_whole, bool(info["failures"]))
            if info["state"] == "done":
                folder.drop_checkpoints()
                self._compact()
            folder.write_info(info, campaign.sweep)
            folder.lease.tell_now(state=own)  # from now on the others do not count on this process
            self.outcome.notes.extend(self._notes(others, done))
            self.outcome.closes = not others and is_whole

    def _state(self, own: str, others: list[leases.Lease], is_whole: bool, has_failures: bool) -> str:
        if others:
            return "running"
        if own == "interrupted":
            return own
        if has_failures or own == "failed":
            return "failed"
        return "done" if is_whole else "unfinished"

    def _notes(self, others: list[leases.Lease], done: int) -> Iterable[str]:
        folder, networks = self.campaign.folder, self.campaign.sweep.n_networks
        yield f"{done:,} of {networks:,} networks of the whole sweep are in {folder}"
        if others:
            yield f"still at work: {leases.in_words(others)}"
        elif done < networks:
            yield (
                f"no other process is at work: start the other shards, or have what is missing done by one process "
                f"with {folder.go_on.partition(' --shard ')[0]}"
            )


@dataclass
class LauncherLedger(Ledger):
    """The same for a process that has others compute. They write parts, it alone writes run.json.

    How much is there, the folder says at the end, not what the others said on the way.
    """

    checks: dict[str, None] = field(default_factory=dict)

    def tell(self) -> None:
        lease, outcome = self.campaign.folder.lease, self.outcome
        assert lease is not None
        failed = len(outcome.failures)
        lease.tell(total=outcome.total, already_done=outcome.already_done, done=outcome.done, failed=failed)

    def learn(self, checks: Iterable[str], notes: Iterable[str]) -> None:
        """What a worker said of its self-check, and of what the user should know."""
        self.checks.update(dict.fromkeys(checks))
        self.outcome.notes.extend(note for note in notes if note not in self.outcome.notes)

    def close(self, is_interrupted: bool) -> None:
        campaign, folder, outcome = self.campaign, self.campaign.folder, self.outcome
        with folder.gate() as others:
            there = count_done(campaign.wanted, folder.committed())
            if not is_interrupted and there < outcome.done:
                outcome.notes.append(f"{outcome.done - there:,} networks that workers had done are not in {folder}")
            outcome.done = there
            state = "interrupted" if is_interrupted else self._final_state()
            if state == "done" and not others:
                folder.drop_checkpoints()
                self._compact()
            self.save(state)
            assert folder.lease is not None
            folder.lease.tell_now(state=state)

    def fail(self) -> None:
        with self.campaign.folder.gate():
            self.outcome.done = count_done(self.campaign.wanted, self.campaign.folder.committed())
            self.save("failed")

    def _info(self, state: str, done: int) -> dict[str, Any]:
        info = super()._info(state, done)
        return info | {"self_check": list(dict.fromkeys([*info["self_check"], *self.checks]))}


def _standing(earlier: list[Failure], now: list[dict[str, Any]], folder: RunFolder) -> list[dict[str, Any]]:
    """Failures of earlier runs that this one has neither mended nor met again."""
    settled = {
        family for record in folder.committed().values() for job in record.part.jobs for family in job.families()
    }
    failed = Part.from_json([failure["networks"] for failure in now])
    settled.update(family for job in failed.jobs for family in job.families())
    return [failure.model_dump() for failure in earlier if not settled.issuperset(failure.networks.families())]
