from podflare_nb.cli.family_tree import arranged


def row(name, parent=None):
    return {"id": name, "forked_from": {"sandbox_id": parent} if parent else None}


def drawn(*rows):
    return [lines + row["id"] for lines, row in arranged(rows)]


def test_sandboxes_without_branches_stay_as_they_came():
    assert drawn(row("b"), row("a"), {"id": "c"}) == ["b", "a", "c"]


def test_branches_stand_below_what_they_were_forked_from():
    rows = [row("other"), row("c2", "first"), row("g1", "c1"), row("g2", "c1"), row("c1", "first"), row("first")]
    assert drawn(*rows) == ["other", "first", "├─ c2", "└─ c1", "   ├─ g1", "   └─ g2"]


def test_a_line_goes_past_the_branches_of_an_elder_sibling():
    rows = [row("first"), row("c1", "first"), row("c2", "first"), row("g1", "c1"), row("h1", "g1")]
    assert drawn(*rows) == ["first", "├─ c1", "│  └─ g1", "│     └─ h1", "└─ c2"]


def test_a_branch_whose_parent_is_not_listed_stands_on_its_own():
    assert drawn(row("c1", "gone"), row("g1", "c1")) == ["c1", "└─ g1"]


def test_a_hundred_generations_are_drawn():
    names = [str(number) for number in range(100)]
    rows = [row(name, parent) for name, parent in zip(names, [None, *names], strict=False)]
    assert [line.rpartition(" ")[2] for line in drawn(*rows)] == names
