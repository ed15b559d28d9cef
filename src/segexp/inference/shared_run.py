"""Several processes share the work on one output folder: each image is claimed by one of them.

While a command works on a folder, a hidden folder in it holds a lock file for each process, which the operating system releases
when the process ends in any way, and a log of claims. The last process deletes it.
"""

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from errno import ENOENT
from pathlib import Path
from typing import Any

from segexp.atomic import sweep_parts
from segexp.inference.outputs import unwritable
from segexp.locking import LOCK_FILE, LockedError, folder_lock, mutex, owner

LOG, MUTEX = "log.jsonl", "mutex.lock"
BATCH, PROMPT = 64, 0.2
"""Largest number of images claimed at once, and the seconds in which a batch should be taken."""
PAUSE = 0.1
"""Seconds between two looks at the claims of others."""
ATTEMPTS = 100
"""To join while other processes leave."""


@dataclass
class Member:
    """A process that works on the folder: its words for messages, and the settings that all processes share."""

    who: str
    settings: Mapping[str, str]


@dataclass
class Claim:
    """Which process an image belongs to, whether its outputs are written, and why they could not be."""

    by: str
    settled: bool = False
    failure: str = ""


class SharedRun:
    """The part of this process in a command on one output folder; a context manager."""

    def __init__(self, folder: Path, command: str, settings: Mapping[str, str], scope: str = "") -> None:
        """Describe the work.

        Args:
            folder: the output folder.
            command: "predict" or "explain".
            settings: what processes that share the work have in common, as texts by name.
            scope: work with another scope shares the folder without sharing images.
        """
        self.folder, self.state = folder, folder / f".segexp-{command}"
        self.settings, self.scope = dict(settings), scope
        self.name = uuid.uuid4().hex
        self._threads, self._held = threading.RLock(), ExitStack()
        self._depth = self._offset = 0
        self._members: dict[str, Member] = {}
        self._claims: dict[str, Claim] = {}

    def __enter__(self) -> "SharedRun":
        """Join the processes that work on the folder.

        Raises:
            LockedError: one of them has other settings.
            DataError: the folder cannot be written.
        """
        try:
            for _ in range(ATTEMPTS):
                self.state.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError), self.locked():  # the last process of an earlier run deletes the state
                    self._join()
                    return self
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(self.state))
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def __exit__(self, *_: object) -> None:
        """Leave; the last process deletes the state."""
        with suppress(OSError), self.locked():
            self._held.close()
            (self.state / f"{self.name}.lock").unlink(missing_ok=True)
            if not any(map(self._lives, self._others())):
                for path in self.state.iterdir():
                    if path.name != MUTEX:
                        path.unlink()
                (self.state / MUTEX).unlink()  # at last: those who wait for it create a new one
                self.state.rmdir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Exclude other threads and processes from tables and claims for a moment."""
        with self._threads, ExitStack() as stack:
            if not self._depth:
                stack.enter_context(mutex(self.state / MUTEX))
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def _join(self) -> None:
        self._read()
        living = [name for name in self._others() if self._lives(name)]
        if not living:
            (self.state / LOG).unlink(missing_ok=True)
            self._offset, self._claims, self._members = 0, {}, {}
        sharing = [self._members[name] for name in living if self._members[name].settings["scope"] == self.scope]
        for member in sharing:
            if other := [
                f"{key} is {value} there, {self.settings.get(key)} here"
                for key, value in member.settings.items()
                if key != "scope" and self.settings.get(key) != value
            ]:
                raise LockedError(
                    f"The output folder {self.folder} is in use by {member.who}, with other settings: {'; '.join(other)}",
                    "Processes that share a folder divide its images, and need the same settings",
                    "Wait until that process has ended, or type output=DIR with another folder",
                )
        self._held.enter_context(folder_lock(self.state, "output folder", name=f"{self.name}.lock"))
        who = owner(self.state / f"{self.name}.lock")
        sweep_parts(self.folder, _on_other_hosts(self.folder))
        self._write({"who": who, "settings": {**self.settings, "scope": self.scope}, "first": not sharing})
        self._read()

    @property
    def claimed(self) -> frozenset[str]:
        """The images that processes of this run have claimed so far."""
        return frozenset(self._claims)

    def claim(self, images: Sequence[str]) -> Iterator[str]:
        """Yield the images that no process has claimed; they are claimed shortly before they are taken."""
        position, size = 0, 1
        while position < len(images):
            started = time.monotonic()
            mine: list[str] = []
            with self.locked():
                self._read()
                while position < len(images) and len(mine) < size:
                    if images[position] not in self._claims:
                        mine.append(images[position])
                    position += 1
                if mine:
                    self._write({"images": mine})
            yield from mine
            size = min(2 * size, BATCH) if time.monotonic() - started < PROMPT else max(1, size // 2)

    def settle(self, image: str, record: Callable[[], None] = lambda: None, failure: str = "") -> None:
        """Record the results of an image of this process, with `record`, and that it is done or why it has failed.

        Raises:
            DataError: they cannot be written.
        """
        try:
            with self.locked():
                record()
                self._write({"settled": image, "failure": failure})
        except OSError as error:
            raise unwritable(error.filename or self.folder, error) from error

    def wait(self, images: Sequence[str]) -> list[str]:
        """Wait until other processes have settled their images; return those whose process has died, to be claimed again."""
        while True:
            with self.locked():
                pending = {image: self._claims[image].by for image in self.unsettled(images) if image in self._claims}
                dead = {name for name in set(pending.values()) - {self.name} if not self._lives(name)}
                if left := [image for image, name in pending.items() if name in dead]:
                    self._write({"left": left})
                    self._read()
                free = [image for image in images if image not in self._claims]
            if free or not set(pending.values()) - {self.name}:
                return free
            time.sleep(PAUSE)

    def unsettled(self, images: Sequence[str]) -> list[str]:
        """Return the images that are neither done nor failed."""
        with self.locked():
            self._read()
        return [image for image in images if image not in self._claims or not self._claims[image].settled]

    def settled_by_others(self, images: Sequence[str]) -> dict[str, Claim]:
        """Return the images settled by other processes; `Claim.by` is the text for messages."""
        found = {image: self._claims[image] for image in images if image in self._claims}
        return {
            image: Claim(self._members[claim.by].who, True, claim.failure)
            for image, claim in found.items()
            if claim.settled and claim.by != self.name
        }

    def _others(self) -> list[str]:
        return [name for name in self._members if name != self.name]

    def _lives(self, name: str) -> bool:
        """Return whether another process still works on the folder."""
        lock = f"{name}.lock"
        if not (self.state / lock).exists():
            return False
        try:
            with folder_lock(self.state, "output folder", name=lock):
                (self.state / lock).unlink()
        except LockedError:
            return True
        return False

    def _write(self, entry: dict[str, Any]) -> None:
        with (self.state / LOG).open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps({"by": self.name, "scope": self.scope, **entry}))  # after a line that was cut off

    def _read(self) -> None:
        """Read the entries that were added to the log; a line cut off by the death of its process is none."""
        try:
            with (self.state / LOG).open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return
        self._offset += len(text)
        for line in text.splitlines():
            with suppress(ValueError):
                self._apply(json.loads(line))

    def _apply(self, entry: dict[str, Any]) -> None:
        name = entry["by"]
        if "who" in entry:
            self._members[name] = Member(entry["who"], entry["settings"])
        if entry["scope"] != self.scope:
            return
        if entry.get("first"):  # all processes of an earlier run have ended
            self._claims = {}
        for image in entry.get("images", ()):
            self._claims[image] = Claim(name)
        if "settled" in entry:
            self._claims[entry["settled"]] = Claim(name, True, entry["failure"])
        for image in entry.get("left", ()):
            self._claims.pop(image, None)


def _on_other_hosts(folder: Path) -> set[int]:
    """Return the processes of other hosts that hold a lock in a folder."""
    words = [owner(path).split() for path in (*folder.glob(".segexp-*/*.lock"), folder / LOCK_FILE)]
    return {int(word[1]) for word in words if len(word) == 4 and word[1].isdigit() and word[3] != platform.node()}
