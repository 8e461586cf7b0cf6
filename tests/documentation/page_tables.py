"""What the tests do to the commands of the pages: everything that is not run as it stands is in one of these tables."""

TINY = """
    --model.embedding-width 16 --model.projection-width 16 --model.video.width 8 --model.video.depths 1 1
    --model.video.num-heads 1 2 --model.video.window 2 2 2 --model.text.max-length 64 --model.text.transformer.width 16
    --model.text.transformer.num-layers 1 --model.text.transformer.num-heads 2
    --model.text.transformer.feed-forward-width 32 --model.fusion.video-width 16 --model.fusion.num-spatial-positions 16
    --model.fusion.transformer.width 16 --model.fusion.transformer.num-layers 1 --model.fusion.transformer.num-heads 2
    --model.fusion.transformer.feed-forward-width 32 --model.initial-weights fan_in --inputs.frames.size 32
    --inputs.frames.training-short-side 40 --compute.precision float32
"""
TINY_AROUND_OTHERS = """
    --model.embedding-width 16 --model.projection-width 16 --model.fusion.transformer.num-layers 1
    --inputs.frames.size 32 --inputs.frames.training-short-side 40 --compute.precision float32
"""
FEW = "--training.num-steps 2 --batch-size 4 --micro-batch-size 2 --num-workers 0"
WARM = "--video-warm-start.num-steps 0 --text-warm-start.num-steps 0"
ABLATION = """
    --systems clover --seeds 1 --jobs 1 --num-steps 2 --batch-size 4 --warm-video-steps 1 --warm-text-steps 1
    --corpus.num-videos 30 --corpus.size 64 --warm-corpus.num-videos 80 --warm-corpus.size 64
    --open-answers.num-steps 1 --open-answers.batch-size 4 --choices.num-steps 1 --choices.batch-size 4
"""

SHRUNK = {
    "clover demo": "--num-videos 90 --scale 0.002",
    "clover corpus shapes": "--num-videos 70",
    "clover pretrain shapes": f"{FEW} {WARM}",
    "clover pretrain shapes --data.corpus demo/corpus --out fast": f"{FEW} {WARM} --compute.no-compiles",
    "clover pretrain webvid_cc3m": f"{FEW} --training.num-epochs 0 --data.vocabulary-size 400 {TINY}",
    "clover pretrain webvid_cc3m --video-encoder": f"{FEW} --training.num-epochs 0 {TINY_AROUND_OTHERS}",
    "clover pretrain webvid_cc3m --init": f"{FEW} --training.num-epochs 0 {TINY_AROUND_OTHERS}",
    "clover distill": "--training.num-steps 2 --training.batch-size 4",
    "clover data pack": "--workers 1",
    "clover finetune shapes-questions": "--training.num-steps 2 --training.batch-size 8",
    "clover finetune ": "--max-steps 2 --batch-size 4 --micro-batch-size 0",
    "clover ablate": ABLATION,
    "clover ablate sweep": "--settings temperature",
    "clover ablate report": "",
}
"""Options added behind a command that begins so, the longest such beginning counts: minutes to days become seconds.

All else of the command stays: its files, its checks, its other options, and what it leaves behind for the next one.
"""

INSTEAD = {
    "clover demo --out demo": "run once for all pages, shrunk as above; every page finds its folder demo",
    "clover demo --quick": "tests/packaging runs it, from the wheel, in an empty environment",
    "clover serve": "a process of its own on a free port, asked for its health, and ended by SIGTERM",
    "torchrun": "the command behind -m, in one process (tests/experiment/test_torchrun.py runs several)",
    "make": "make --dry-run: the target is there; make test would begin these very tests anew",
    "model.push_to_hub(": "a stand-in for the Hub, on folders (tests/publishing/made_hub.py)",
    "pip install": "the extras that it names are looked up in pyproject.toml",
}
"""Commands and Python that begin so are not run as they stand, and what is done in their place."""

NOT_RUN = {
    "clover index films --checkpoint demo/checkpoint --out milvus://": "a Milvus server (tests/search starts one)",
    "clover data pack demo/corpus packed-by-ray": "a Ray cluster (tests/data/test_packing.py starts one)",
    "clover serve milvus://": "a Milvus server (tests/search starts one)",
    "results = mteb.evaluate(": "data sets of gigabytes (tests/evaluation/test_leaderboard.py evaluates on a made one)",
}
"""Commands and Python that begin so are not run here at all, and why. Keep it short."""

VARIES = {
    "clover search": "scores and videos are those of a model that was trained for two steps",
    "clover ask": "so are answers",
}
"""Commands whose output on the page is an example; of all others every line shown must be printed."""

STATUS = {"clover runs diff": 1, "clover data check": 1}
"""Commands that end so here: the two runs do differ, and so do counts of generated files from the published ones."""
