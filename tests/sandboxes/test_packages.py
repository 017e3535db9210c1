"""What is run to install packages, what is refused before anything runs, and what is told of it."""

import pytest

from podflare_nb.errors import InvalidArgumentError
from podflare_nb.sandboxes.execution import Execution, ExecutionRequest, ExecutionResult
from podflare_nb.sandboxes.packages import Installation, steps


def test_each_manager_is_a_cell_of_its_own_and_apt_comes_first():
    wanted = steps(
        npm=["left-pad@^1.3", "@types/node"], python=["polars >= 1.0", "a[b]; python_version > '3'"], apt=["g++"]
    )
    assert [(step.manager, step.code) for step in wanted] == [
        ("apt", "apt-get update -qq && apt-get install -y --no-install-recommends -- g++"),
        ("python", "python -m pip install --progress-bar off -- 'polars>=1.0' 'a[b]; python_version > \"3\"'"),
        ("npm", "npm install --no-audit --no-fund -- 'left-pad@^1.3' @types/node"),
    ]


ANYWHERE = ["", " ", "-r", "--index-url=http://x", "a b", "a;id", "a$(id)", "a`id`", "a&&id", "a|id", "a\nid", "a\0",
            "./a", "/etc/passwd", "../a", "file:///a", "http://x/a.whl", "git+https://x/a"]  # fmt: skip
WRONG = [
    *(
        ("python", name)
        for name in [*ANYWHERE, "a @ http://x/a.whl", "a @ file:///a", "a --pre", "a>=1 --hash=x", "a==$(id)"]
    ),
    *(("apt", name) for name in [*ANYWHERE, "jq-", "A", "jq/sid", "jq=", "jq=$(id)", "-oDebug=1", "jq*", "^jq"]),
    *(
        ("npm", name)
        for name in [*ANYWHERE, "a@npm:b", "a@file:b", "a@http://x", "a/b", "@a", "@a/b/c", "a@1;id", "a@$(id)"]
    ),
]


@pytest.mark.parametrize(("manager", "name"), WRONG)
def test_what_is_no_package_s_name_is_refused_and_named(manager, name):
    with pytest.raises(InvalidArgumentError) as refused:
        steps(**{manager: ["fine", name]})
    assert refused.value.message.startswith(f"{manager} has {name.strip()[:80]!r}; it must be ")


def test_no_package_at_all_is_a_mistake():
    with pytest.raises(InvalidArgumentError, match="at least one package"):
        steps(python=[], apt=None)


class Cells:
    """Executions that end as they are told to, each with a line of output."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.started: list[str] = []

    async def start(self, code: str) -> Execution:
        self.started.append(code)
        execution = Execution(ExecutionRequest(code, "bash"), f"cell{len(self.started)}", lambda _: None)
        execution.put(1, {"output_type": "stream", "name": "stdout", "text": "working\n"})
        number = self.codes.pop(0)
        execution.finish(2, ExecutionResult("error" if number else "ok", number, 1))
        return execution


async def told(cells: Cells) -> list[dict]:
    installation = Installation(steps(apt=["jq"], python=["six"], npm=["left-pad"]), cells.start, lambda: 7)
    await installation.begin()
    return [event async for events in installation.events() for event in events]


async def test_progress_is_numbered_throughout_and_the_exit_has_every_manager_s_end():
    events = await told(Cells(0, 0, 0))
    assert [event["seq"] for event in events] == list(range(10))
    assert [event["type"] for event in events] == [*(["manager", "stdout", "manager"] * 3), "exit"]
    assert events[-1]["data"] == 0
    assert events[-1]["managers"] == {
        name: {"status": "ok", "exit_code": 0, "cell_id": f"cell{number}"}
        for number, name in enumerate(("apt", "python", "npm"), 1)
    }


async def test_what_comes_after_one_that_failed_is_skipped_and_said_to_be():
    cells = Cells(0, 3)
    events = await told(cells)
    assert len(cells.started) == 2
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert (events[-1]["data"], events[-1]["status"]) == (3, "error")
    ends = {name: (end["status"], end.get("exit_code")) for name, end in events[-1]["managers"].items()}
    assert ends == {"apt": ("ok", 0), "python": ("error", 3), "npm": ("skipped", None)}
