from podflare_nb.provisioning.network.gateway.sandbox_network import DESCRIPTORS_EACH, DESCRIPTORS_FOR_ALL, Capacity


def taken(capacity, greedy):
    """What each of so many sandboxes gets that take all they can, one connection after the other."""
    counts = [0] * greedy
    while any(capacity.admits(count) for count in counts):
        for index, count in enumerate(counts):
            if capacity.admits(count):
                counts[index] += 1
                capacity.used += 1
    return counts


def room(connections, each=256):
    return Capacity(DESCRIPTORS_FOR_ALL + connections * DESCRIPTORS_EACH, each)


def test_a_sandbox_has_no_more_than_its_limit():
    assert taken(room(10_000), 1) == [256]


def test_who_takes_all_leaves_as_much_to_others():
    capacity = room(300)
    counts = taken(capacity, 3)
    assert max(counts) - min(counts) <= 1
    assert capacity.free >= min(counts) - 1 > 50
    assert capacity.admits(0)


def test_few_descriptors_are_no_room_rather_than_an_error():
    assert not Capacity(100, 256).admits(0)
