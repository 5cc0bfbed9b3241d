"""Running a study: with a program in place of the training, and what the command says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from detr_hf import cli
from detr_hf.ablation.run import Runner, refuse_other_runs
from detr_hf.ablation.state import state_of
from detr_hf.ablation.study import Study
from detr_hf.errors import StoppedEarly, UserError
from tests.ablation.fake_runs import STUDY, finish, start, study_in, write_study
from tests.commands import refusal, told

THEN = STUDY + "then: {{recipe: panoptic.yaml}}\n"
TRAINING = """
import os, pathlib, sys, time
recipe = pathlib.Path(sys.argv[1])
folder = recipe.with_suffix("")
with open(recipe.parents[2] / "started.txt", "a") as file:
    print(recipe.parent.parent.name, recipe.stem, os.environ.get("CUDA_VISIBLE_DEVICES"), file=file)
{what}
(folder / "recipe.yaml").write_text(recipe.read_text())
(folder / "results.md").write_text("")
"""
FAILS = 'if "RICAP" in str(recipe): sys.exit("error: no such thing")'
SLEEPS = 'time.sleep(30) if "RICAP" in str(recipe) else None'


def runner(study: Study, tmp_path: Path, what: str = "", gpus: list[str] | None = None) -> Runner:
    script = tmp_path / "training.py"
    script.write_text(TRAINING.format(what=what))
    return Runner(study.runs, gpus or [], lambda: None, [sys.executable, "-S", str(script)])


def started(study: Study) -> list[str]:
    return (study.folder / "started.txt").read_text().splitlines()


def test_what_is_missing_is_run_and_nothing_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = study_in(tmp_path)
    finish(study.runs[0], 0.5)
    runner(study, tmp_path).run_all()
    assert len(started(study)) == 8 and {state_of(run).kind for run in study.runs} == {"finished"}
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 8 and said[0].startswith(
        "[2/9] base/seed-2/detection: finished in 0.0 minutes; about 0 min"
    )
    runner(study, tmp_path).run_all()
    assert len(started(study)) == 8


def test_a_failed_run_is_noted_and_the_others_go_on(tmp_path: Path) -> None:
    study = study_in(tmp_path, THEN)
    ended = runner(study, tmp_path, FAILS)
    ended.run_all()
    assert [ended.results[run.name] for run in study.runs] == ["finished"] * 12 + ["failed"] * 6
    assert not any("RICAP panoptic" in line for line in started(study)), "its stage 1 has no result"
    assert str(state_of(study.runs[12])) == "failed: no such thing"
    runner(study, tmp_path).run_all()
    assert {state_of(run).kind for run in study.runs} == {"finished"}


def test_the_error_is_that_of_the_last_try(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    ricap = replace(study, runs=study.runs[6:7])
    runner(ricap, tmp_path, FAILS).run_all()
    runner(ricap, tmp_path, "os.kill(os.getpid(), 9)").run_all()
    assert str(state_of(study.runs[6])) == "failed: ended by signal 9"


def test_stage_2_follows_its_stage_1(tmp_path: Path) -> None:
    study = study_in(tmp_path, THEN)
    runner(study, tmp_path, gpus=["0", "3"]).run_all()
    lines = [line.split() for line in started(study)]
    assert {gpu for _, _, gpu in lines} == {"0", "3"} and len(lines) == 18
    assert lines[0][1] == "detection"


def test_a_signal_reaches_the_run_and_ends_the_study(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    one = runner(study, tmp_path, SLEEPS)

    def end() -> None:
        while not (study.folder / "started.txt").exists() or not any("RICAP" in x for x in started(study)):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(StoppedEarly):
        one.run_all()
    thread.join()
    assert one.results[study.runs[6].name] == "stopped" and len(started(study)) == 7
    assert state_of(study.runs[6]).kind == "open", "it is no failure"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_run_that_outlived_its_study_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The study is killed; what it started holds the lock until it is done, and is not started twice."""
    study = study_in(tmp_path)
    write = f"open({str(tmp_path / 'go')!r}, 'w'); time.sleep(1)"
    script = tmp_path / "training.py"
    script.write_text(TRAINING.format(what=write))
    code = (
        "import sys; from pathlib import Path; from detr_hf.ablation.run import Runner\n"
        "from detr_hf.ablation.study import load_study\n"
        f"study = load_study(Path({str(study.path)!r}))\n"
        f"Runner(study.runs[:1], [], lambda: None, [sys.executable, '-S', {str(script)!r}]).run_all()"
    )
    first = subprocess.Popen([sys.executable, "-c", code])
    while not (tmp_path / "go").exists():
        time.sleep(0.02)
    first.kill()
    first.wait()
    again = Runner(study.runs[:1], [], lambda: None, [sys.executable, "-S", str(script)])
    again.run_all()
    assert len(started(study)) == 1 and again.results == {study.runs[0].name: "finished"}
    assert "waiting for base/seed-1/detection: another process trains it" in capsys.readouterr().out


