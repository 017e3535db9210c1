import json

from podflare_nb.provisioning import datagrams
from podflare_nb.provisioning.supervisor_link import SupervisorLink


async def test_what_was_told_of_networks_can_be_heard_before_its_turn_and_nothing_else_can():
    ours, theirs = datagrams.pair()
    ours.settimeout(0)
    heard = []
    link = SupervisorLink(ours, lambda told: heard.append(told.body))
    with theirs:
        for body in ({"event": "network", "family": "1"}, {"event": "network", "family": "2"}, {"event": "exit"},
                     {"event": "network", "family": "3"}):  # fmt: skip
            datagrams.send(theirs, body)
        link.hear_of_networks()
        assert heard == [{"event": "network", "family": "1"}, {"event": "network", "family": "2"}]
        link.hear_of_networks()
        assert len(heard) == 2
        assert json.loads(ours.recv(100)) == {"event": "exit"}
        link.hear_of_networks()
        assert heard[2:] == [{"event": "network", "family": "3"}]
        link.hear_of_networks()
    link.hear_of_networks()  # the supervisor has gone
    assert len(heard) == 3
    await link.close()
    link.hear_of_networks()
