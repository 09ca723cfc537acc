"""Notices a process of a group that has stopped, or whose machine cannot be reached, although no connection was closed.

In every process a thread sends a datagram each second: all others to the first process, which answers each of them. A
process that is busy, in a long step or while it loads a model, sends them all the same. Intervals are counted and not
seconds, so that processes that are stopped together, such as by Ctrl-Z, and continued later do not miss each other.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from typing import Any

from manticore.utils.interval_thread import IntervalThread
from manticore.utils.ranks import Ranks

INTERVAL = 1.0
"""Seconds between two datagrams of a process."""

MOST_MISSED = 40
"""Number of intervals after which a process that has sent nothing counts as lost."""


def silence(rank: int) -> str:
    """Why a process counts as lost, for the user."""
    return f"process {rank} has not answered for {MOST_MISSED * INTERVAL:.0f} seconds"


class Heartbeat(IntervalThread):
    """A context in which the other processes are watched: by the first one all, by each of these the first one.

    A process is watched from its first datagram on: where a network lets none pass, nothing is noticed.

    Args:
        ranks: the processes, each of which opens this context.
        address: name or address of the machine of the first process.
        lost: called once, in a thread, with the rank of a process that has sent nothing for `MOST_MISSED` intervals.
    """

    def __init__(self, ranks: Ranks, address: str, lost: Callable[[int], None]) -> None:
        super().__init__("manticore-heartbeat", INTERVAL)
        self.ranks, self.lost = ranks, lost
        self.missed: dict[int, int] = {}
        family, kind, _, _, target = socket.getaddrinfo(address, 0, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, kind)
        self._socket.setblocking(False)
        if ranks.is_first:
            self._socket.bind(("", 0))
            self._key = secrets.token_bytes(16)
            ranks.send(self._key + self._socket.getsockname()[1].to_bytes(2))
        else:
            message = ranks.receive()
            self._key = message[:16]
            self._first = (target[0], int.from_bytes(message[16:]), *target[2:])

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._socket.close()

    def tick(self) -> bool:
        """Send a datagram, and read those of the others. Returns whether one of them is lost."""
        if not self.ranks.is_first:
            self._send(self.ranks.rank, self._first)
        self.missed = {rank: count + 1 for rank, count in self.missed.items()}
        self._receive()
        for rank, count in self.missed.items():
            if count >= MOST_MISSED:
                self.lost(rank)
                return True
        return False

    def _receive(self) -> None:
        """Read all datagrams that have arrived; the first process answers them."""
        while True:
            try:
                data, sender = self._socket.recvfrom(32)
            except OSError:  # none is left, or the machine of the first process has refused one
                return
            rank = int.from_bytes(data[16:])
            if data[:16] == self._key and rank < self.ranks.count:
                self.missed[rank] = 0
                if self.ranks.is_first:
                    self._send(self.ranks.rank, sender)

    def _send(self, rank: int, target: Any) -> None:
        try:
            self._socket.sendto(self._key + rank.to_bytes(4), target)
        except OSError:  # the network is down, which counts as a datagram that is lost
            return