def test_a_run_of_another_recipe_is_refused_before_the_first_start(tmp_path: Path) -> None:
    finish(study_in(tmp_path).runs[0], 0.5)
    study = study_in(tmp_path, STUDY.replace("auxiliary: false", "auxiliary: false, optim.lr: 1e-5"))
    refuse_other_runs(study.runs)
    study = study_in(tmp_path, STUDY + "set: {{optim.lr: 1e-5}}\n")
    with pytest.raises(UserError, match=r"1 run of another recipe[^$]*optim.lr: not set -> 1e-05"):
        refuse_other_runs(study.runs)


# ---- the command


def test_the_list_says_how_far_every_run_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_study(tmp_path)
    study = study_in(tmp_path)
    finish(study.runs[0], 0.5)
    start(study.runs[1])
    lines = told(["ablate", str(file), "--list"], capsys).splitlines()
    assert lines[0] == "  0  base/seed-1/detection: finished" and lines[1].endswith(
        "seed-2/detection: started"
    )
    assert len(lines) == 9
    few = told(["ablate", str(file), "--list", "--only", "no*", "--only", "base/seed-2"], capsys)
    assert [line.split()[0] for line in few.splitlines()] == ["1", "3", "4", "5"]
    assert "RICAP/seed-1" in told(["ablate", str(file), "--list", "--task", "6"], capsys)


def test_the_table_alone_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_study(tmp_path)
    finish(study_in(tmp_path).runs[0], 0.5)
    told(["ablate", str(file), "--table"], capsys)
    numbers = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert numbers["variants"][0]["scores"]["best"]["box AP"]["mean"] == 0.5


def test_a_finished_study_prints_what_each_variant_is_worth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_study(tmp_path)
    for run in study_in(tmp_path).runs:
        finish(run, 0.5)
    said = told(["ablate", str(file)], capsys)
    assert "9 runs, 9 of them finished" in said and "RICAP: box AP 0.000 (0.000 to 0.000)" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "nothing"], "the variants are base, no auxiliary losses, RICAP"),
        (["--task", "9"], "tasks 0 to 8"),
        (["--gpus", "a"], "a is not a list of GPUs"),
        (["--table", "--only", "RICAP"], "the table is of all runs"),
        (["--table", "--task", "0"], "the table is of all runs"),
        (["--only", "RICAP", "--task", "0"], "--task: not allowed with argument --only"),
        (["--list", "--table"], "not allowed with argument"),
        (["--slurm", "--gpus", "0"], "not allowed with argument"),
    ],
)
def test_what_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert said in refusal(["ablate", str(write_study(tmp_path)), *words], capsys)


def test_an_exit_code_says_that_some_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_study(tmp_path)
    for run in study_in(tmp_path).runs[1:]:
        finish(run, 0.5)
    monkeypatch.setattr(Runner, "__init__", _failing(Runner.__init__))
    with pytest.raises(SystemExit) as ended:
        cli.main(["ablate", str(file)])
    assert ended.value.code == 1 and "1 run failed: base/seed-1/detection" in capsys.readouterr().out


def _failing(init: object) -> object:
    def with_false(self: Runner, runs: object, gpus: object, ended: object) -> None:
        init(self, runs, gpus, ended, ["false"])  # type: ignore[operator]

    return with_false
