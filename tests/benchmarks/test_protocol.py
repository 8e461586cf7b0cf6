"""Numbers that would mislead are refused, or say so."""

import json
import shutil

import pytest
from helpers import finetune, places, run


def test_a_checkpoint_without_the_head_is_refused(checkpoint, corpus):
    for name in ("tgif-transition", "msrvtt-qa", "lsmdc-fib"):
        status, _, errors = run("evaluate", name, checkpoint, *places(corpus(name)))
        assert status == 2
        assert f"clover finetune {name} makes one" in errors[-1]


def test_validation_is_never_silently_the_test_split(checkpoint, corpus, tmp_path):
    folder = corpus("msrvtt")
    status, _, errors = finetune("msrvtt-retrieval", checkpoint, folder, tmp_path / "a", "--select-on", "validation")
    assert status == 2
    assert "has no validation split" in errors[-1]
    out = tmp_path / "b"
    assert finetune("msrvtt-retrieval", checkpoint, folder, out, "--select-on", "test")[0] == 0
    status, output, _ = run("evaluate", "msrvtt-retrieval", out / "checkpoint", *places(folder))
    assert status == 0
    assert "checkpoint chosen on: test" in output
    assert "chosen on this very test split" in " ".join(output.split())
    assert json.loads((out / "result.json").read_text())["selected_on"] == "test"


