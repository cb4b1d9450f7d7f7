"""Which commits of a batch a store has still to apply: decided from the store's markers, never guessed.

A store keeps one marker for each actor: the id of the last commit of that actor that it applied, written in
the same transaction as the commit. Since an actor's commits come in order, the marker's place in a batch
tells which of them were applied. This module decides that; reading and writing markers is the store's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from reflow_supervisor.state.store import StateCommit


@attrs.frozen
class Pending:
    """A commit to apply, on the condition that the actor's marker still is `after` ("": there is none)."""

    commit: StateCommit
    after: str


def pending(commits: Sequence[StateCommit], markers: Mapping[str, str]) -> list[Pending]:
    """The commits that are not applied, in order.

    Where an actor's marker names one of its commits here, that one and those before it were applied. A marker
    that names none of them belongs to an earlier batch: then all are still to be applied.

    Args:
        commits: the batch.
        markers: the actors' markers; an actor without one never committed.
    """
    applied_up_to = {
        commit.actor: place for place, commit in enumerate(commits) if markers.get(commit.actor) == commit.commit_id
    }
    after = dict(markers)
    remaining: list[Pending] = []
    for place, commit in enumerate(commits):
        if place > applied_up_to.get(commit.actor, -1):
            remaining.append(Pending(commit, after.get(commit.actor, "")))
            after[commit.actor] = commit.commit_id
    return remaining
