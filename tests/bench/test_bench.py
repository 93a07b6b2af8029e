from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.bench.__main__ import main


@pytest.mark.e2e
def test_a_quick_row_measures_every_server_and_is_held_against_its_targets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(
        [
            "--quick",
            "--only",
            "tasks",
            "--json",
            str(tmp_path / "m.json"),
            "--folder",
            str(tmp_path),
        ]
    )

    rounds = orjson.loads((tmp_path / "m.json").read_bytes())["tasks"]
    assert list(rounds) == ["poststream", "raw", "starlette"]
    assert all(sample["figures"]["tasks_per_s"] > 0 for (sample,) in rounds.values())
    assert all(sample["events_per_write"] >= 1 for (sample,) in rounds.values())
    printed = capsys.readouterr().out
    assert "tasks, 50 at once, 8 events each" in printed
    assert "≥ 1.2 x starlette" in printed


def test_a_row_that_does_not_exist_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "tasks,nonsense"])

    assert "there is no row nonsense" in capsys.readouterr().err
