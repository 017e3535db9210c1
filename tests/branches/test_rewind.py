"""A rewind brings memory, files and notebook back to after a turn; the way not taken is a branch."""


def test_memory_files_and_notebook_are_as_they_were_after_the_turn(family):
    with family.line(checkpoints=3) as sandbox:
        turns = [family.chat(sandbox, f"x = {n}; _ = open('n', 'w').write(str(x))") for n in range(3)]
        cells = len(family.notebook(sandbox)["cells"])
        branch = family.rewind(sandbox, turns[1])
        assert family.says(sandbox, "print(x, open('n').read())") == "1 1"
        assert family.says(branch, "print(x, open('n').read())") == "2 2"
        assert len(family.notebook(branch)["cells"]) == cells + 1
        sources = "\n".join(family.sources(sandbox))
        assert "x = 1" in sources
        assert "x = 2" not in sources


def test_the_same_turn_can_be_rewound_to_again(family):
    with family.line(checkpoints=3) as sandbox:
        turn = family.chat(sandbox, "x = [1]")
        for _ in range(3):
            family.run(sandbox, "x.append(2)")
            family.rewind(sandbox, turn)
            assert family.says(sandbox, "print(x)") == "[1]"


def test_only_the_last_turns_are_kept_and_others_are_refused_with_what_there_is(family):
    with family.line(checkpoints=2) as sandbox:
        turns = [family.chat(sandbox, f"x = {n}") for n in range(4)]
        refused = family.http.post(f"/v1/sandboxes/{sandbox}/rewind", json={"turn_id": turns[0]})
        assert refused.status_code == 404
        assert turns[3] in refused.json()["error"]
        assert turns[2] in refused.json()["error"]
        kept = family.http.get(f"/v1/sandboxes/{sandbox}/branches").json()["checkpoints"]
        assert [each["turn_id"] for each in kept] == turns[2:]


def test_without_checkpoints_a_rewind_says_how_to_have_them(family):
    with family.line() as sandbox:
        turn = family.chat(sandbox, "x = 1")
        refused = family.http.post(f"/v1/sandboxes/{sandbox}/rewind", json={"turn_id": turn})
        assert refused.status_code == 409
        assert "checkpoints" in refused.json()["error"]


def test_what_is_written_from_outside_after_a_turn_is_not_part_of_its_state(family):
    with family.line(checkpoints=3) as sandbox:
        for n in range(5):
            turn = family.chat(sandbox, f"x = {n}; open('given', 'w').close()")
            assert family.http.put(f"/v1/sandboxes/{sandbox}/files/late", content=b"late").status_code == 201
            assert family.http.delete(f"/v1/sandboxes/{sandbox}/files/given").status_code == 204
            family.close(family.rewind(sandbox, turn))
            assert family.says(sandbox, "import os; print(os.listdir('/workspace'))") == "['given']"


def test_a_rewind_right_after_a_merge_wakes_the_state_that_slept_beside_the_kernel_that_ended(family):
    with family.line(template="python-minimal", checkpoints=2) as sandbox:
        for n in range(15):
            turn = family.chat(sandbox, f"x = {n}")
            (winner,) = family.fork(sandbox)
            family.merge(sandbox, winner)
            family.close(family.rewind(sandbox, turn))
            assert family.says(sandbox, "print(x)") == str(n)
