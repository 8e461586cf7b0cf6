"""Memory of a caption table, against a list of records.

    python benchmarks/corpus_memory.py [--quick] [--save]

Rows are generated in the shape of WebVid's training file: captions of 2 to 20 words, 25,000 folders. Each way reads the
same file in a process of its own; its memory is the highest resident size of that process less what it had before
reading, so what reading needs on the way counts too.
"""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clover.data.corpora.webvid import read_webvid
from clover.types import Pair
from common import arguments, device_name, finish

BASELINE = "the same rows as a list of Pair records, read with csv.DictReader"
MAX_BYTES_PER_ROW = 300
TEXT = (
    "aerial view of a small boat crossing the harbour at dusk while people walk slowly along wet stones "
    "young woman close up slow motion background with green screen city traffic mountain café señor"
)


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], Path(sys.argv[3]))
        return
    options = arguments(__doc__)
    num_rows = 50_000 if options.quick else 300_000
    with tempfile.TemporaryDirectory() as folder:
        file = write_rows(Path(folder, "results_2M_train.csv"), num_rows)
        results = {way: in_subprocess(way, file) for way in ("ours", "baseline")}
        file_bytes = file.stat().st_size / num_rows
    if results["ours"]["rows"] != num_rows or results["ours"]["checksum"] != results["baseline"]["checksum"]:
        raise SystemExit(f"both ways must read the same {num_rows} rows: {results}")
    for way, result in results.items():
        print(f"{way:>9}: {result['bytes_per_row']:7.1f} bytes a row at the peak, {result['seconds']:.2f} s")
    ours = results["ours"]["bytes_per_row"]
    finish(
        {
            "name": "corpus_memory",
            "device": device_name(accelerator=False),
            "ratio": round(results["baseline"]["bytes_per_row"] / ours, 2),
            "ratio_of": f"growth of the peak resident size, {num_rows} rows",
            "baseline": BASELINE,
            "quick": options.quick,
            "rows": num_rows,
            "bytes_per_row": ours,
            "bytes_per_row_of_columns": results["ours"]["held_per_row"],
            "bytes_per_row_of_baseline": results["baseline"]["bytes_per_row"],
            "bytes_per_row_in_file": round(file_bytes, 1),
            "seconds_for_a_million_rows": round(results["ours"]["seconds"] / num_rows * 1e6, 1),
        },
        options.save,
    )
    if ours > MAX_BYTES_PER_ROW:
        raise SystemExit(f"{ours} bytes a row; at most {MAX_BYTES_PER_ROW} are promised")


def write_rows(file: Path, num_rows: int) -> Path:
    generator, words = random.Random(0), TEXT.split()
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["videoid", "contentUrl", "duration", "page_dir", "name"])
        for row in range(num_rows):
            caption = " ".join(generator.choices(words, k=generator.randint(2, 20)))
            if row % 4 == 0:
                caption = caption.replace(" ", ", ", 1)
            video_id, page = 1_000_000_000 + row, 50 * generator.randrange(25_000)
            address = f"https://videos.example/{video_id}/preview.mp4"
            writer.writerow([video_id, address, "PT00H00M15S", f"{page + 1:06d}_{page + 50:06d}", caption])
    return file


def in_subprocess(way: str, file: Path) -> dict[str, float]:
    run = subprocess.run([sys.executable, __file__, "--measure", way, str(file)], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(run.stderr)
    return json.loads(run.stdout)


def measure(way: str, file: Path) -> None:
    """Read once, and print what the process grew by."""
    start = time.perf_counter()
    before = resident_bytes("VmRSS")
    rows = read_webvid(file, Path("media")) if way == "ours" else as_records(file, Path("media"))
    grown = resident_bytes("VmHWM") - before
    seconds = time.perf_counter() - start
    print(
        json.dumps(
            {
                "rows": len(rows),
                "bytes_per_row": round(grown / len(rows), 1),
                "held_per_row": 0 if isinstance(rows, list) else round(rows.num_bytes / len(rows), 1),
                "seconds": seconds,
                "checksum": sum(len(rows[row].text) + rows[row].index for row in range(len(rows))),
            }
        )
    )


def as_records(file: Path, folder: Path) -> list[Pair]:
    """The baseline."""
    with file.open(encoding="utf-8", newline="") as stream:
        return [
            Pair(
                video=folder / f"videos/{row['page_dir']}/{row['videoid']}.mp4",
                text=row["name"].strip(),
                index=index,
                video_id=row["videoid"],
                text_id=f"{row['videoid']}#{index}",
            )
            for index, row in enumerate(csv.DictReader(stream))
        ]


def resident_bytes(field: str) -> int:
    """``VmRSS`` (now) or ``VmHWM`` (highest) of this process; its resource usage would begin at its parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise SystemExit(f"/proc/self/status has no {field}; this benchmark needs Linux")


if __name__ == "__main__":
    main()
