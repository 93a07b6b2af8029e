"""The code-review team on real repositories; every number is compared with git's own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import AgentRegistry
from orchestrator.catalog import load_catalog
from orchestrator.events import AgentProgress, Event
from orchestrator.kinds.threads import DaemonThreads
from orchestrator.orchestrator import Orchestrator, TaskResult
from orchestrator.tasks import TaskRequest, TaskStatus
from tests.orchestrator.kinds.support import Trial, eventually

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "code_review"
FINDERS = ["inventory", "history", "complexity", "lint", "security"]
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

MAIN = """\
import os
import subprocess


def choose(a, b, c):
    if a:
        return b
    elif b and c:
        return a
    for x in range(10):
        while x:
            if x > 5:
                return x
    return None


def run(text):
    return subprocess.call(text, shell=True)
"""


class Git:
    """A repository to work on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, *arguments: str, author: str = "ada") -> str:
        identity = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", author), ("EMAIL", f"{author}@example.com"))
        }
        done = subprocess.run(
            ["git", "-C", str(self.path), "-c", "init.defaultBranch=main", *arguments],
            env={"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", **identity},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    def commit(self, files: Mapping[str, str | bytes], *, author: str = "ada") -> None:
        for name, content in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self("add", "--all")
        self("commit", "--quiet", "--message", "A change", author=author)

    def lines(self, *arguments: str) -> list[str]:
        return self(*arguments).splitlines()


@pytest.fixture
def repos(tmp_path: Path) -> Path:
    """The one folder that inputs may name."""
    folder = tmp_path / "repos"
    folder.mkdir()
    return folder


@pytest.fixture
def registry(tmp_path: Path, repos: Path) -> Iterator[AgentRegistry]:
    """The team as the example declares it, but with `repos` as its only root."""
    text = (EXAMPLE / "agents.toml").read_text()
    text, changed = re.subn(r'(?m)^project = "\.\./\.\.".*$', 'project = "repos"', text)
    assert changed == 1
    (tmp_path / "agents.toml").write_text(text)
    (tmp_path / "code_review").symlink_to(EXAMPLE / "code_review")
    yield from loaded(tmp_path / "agents.toml")


@pytest.fixture
def shipped() -> Iterator[AgentRegistry]:
    """The team exactly as it is."""
    yield from loaded(EXAMPLE / "agents.toml")


def loaded(path: Path) -> Iterator[AgentRegistry]:
    before = list(sys.path)
    registry = AgentRegistry()
    load_catalog(path, registry, threads=DaemonThreads(8))
    yield registry
    sys.path[:] = before


@pytest.fixture
def git(repos: Path) -> Git:
    """A repository with two authors, a merge, and files of many kinds."""
    (repos.parent / "outside.py").write_text("import sys\nPASSWORD = 'outside-secret'\n")
    git = Git(repos / "mine")
    git.path.mkdir()
    git("init", "--quiet")
    git.commit({"app/main.py": "import os\n", "README.md": "# Mine\n\nText.\n", "gone.py": "1\n"})
    git.commit({"app/main.py": MAIN, "app/small.py": "def one():\n    return 1\n"}, author="bob")
    git("checkout", "--quiet", "-b", "side")
    git.commit({"app/small.py": "def one():\n    return 2\n"}, author="Bob")
    git("checkout", "--quiet", "main")
    git.commit({"data.bin": b"\0\1\2" * 100, "big.json": "[\n" + " \n" * 600_000 + "]\n"})
    git("merge", "--quiet", "--no-ff", "--message", "Merge", "side")
    (git.path / "link.py").symlink_to(git.path.parent.parent / "outside.py")
    git.commit(
        {
            "odd |`<b>name.py": "def odd(x):\n    return x and 1\n",
            "new\nline.txt": "text\n",
            "min.js": "x" * 3000,
        }
    )
    git("rm", "--quiet", "gone.py")
    git("commit", "--quiet", "--message", "Remove")
    git.commit({"app/main.py": MAIN + "# end\n"}, author="bob")
    return git


async def review(
    registry: AgentRegistry, path: str | None, roles: list[str], **options: Any
) -> tuple[TaskResult, list[Event]]:
    events: list[Event] = []
    request = TaskRequest(
        description="Review",
        selected_agents=roles,
        inputs=None if path is None else {"path": path},
        **options,
    )
    return await Orchestrator(registry).execute_task(request, events.append), events


async def output(registry: AgentRegistry, path: str | None, role: str) -> Any:
    result, _ = await review(registry, path, [role])
    assert result.status is TaskStatus.COMPLETED, result.failed
    return result.outputs[role].output


async def refusal(registry: AgentRegistry, path: str, role: str) -> tuple[str, str]:
    result, _ = await review(registry, path, [role])
    return result.failed[role].code, result.failed[role].error


# --- numbers ---------------------------------------------------------------------------------


async def test_the_inventory_counts_what_git_counts(registry: AgentRegistry, git: Git) -> None:
    found = await output(registry, "project/mine", "inventory")
    tracked = [name for name in git("ls-files", "-z").split("\0") if name]
    assert found["files"] == len(tracked)
    assert found["commit"] == git("rev-parse", "HEAD").strip()
    sizes = git("ls-tree", "-r", "-l", "HEAD")
    regular = [line.split()[3] for line in sizes.splitlines() if line.startswith("100644")]
    assert found["bytes"] == sum(map(int, regular))
    added = git("diff", "--numstat", "-z", EMPTY_TREE, "HEAD").split("\0")
    counts = {name: count for count, _, name in (a.split("\t") for a in added if a)}
    text = {n: int(c) for n, c in counts.items() if n not in ("data.bin", "big.json", "link.py")}
    assert "odd |`<b>name.py" in text
    text["min.js"] -= 1  # git counts the end of a file without a line end as a line
    assert found["lines"] == sum(text.values())
    assert found["textFiles"] == len(text)
    python = next(x for x in found["languages"] if x["language"] == "Python")
    assert python["lines"] == sum(c for n, c in text.items() if n.endswith(".py"))
    assert found["skipped"] == {"binary": 1, "larger than 1 MiB": 1, "symbolic links": 1}
    assert found["largest"][0]["path"] == "big.json"


async def test_the_history_counts_what_git_counts(registry: AgentRegistry, git: Git) -> None:
    found = await output(registry, "project/mine", "history")
    assert found["commits"] == int(git("rev-list", "--count", "HEAD")) == 8
    assert found["authors"] == 2, "bob and Bob are one"
    assert found["notes"] == []
    files = {file["path"]: file for file in found["files"]}
    assert "gone.py" not in files
    assert set(files) == {name for name in git("ls-files", "-z").split("\0") if name}
    for name in ("app/main.py", "app/small.py", "README.md", "data.bin"):
        changes = [x.split() for x in git.lines("log", "--format=", "--numstat", "--", name) if x]
        assert files[name]["commits"] == len(changes)
        numbers = [[0 if n == "-" else int(n) for n in change[:2]] for change in changes]
        assert files[name]["added"] == sum(added for added, _ in numbers)
        assert files[name]["deleted"] == sum(deleted for _, deleted in numbers)
    assert files["app/main.py"]["authors"] == 2
    assert found["files"][0]["path"] == "app/main.py"


async def test_a_folder_within_a_checkout_is_reviewed_alone(
    registry: AgentRegistry, git: Git
) -> None:
    inventory = await output(registry, "project/mine/app", "inventory")
    history = await output(registry, "project/mine/app", "history")
    complexity = await output(registry, "project/mine/app", "complexity")
    assert inventory["files"] == len(git.lines("ls-files", "app")) == 2
    assert history["commits"] == int(git("rev-list", "--count", "HEAD", "--", "app"))
    assert {file["path"] for file in history["files"]} == {"main.py", "small.py"}
    assert {file["path"] for file in complexity["byFile"]} == {"main.py", "small.py"}


async def test_every_function_is_measured(registry: AgentRegistry, git: Git) -> None:
    result, events = await review(registry, "project/mine", ["complexity"])
    found = result.outputs["complexity"].output
    functions = {f["name"]: f for f in found["mostComplex"]}
    assert set(functions) == {"choose", "run", "one", "odd"}
    # One, and one for each if, elif, and, for, while.
    assert functions["choose"]["complexity"] == 7
    assert functions["choose"]["path"] == "app/main.py"
    assert functions["choose"]["line"] == 5
    assert functions["choose"]["parameters"] == 3
    assert found["functions"] == 4
    assert found["mean"] == round((7 + 1 + 1 + 2) / 4, 2)
    assert found["skipped"] == {"symbolic links": 1, "minified or generated": 1}
    last = [event for event in events if isinstance(event, AgentProgress) and event.items_total][-1]
    assert (last.items_done, last.items_total, last.items_failed) == (5, 5, None)


async def test_the_linters_find_what_they_find_alone(registry: AgentRegistry, git: Git) -> None:
    lint = await output(registry, "project/mine", "lint")
    assert [(f["code"], f["location"]["row"]) for f in lint] == [("F401", 1)]
    security = await output(registry, "project/mine", "security")
    found = {(f["test_id"], f["line_number"]) for f in security["results"]}
    assert ("B602", 18) in found, "shell=True"
    assert security["errors"] == []


async def test_a_link_out_of_the_repository_is_not_followed(
    registry: AgentRegistry, git: Git, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/deep.py").write_text("import sys\nPASSWORD = 'outside-secret'\n")
    git.commit({"sub/deep.py": "1\n"})
    (git.path / "sub/deep.py").unlink()
    (git.path / "sub").rmdir()
    (git.path / "sub").symlink_to(tmp_path / "folder")
    result, events = await review(registry, "project/mine", [*FINDERS, "report"])
    assert result.status is TaskStatus.COMPLETED, result.failed
    said = [str(event) for event in events] + [str(r.output) for r in result.outputs.values()]
    assert not [text for text in said if "outside-secret" in text]
    assert {f["filename"] for f in result.outputs["lint"].output} == {str(git.path / "app/main.py")}


async def test_what_cannot_be_read_is_counted_as_failed(
    registry: AgentRegistry, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("a.py", "b.py", "sub/c.py", "d.py", "e.py")
    git.commit(dict.fromkeys(names, "def tracked():\n    pass\n"))
    for name in names:
        (git.path / name).unlink()
    (git.path / "sub").rmdir()
    (git.path / "sub").symlink_to("/etc")
    (git.path / "b.py").mkdir()
    (git.path / "e.py").symlink_to(git.path / "app/main.py")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(git.path)  # the address of a socket has to be short
        listener.bind("a.py")
    result, events = await review(registry, "project/mine", ["inventory", "complexity"])
    for role in ("inventory", "complexity"):
        skipped = result.outputs[role].output["skipped"]
        assert skipped["unreadable"] == 1
        assert skipped["no regular files"] == 1
        assert skipped["behind a symbolic link"] == 1
        assert skipped["symbolic links"] == 2
        assert skipped["not in the work tree"] == 1
        counted = [e for e in events if isinstance(e, AgentProgress) and e.agent_role == role]
        last = [event for event in counted if event.items_total][-1]
        assert last.items_done == last.items_total
        assert last.items_failed == 1


# --- the report ------------------------------------------------------------------------------


async def test_the_team_writes_a_report(registry: AgentRegistry, git: Git) -> None:
    result, _ = await review(
        registry,
        "project/mine",
        [*FINDERS, "report"],
        execution_mode="graph",
        depends_on={"report": FINDERS},
    )
    assert result.status is TaskStatus.COMPLETED, result.failed
    page = result.artifacts["report", "report.md"].decode()
    data = json.loads(result.artifacts["report", "report.json"])
    assert result.outputs["report"].text == page
    assert data["missing"] == []
    assert data["summary"]["commits"] == int(git("rev-list", "--count", "HEAD"))
    assert data["summary"]["lintFindings"] == len(result.outputs["lint"].output)
    severities = data["summary"]["securityFindings"]
    assert sum(severities.values()) == len(result.outputs["security"].output["results"])
    spot = data["hotSpots"][0]
    assert spot["path"] == "app/main.py"
    # Three commits; choose counts 7 and run 1.
    assert (spot["commits"], spot["complexity"], spot["score"]) == (3, 8, 24)
    headings = re.findall(r"(?m)^#+ (.+)$", page)
    assert headings == [
        "Review of mine",
        "Where to look first",
        "Most complex functions",
        "Languages",
        "Lint findings by rule",
        "Security findings by severity",
        "Notes",
    ]
    assert "| Files | 9 |" in page
    assert "| `choose` | `app/main.py:5` | 7 | 10 | 3 |" in page
    assert "| `F401` | 1 | 1 | `os` imported but unused | `app/main.py:1` |" in page
    assert "- Lines were not counted in 1 file: binary." in page


async def test_names_from_a_repository_cannot_break_the_page(
    registry: AgentRegistry, git: Git
) -> None:
    result, _ = await review(registry, "project/mine", [*FINDERS, "report"])
    page = result.artifacts["report", "report.md"].decode()
    assert "`odd \\|'<b>name.py:1`" in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in tables]
    starts = [index for index, line in enumerate(tables) if re.match(r"\| -", line)]
    assert len(starts) >= 6
    for start, end in zip(starts, [*(s - 1 for s in starts[1:]), len(tables)], strict=True):
        assert len(set(widths[start - 1 : end])) == 1, "a row has another number of cells"


async def test_what_is_missing_is_named(registry: AgentRegistry, git: Git) -> None:
    result, _ = await review(registry, "project/mine", ["inventory", "lint", "report"])
    page = result.artifacts["report", "report.md"].decode()
    assert "nothing was delivered by history, complexity, security." in page
    assert "Where to look first" not in page
    assert "Commits" not in page
    assert "| Lint findings | 1 |" in page


# --- odd repositories ------------------------------------------------------------------------


async def test_a_repository_without_commits_is_reported_as_such(
    registry: AgentRegistry, repos: Path
) -> None:
    Git(repos)("init", "--quiet")
    result, _ = await review(registry, None, [*FINDERS, "report"])
    assert result.status is TaskStatus.COMPLETED, result.failed
    page = result.artifacts["report", "report.md"].decode()
    assert "- There are no commits yet." in page
    assert "| Files | 0 |" in page


async def test_a_folder_that_is_no_repository_is_refused_in_words(
    registry: AgentRegistry, repos: Path
) -> None:
    (repos / "plain").mkdir()
    for role in ("inventory", "history", "complexity"):
        code, error = await refusal(registry, "project/plain", role)
        assert code == "not_a_repository"
        assert error == "plain is no git repository: there is no checkout in this folder."
        code, _ = await refusal(registry, "project/not-there", role)
        assert code == "not_a_repository"


async def test_a_broken_repository_is_reported_in_gits_words(
    registry: AgentRegistry, repos: Path
) -> None:
    (repos / "broken" / ".git").mkdir(parents=True)
    code, error = await refusal(registry, "project/broken", "history")
    assert code == "unreadable_repository"
    assert "not a git repository" in error


async def test_a_shallow_clone_is_reported_as_such(registry: AgentRegistry, git: Git) -> None:
    git("clone", "--quiet", "--depth", "2", f"file://{git.path}", "../shallow")
    found = await output(registry, "project/shallow", "history")
    clone = Git(git.path.parent / "shallow")
    assert found["commits"] == int(clone("rev-list", "--count", "HEAD")) < 8
    (note,) = found["notes"]
    assert note == f"The clone is shallow: its history ends after {found['commits']} commits."


async def test_a_path_outside_of_the_roots_is_refused(
    registry: AgentRegistry, git: Git, tmp_path: Path
) -> None:
    (git.path / "out").symlink_to(tmp_path)
    for role in [*FINDERS, "report"]:
        for path in (str(tmp_path), "/", "project/mine/out", "project/../.."):
            code, _ = await refusal(registry, path, role)
            assert code == "path_not_allowed"


@pytest.fixture
def trap(git: Git, tmp_path: Path) -> Callable[[], bool]:
    """Makes git run a program whenever it can; tells whether it ran, and forgets it."""
    sprung = tmp_path / "sprung"
    program = tmp_path / "trap.sh"
    program.write_text(f"#!/bin/sh\necho sprung >> {sprung}\n")
    program.chmod(0o755)
    for key in (
        "core.fsmonitor", "core.pager", "core.sshCommand", "diff.external", "diff.evil.textconv",
        "diff.evil.command", "filter.evil.clean", "filter.evil.smudge", "gpg.program",
    ):  # fmt: skip
        git("config", key, str(program))
    git("config", "log.showSignature", "true")
    git("config", "core.hooksPath", str(tmp_path))
    (git.path / ".git/info/attributes").write_text("* diff=evil filter=evil\n")
    signed = git("cat-file", "commit", "HEAD").replace(
        "\n\n", "\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\n", 1
    )
    (tmp_path / "commit").write_text(signed)
    commit = git("hash-object", "-t", "commit", "-w", str(tmp_path / "commit")).strip()
    git("update-ref", "HEAD", commit)

    def was_sprung() -> bool:
        found = sprung.exists()
        sprung.unlink(missing_ok=True)
        return found

    return was_sprung


async def test_nothing_of_the_repository_is_run(
    registry: AgentRegistry, git: Git, trap: Callable[[], bool]
) -> None:
    for arguments in (["ls-files"], ["log", "-1"], ["log", "-p", "-2"]):
        git(*arguments)
        assert trap(), f"git {arguments} would have run it"
    for role in FINDERS:
        result, _ = await review(registry, "project/mine", [role])
        assert result.status is TaskStatus.COMPLETED, result.failed
        assert not trap(), f"{role} ran a program of the repository"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_repository_of_somebody_else_is_read(registry: AgentRegistry, git: Git) -> None:
    for path in (git.path, git.path / ".git"):
        os.chown(path, 12345, 12345)
    with pytest.raises(subprocess.CalledProcessError):
        git("log")
    assert (await output(registry, "project/mine", "history"))["commits"] == 8


async def test_the_configuration_of_the_repository_is_not_used(
    registry: AgentRegistry, git: Git
) -> None:
    git.commit(
        {
            "app/ruff.toml": '[lint.per-file-ignores]\n"*" = ["F401"]\n',
            ".bandit": "[bandit]\nskips = B602\n",
        }
    )
    assert [f["code"] for f in await output(registry, "project/mine", "lint")] == ["F401"]
    security = await output(registry, "project/mine", "security")
    assert "B602" in {finding["test_id"] for finding in security["results"]}


@pytest.mark.parametrize("role", ["inventory", "history", "complexity"])
async def test_a_cancel_ends_the_walk(registry: AgentRegistry, git: Git, role: str) -> None:
    git.commit({f"many/{n}.py": "def f():\n    pass\n" for n in range(300)})
    trial = Trial(registry[role].agent, {"path": "project/mine"})
    trial.recorder.room.clear()
    task = trial.start()
    await eventually(lambda: trial.recorder.waiting)  # with its first report
    task.cancel()
    await asyncio.sleep(0)
    trial.recorder.room.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert trial.text == "", "it went on to its end"


# --- as it is shipped ------------------------------------------------------------------------


async def test_it_reviews_the_checkout_it_came_with(shipped: AgentRegistry) -> None:
    git = Git(ROOT)
    try:
        commits = git("rev-list", "--count", "HEAD")
    except subprocess.CalledProcessError:
        pytest.skip("no checkout with commits")
    assert (await output(shipped, None, "history"))["commits"] == int(commits)
    found = await output(shipped, None, "inventory")
    assert found["files"] == len(git.lines("ls-files"))
    result, _ = await review(shipped, None, [*FINDERS, "report"])
    assert result.status is TaskStatus.COMPLETED, result.failed
    assert f"# Review of {ROOT.name}" in result.outputs["report"].text


def test_what_the_readme_tells_to_send_is_accepted(shipped: AgentRegistry) -> None:
    readme = (EXAMPLE / "README.md").read_text()
    bodies = [
        *re.findall(r"-d '(\{.*?\})'\n", readme, re.DOTALL),
        *re.findall(r"```json\n(.*?)```", readme, re.DOTALL),
    ]
    assert len(bodies) == 2
    for body in bodies:
        request = TaskRequest.model_validate_json(body)
        shipped.check(request.selected_agents)
        assert request.selected_agents == [registration.agent.role for registration in shipped]
