"""The page of results, and the check of a benchmark's files."""

import json

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
