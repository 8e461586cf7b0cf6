"""The page of results, and the check of a benchmark's files."""

import json
import shutil

from helpers import FORMATS, finetune, places, run


def test_a_check_lists_everything_at_once(corpus, without_a_video):
    folder, video = without_a_video("msrvtt-qa")
    questions = json.loads((folder / "annotations/val_qa.json").read_text())
    del questions[0]["answer"]
    questions[1]["video_id"] = "seven"
    (folder / "annotations/val_qa.json").write_text(json.dumps(questions))
    (folder / "annotations/train_qa.json").write_text("[")
    number = json.loads((folder / "annotations/test_qa.json").read_text())[-1]["video_id"]
    (folder / f"videos/video{number}.mp4").write_bytes(b"junk")
    status, output, _ = run("data", "check", "msrvtt-qa", *places(folder))
    assert status == 1
    for expected in ("train_qa.json", "row 1", "row 2", f"{video}.mp4", f"video{number}.mp4", "published 12,278"):
        assert expected in output
    assert "Traceback" not in output


def test_the_report_has_ours_beside_theirs_and_pictures_of_differences(checkpoint, corpus, tmp_path):
    files = []
    for name in ("msrvtt-retrieval", "tgif-transition"):
        out = tmp_path / name
        folder = corpus(FORMATS[name])
        finetune(name, checkpoint, folder, out)
        run("evaluate", name, out / "checkpoint", *places(folder), "--predictions", out / "said.jsonl")
        files.append(out / "said.jsonl")
    rows = [json.loads(line) for line in files[1].read_text().splitlines()]
    for row in rows:
        row["said"] = row["right"] if row["said"] != row["right"] else (row["right"] + 1) % 5
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = tmp_path / "report.html"
    status, _, errors = run(
        "report",
        tmp_path / "msrvtt-retrieval",
        tmp_path / "tgif-transition",
        "--out",
        page,
        "--compare",
        files[1],
        other,
    )
    assert status == 0, errors
    content = page.read_text()
    for expected in (
        "MSR-VTT 1k-A",
        "40.5",
        "98.2",
        rows[0]["question"],
        "data:image/jpeg",
        "95 % interval",
        "not the published split",
    ):
        assert expected in content
    assert content.count("data:image/jpeg") == min(8, len(rows))
    assert run("report", tmp_path / "nowhere")[0] == 2
    assert run("report", "--compare", files[0], other)[0] == 2
    assert run("report")[0] == 2


def test_results_of_other_policies_are_found_or_named(checkpoint, corpus, tmp_path):
    folder, out, page = corpus("msvd-qa"), tmp_path / "run", tmp_path / "report.html"
    finetune("msvd-qa", checkpoint, folder, out)
    evaluate = ("evaluate", "msvd-qa", out / "checkpoint", *places(folder), "--missing")
    run(*evaluate, "drop")
    for place in (out, out / "checkpoint"):
        page.unlink(missing_ok=True)
        assert run("report", place, "--out", page)[0] == 0
        assert "run, drop" in page.read_text()
    run(*evaluate, "wrong")
    status, _, errors = run("report", out, "--out", page)
    assert status == 2
    assert "no result.json but result-drop.json, result-wrong.json" in errors[-1]
    run(*evaluate, "error")
    assert run("report", out, "--out", page)[0] == 0
    assert "run, drop" not in page.read_text()


def test_a_comparison_counts_and_does_without_pictures(checkpoint, corpus, tmp_path, monkeypatch):
    folder, out, page = tmp_path / "copy", tmp_path / "run", tmp_path / "report.html"
    shutil.copytree(corpus("msvd-qa"), folder)
    finetune("msvd-qa", checkpoint, folder, out)
    said = tmp_path / "said.jsonl"
    monkeypatch.chdir(folder)
    here = ("--annotations", "annotations", "--videos", "videos")
    assert run("evaluate", "msvd-qa", out / "checkpoint", *here, "--predictions", said)[0] == 0
    monkeypatch.chdir(tmp_path)
    rows = [json.loads(line) for line in said.read_text().splitlines()]
    output = run("report", "--compare", said, said, "--out", page)[1]
    assert f"the two differ in 0 of {len(rows)} rows" in output
    assert f"differ in 0 of {len(rows)} rows" in page.read_text()
    other = tmp_path / "other.jsonl"
    turned = [row | {"said": "nothing" if row["said"] == row["right"] else row["right"]} for row in rows]
    other.write_text("".join(json.dumps(row) + "\n" for row in turned))
    assert run("report", "--compare", said, other, "--out", page, "--most", 2)[0] == 0
    assert page.read_text().count("data:image/jpeg") == 2
    shutil.rmtree(folder)
    output = run("report", "--compare", said, other, "--out", page)[1]
    assert f"the two differ in {len(rows)} of {len(rows)} rows" in output
    assert rows[0]["question"] in page.read_text()
    assert "data:image/jpeg" not in page.read_text()


def test_a_check_counts_rows_that_occur_twice_and_names_a_shared_row_once(corpus, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(corpus("msvd-qa"), folder)
    path = folder / "annotations/test_qa.json"
    questions = json.loads(path.read_text())
    path.write_text(json.dumps([*questions, *questions[:2]]))
    with (folder / "annotations/youtube_mapping.txt").open("a") as mapping:
        mapping.write("three words here\n")
    output = run("data", "check", "msvd-qa", *places(folder))[1]
    assert "test: rows that occur twice: 2" in output
    assert output.count("rows that occur twice") == 1
    assert output.count("three words here") == 1


def test_a_check_notices_answers_counted_from_one(corpus, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(corpus("tgif-transition"), folder)
    assert "counted from 1" not in run("data", "check", "tgif-transition", *places(folder))[1]
    path = folder / "annotations/Train_transition_question.csv"
    header, *lines = path.read_text().splitlines()
    place = header.split("\t").index("answer")
    rows = [line.split("\t") for line in lines if line]
    for row in rows:
        row[place] = str(int(row[place]) + 1)
    path.write_text("\n".join(["\t".join(row) for row in [header.split("\t"), *rows]]) + "\n")
    output = run("data", "check", "tgif-transition", *places(folder))[1]
    assert "answers that look counted from 1 and must be counted from 0: 1" in output
    assert "train: the right option is never 0 and 5 in" in output
