"""The command line as tests run it: in this process, with its exit code and what it wrote."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from campaign.cli.main import main


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process; exit code and what it wrote."""

    def invoke(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["campaign", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        code = ended.value.code
        assert "Traceback" not in out + err
        return (0 if code is None else int(code)), out, err

    return invoke
