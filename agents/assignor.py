"""Sharing the partitions of a group out: all of them, or an error."""

from __future__ import annotations

from typing import Any

from faust.assignor import PartitionAssignor
from faust.assignor.client_assignment import ClientAssignment

from streams.errors import BrokerError


class CompleteAssignor(PartitionAssignor):  # type: ignore[misc]
    """Faust's assignor, which shares out whatever topics the brokers tell of, and that once.

    A broker that has just started tells of few. What it left out would have no reader for as long as the
    group stays as it is.
    """

    partitions: int
    """How many each topic of the group has."""
    single: bool
    """Whether one member takes all of them, and the others stand by."""

    def assign(self, cluster: Any, member_metadata: Any) -> Any:
        """Raises BrokerError when a topic is not there with all its partitions."""
        topics = {topic for member in member_metadata.values() for topic in member.subscription}
        found = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        missing = sorted(topic for topic, count in found.items() if count != self.partitions)
        if missing:
            raise BrokerError(f"the brokers do not tell of all {self.partitions} partitions of {missing} yet")
        if not self.single:
            return super().assign(cluster, member_metadata)
        clients = {member: self._get_client_metadata(of_it) for member, of_it in member_metadata.items()}
        # The one that is at work goes on; of new ones, any.
        active = min(clients, key=lambda member: (-len(clients[member].assignment.active_tps), member))
        assigned = super().assign(cluster, {active: member_metadata[active]})
        self._update_member_urls(clients)
        none = {member: ClientAssignment(actives={}, standbys={}) for member in clients if member != active}
        return {**assigned, **self._protocol_assignments(none, {}, {}, {})}


def complete_assignor(partitions: int, *, single: bool = False) -> type[CompleteAssignor]:
    """An assignor class for topics of `partitions` partitions; Faust wants a class, not an object."""
    return type("CompleteAssignor", (CompleteAssignor,), {"partitions": partitions, "single": single})
