"""What a command of `detr-hf` answers."""

from __future__ import annotations

import pytest

from detr_hf import cli


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Standard output of a command."""
    cli.main(arguments)
    return capsys.readouterr().out


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The message of a command that must end with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    message = capsys.readouterr().err
    assert ended.value.code == 2 and "Traceback" not in message
    return message