def test_strict_takes_a_bad_row_for_an_error(checkpoint, corpus, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(corpus("msrvtt-qa"), folder)
    path = folder / "annotations/train_qa.json"
    questions = json.loads(path.read_text())
    del questions[0]["answer"]
    path.write_text(json.dumps(questions))
    assert finetune("msrvtt-qa", checkpoint, folder, tmp_path / "a")[0] == 0
    status, _, errors = finetune("msrvtt-qa", checkpoint, folder, tmp_path / "b", "--strict")
    assert status == 2
    assert "train_qa.json, row 1" in errors[-1]


def test_missing_media_follow_the_policy(checkpoint, corpus, without_a_video, tmp_path):
    out = tmp_path / "run"
    assert finetune("msrvtt-qa", checkpoint, corpus("msrvtt-qa"), out)[0] == 0
    folder, video = without_a_video("msrvtt-qa")
    arguments = ("evaluate", "msrvtt-qa", out / "checkpoint", *places(folder), "--json")
    status, _, errors = run(*arguments)
    assert status == 2
    assert video in errors[-1]
    dropped = json.loads(run(*arguments, "--missing", "drop")[1])
    wrong = json.loads(run(*arguments, "--missing", "wrong")[1])
    assert not dropped["is_complete"]
    assert not wrong["is_complete"]
    assert wrong["num_queries"] > dropped["num_queries"]
    right = dropped["value"] * dropped["num_queries"] / 100
    assert wrong["value"] == pytest.approx(100 * right / wrong["num_queries"])
    status, output, _ = run(*arguments[:-1], "--missing", "drop")
    assert "INCOMPLETE" in output


def test_missing_videos_cannot_be_counted_wrong_in_retrieval(checkpoint, without_a_video):
    folder, _ = without_a_video("msrvtt")
    arguments = ("evaluate", "msrvtt-retrieval", checkpoint, *places(folder), "--zero-shot")
    status, _, errors = run(*arguments, "--missing", "wrong")
    assert status == 2
    assert "--missing error or drop" in errors[-1]
    assert run(*arguments, "--missing", "drop")[0] == 0


def test_training_on_test_videos_is_refused(checkpoint, corpus, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(corpus("msrvtt-mc"), folder)
    lists = folder / "annotations"
    test = {
        line.split("\t")[1].replace("msr", "video")
        for line in (lists / "MSR_MC_test.csv").read_text().split("\n")[1:]
        if line
    }
    train = (lists / "MSRVTT_train.7k.csv").read_text()
    (lists / "MSRVTT_train.7k.csv").write_text(train.rstrip("\n") + "\n" + "\n".join(sorted(test)) + "\n")
    status, _, errors = finetune("msrvtt-mc", checkpoint, folder, tmp_path / "run")
    assert status == 2
    assert "are also training videos" in errors[-1]


def test_zero_shot_is_not_believed_of_a_fine_tuned_checkpoint(checkpoint, corpus, tmp_path):
    folder, out = corpus("msrvtt"), tmp_path / "run"
    finetune("msrvtt-retrieval", checkpoint, folder, out)
    status, _, errors = run("evaluate", "msrvtt-retrieval", out / "checkpoint", *places(folder), "--zero-shot")
    assert status == 2
    assert "its result is not zero-shot" in errors[-1]
    assert not (out / "result.json").exists()
    _change_config(out)
    status, _, errors = run("evaluate", "msrvtt-retrieval", out / "checkpoint", *places(folder), "--zero-shot")
    assert status == 2, "its weights know what they were trained on"
    assert "its result is not zero-shot" in errors[-1]


def _change_config(out):
    """Then run.json is no longer of this very checkpoint."""
    config = out / "checkpoint" / "config.json"
    plain = json.loads(config.read_text())
    plain["inputs"]["max_text_length"] -= 4
    config.write_text(json.dumps(plain))


def test_a_result_lies_beside_the_checkpoint_wherever_it_is_called_from(checkpoint, corpus, tmp_path, monkeypatch):
    folder, out = corpus("msrvtt"), tmp_path / "run"
    finetune("msrvtt-retrieval", checkpoint, folder, out)
    monkeypatch.chdir(out / "checkpoint")
    assert run("evaluate", "msrvtt-retrieval", ".", *places(folder))[0] == 0
    assert (out / "result.json").is_file()
    assert not (out / "checkpoint" / "result.json").exists()


def test_what_would_be_lost_with_a_checkpoint_is_known_before_training(checkpoint, corpus, tmp_path):
    out = tmp_path / "run"
    (out / "checkpoint").mkdir(parents=True)
    (out / "checkpoint" / "notes.txt").write_text("mine")
    status, _, errors = finetune("msrvtt-retrieval", checkpoint, corpus("msrvtt"), out, "--overwrite")
    assert status == 2
    assert errors == [f"clover: {out / 'checkpoint'} holds other things (notes.txt); train into a folder of its own"]


def test_test_videos_that_a_checkpoint_was_trained_on_are_named(checkpoint, corpus, tmp_path):
    """MSR-VTT's training list holds test videos of another benchmark on the same clips."""
    folder, out = corpus("msrvtt-mc"), tmp_path / "run"
    finetune("msrvtt-mc", checkpoint, folder, out)
    notes = json.loads((out / "run.json").read_text())
    rows = (folder / "annotations/MSR_MC_test.csv").read_text().splitlines()[1:]
    notes["training_videos"] += [row.split("\t")[1].replace("msr", "video") for row in rows[:2]]
    (out / "run.json").write_text(json.dumps(notes))
    run("evaluate", "msrvtt-mc", out / "checkpoint", *places(folder))
    remarks = json.loads((out / "result.json").read_text())["remarks"]
    assert any(line.startswith("SEEN IN TRAINING: 2 of these") for line in remarks)
    _change_config(out)
    remarks = json.loads(run("evaluate", "msrvtt-mc", out / "checkpoint", *places(folder), "--json")[1])["remarks"]
    assert any(
        line.startswith("run.json beside the checkpoint tells of fine-tuning on msrvtt-mc of") for line in remarks
    )
    assert any(line.startswith("SEEN IN TRAINING: 2 of these") for line in remarks)


def test_what_the_publishers_own_file_lacks_does_not_make_a_result_incomplete(checkpoint, corpus, tmp_path):
    folder, out = tmp_path / "copy", tmp_path / "run"
    shutil.copytree(corpus("lsmdc-fib"), folder)
    finetune("lsmdc-fib", checkpoint, folder, out)
    path = folder / "annotations/LSMDC16_annos_test_FIB.csv"
    lines = path.read_text().splitlines()
    fields = lines[0].split("\t")
    lines.append("\t".join([*fields[:-1], "NOTHINGTOBLANK"]))
    path.write_text("\n".join(lines) + "\n")
    result = json.loads(run("evaluate", "lsmdc-fib", out / "checkpoint", *places(folder), "--json")[1])
    assert result["is_complete"]
    assert result["num_queries"] == len(lines)
    lines[1] = "\t".join(lines[1].split("\t")[:4])
    path.write_text("\n".join(lines) + "\n")
    result = json.loads(run("evaluate", "lsmdc-fib", out / "checkpoint", *places(folder), "--json")[1])
    assert not result["is_complete"]
    assert result["num_queries"] == len(lines)


def test_rows_that_cannot_be_read_follow_the_policy_and_are_in_the_predictions(checkpoint, corpus, tmp_path):
    out, folder = tmp_path / "run", tmp_path / "copy"
    shutil.copytree(corpus("msvd-qa"), folder)
    assert finetune("msvd-qa", checkpoint, folder, out)[0] == 0
    path = folder / "annotations/test_qa.json"
    questions = json.loads(path.read_text())
    bad = [{**questions[0], "question": ""}, {**questions[0], "answer": None}, {**questions[0], "video_id": 1999}]
    path.write_text(json.dumps([*questions, *bad]))
    found = {}
    for policy in ("error", "drop", "wrong"):
        lines = tmp_path / f"{policy}.jsonl"
        more = ("--missing", policy, "--predictions", lines, "--json")
        result = json.loads(run("evaluate", "msvd-qa", out / "checkpoint", *places(folder), *more)[1])
        found[policy] = result, [json.loads(line) for line in lines.read_text().splitlines()]
        assert not result["is_complete"]
        assert result["num_queries"] == len(found[policy][1])
        fates = [line for line in result["remarks"] if "test_qa.json: expected" in line]
        assert len(fates) == 3
        assert all(("left out" if policy == "drop" else "1 row counted as wrong") in line for line in fates)
    assert found["drop"][0]["num_queries"] == len(questions)
    for policy in ("error", "wrong"):
        result, said = found[policy]
        assert result["num_queries"] == len(questions) + 3
        assert [line["said"] for line in said[-3:]] == [None] * 3
        assert "expected a video of the mapping, found vid1999" in said[-1]["problem"]
        right = sum(line["said"] == line["right"] for line in said)
        assert result["value"] == pytest.approx(100 * right / len(said))


def test_a_checkpoint_that_nothing_is_known_of_is_shown_with_a_remark(checkpoint, corpus):
    arguments = ("evaluate", "msrvtt-retrieval", checkpoint, *places(corpus("msrvtt")), "--json")
    remarks = json.loads(run(*arguments)[1])["remarks"]
    assert any("not known to be fine-tuned on this benchmark" in line and "--zero-shot" in line for line in remarks)
    remarks = json.loads(run(*arguments, "--zero-shot")[1])["remarks"]
    assert not any("not known to be fine-tuned" in line for line in remarks)


def test_the_progress_of_all_passes_is_one(checkpoint, corpus):
    arguments = ("evaluate", "msrvtt-retrieval", checkpoint, *places(corpus("msrvtt")), "--zero-shot", "--baselines")
    lines = [line for line in run(*arguments)[2] if line.startswith("evaluating: ")]
    done, total = lines[-1].removeprefix("evaluating: ").split("/")
    assert done == total
    assert sum(line.endswith(f"{total}/{total}") for line in lines) == 1
    assert int(total) % 3 == 0
