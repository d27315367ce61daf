"""Where the CPU of a governed request goes: `python -m tests.flame_graph` draws docs/evidence/governed-request.svg.

A real serving process (`assay serve`, one worker) on a real vector engine is asked for insights while py-spy looks at
it 200 times a second; only MLflow and the vendor behind the Anthropic SDK are the tests' fakes, the vendor over real
HTTP. It prints two tables in Markdown for docs/performance.md: shares by part of the request, and by library.
"""

import itertools
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.sax.saxutils import escape

import httpx
import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the tests' own modules stand there

from tests.benchmarks.fast_vendor import fast_vendor  # noqa: E402 - after the line above
from tests.benchmarks.serving_process import Served, Surroundings, cpu_s, serving, surroundings  # noqa: E402 - as above

TARGET = ROOT / "docs" / "evidence" / "governed-request.svg"
CALLERS, WARM_UP = 4, 40
LATENCY_MS = 50
RECORD_S, RATE = 20, 200
LOOK_EVERY_S = 0.1
SHARE_MIN = 0.5
"""Per cent; smaller parts are summed up."""

PARTS: Mapping[str, tuple[str, ...]] = {
    "sealing: the encrypted record": ("registry/insight_records", "registry/audit/vault", "registry/database"),
    "audit log, with its syncs": ("registry/audit", "serving/call_log"),
    "authentication": ("serving/access", "registry/tenants"),
    "background loops": ("serving/background", "serving/active_prompt", "serving/provider_history", "registry/signals"),
    "embedding of the question": ("registry/embedding", "tokenizers", "onnxruntime"),
    "grounding": (
        *("serving/grounding", "serving/figure_", "serving/equation_", "serving/stated_equations", "serving/words"),
        "registry/claims",
    ),
    "HTTP server": ("uvicorn", "starlette", "fastapi", "serving/app", "serving/middleware", "serving/routes"),
    "metrics": ("serving/metrics", "prometheus_client"),
    "prices and budgets": ("serving/budget_gate", "serving/spending", "registry/money", "genai_prices"),
    "prompt rendering": ("registry/prompts",),
    "provider layer: the SDK and its HTTP client": ("anthropic", "httpx2", "httpcore2"),
    "provider layer: ours": ("serving/providers",),
    "search: Qdrant's client": ("registry/corpus", "serving/retrieval", "qdrant_client"),
    "insight: the rest": ("serving/insights", "serving/asking", "serving/answering", "serving/idempotency"),
}
"""What a frame is part of, by how its file begins; a sample belongs to its innermost frame that is part of any."""
NOWHERE = "event loop"
WAITING = {("_worker", "concurrent/futures/thread.py"), ("Condition.wait", "threading.py")}
"""Innermost frames of threads that wait for work, which py-spy takes for busy on some systems."""
BELOW = {("Runner.run", "asyncio/runners.py"), ("Thread.run", "threading.py")}
"""Frames up to these are the same in every stack."""

WIDTH, ROW, CHAR, MARGIN = 1_200.0, 17.0, 6.3, 10.0
LEGEND_COLUMNS, CHARS_MIN = 4, 4
BOX_MIN = 0.4
"""Narrower boxes are left out."""
COLOURS = (
    *("#e07b6a", "#e8a35c", "#d9c25a", "#a9c46c", "#6fb98a", "#62b6b7", "#6ea3d8", "#8c8fd9"),
    *("#b28ad0", "#d487b4", "#c9a58a", "#9fb3a7", "#bf9bc9", "#8fb0c7", "#cccccc"),
)


@dataclass(frozen=True)
class Frame:
    """One line of a stack, as py-spy writes it."""

    function: str
    file: str
    """Within the project, or within its library."""


def stacks(raw: str) -> Iterator[tuple[list[Frame], int]]:
    """The stacks of a recording in py-spy's `raw` format, outermost frame first, with the times each was seen.

    Threads that wait for work are left out.
    """
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames: list[Frame] = []
        for text in stack.split(";"):
            function, _, rest = text.rpartition(" (")
            frame = Frame(function, rest.rpartition(":")[0])
            frames = [] if (function, frame.file) in BELOW else [*frames, frame]
        if frames and (frames[-1].function, frames[-1].file) not in WAITING:
            yield frames, int(count)


def part(frames: Sequence[Frame]) -> str:
    """Which part of a request a stack belongs to."""
    for frame in reversed(frames):
        for name, beginnings in PARTS.items():
            if frame.file.startswith(beginnings):
                return name
    return NOWHERE


def library(frames: Sequence[Frame]) -> str:
    """Whose code runs: the innermost frame that is not of Python's own library."""
    for frame in reversed(frames):
        first, _, rest = frame.file.partition("/")
        if rest and first not in STANDARD:
            return first
    return "Python"


STANDARD = {*sys.stdlib_module_names, "lib"}


def table(title: str, of: Callable[[Sequence[Frame]], str], recorded: Sequence[tuple[list[Frame], int]]) -> str:
    """Shares in Markdown, the largest first."""
    seen: Counter[str] = Counter()
    for frames, count in recorded:
        seen[of(frames)] += count
    whole = seen.total()
    rows = [(name, 100 * count / whole) for name, count in seen.most_common()]
    shown = [f"| {name} | {share:.1f} % |" for name, share in rows if share >= SHARE_MIN]
    rest = sum(share for _, share in rows if share < SHARE_MIN)
    return "\n".join([f"| {title} | share |", "|---|---|", *shown, f"| all others | {rest:.1f} % |"])


@contextmanager
def load(api: Served, around: Surroundings) -> Generator[Counter[str]]:
    """Ask all the time, by a few callers; gives the number of answers so far."""
    answers: Counter[str] = Counter()
    stop = threading.Event()

    def caller(questions: Iterable[str]) -> None:
        with httpx.Client(base_url=api.url, headers=around.headers, timeout=30, trust_env=False) as client:
            for question in questions:
                if stop.is_set():
                    return
                answer = client.post("/v1/insights", json={"question": question})
                answers[str(answer.status_code)] += 1

    threads = [
        threading.Thread(target=caller, args=(itertools.islice(itertools.cycle(around.questions), at, None),))
        for at in range(CALLERS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@dataclass
class Box:
    """One function below another, with all that it called."""

    label: str
    colour: str
    count: int = 0
    calls: dict[str, "Box"] = field(default_factory=dict[str, "Box"])

    def add(self, frames: Sequence[Frame], count: int) -> None:
        """Put a stack on top."""
        self.count += count
        below = self
        for at, frame in enumerate(frames):
            label = f"{frame.function} ({frame.file})"
            colour = COLOURS[[*PARTS, NOWHERE].index(part(frames[: at + 1]))]
            below = below.calls.setdefault(label, Box(label, colour))
            below.count += count

    @property
    def height(self) -> int:
        """Rows that it takes."""
        return 1 + max((box.height for box in self.calls.values()), default=0)

    def draw(self, left: float, bottom: float, scale: float) -> Iterator[str]:
        """Its rectangle and all those above it, in SVG."""
        width = self.count * scale
        if width < BOX_MIN:
            return
        y = bottom - ROW
        room = int((width - 4) / CHAR)
        shown = self.label if len(self.label) <= room else f"{self.label[: room - 1]}…" if room > CHARS_MIN else ""
        yield f"<g><title>{escape(self.label)}: {self.count * scale / WIDTH:.2%}</title>"
        yield f'<rect x="{left:.1f}" y="{y:.0f}" width="{width:.1f}" height="{ROW - 1:.0f}" fill="{self.colour}"/>'
        yield f'<text x="{left + 3:.1f}" y="{y + 12:.0f}">{escape(shown)}</text></g>' if shown else "</g>"
        for box in sorted(self.calls.values(), key=lambda box: box.label):
            yield from box.draw(left, y, scale)
            left += box.count * scale


def picture(recorded: Sequence[tuple[list[Frame], int]]) -> str:
    """The flame graph: the wider a box, the more time in it; what it called stands on top of it."""
    whole = Box("a serving process under load", "#e6e6e6")
    for frames, count in recorded:
        whole.add(frames, count)
    names = [*PARTS, NOWHERE]
    legend_rows = -(-len(names) // LEGEND_COLUMNS)
    height = (whole.height + legend_rows + 1) * ROW + 2 * MARGIN
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 2 * MARGIN:.0f} {height:.0f}" '
            'font-family="monospace" font-size="10.5">'
        ),
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for place, name in enumerate(names):
        row, column = divmod(place, LEGEND_COLUMNS)
        x, y = MARGIN + column * WIDTH / LEGEND_COLUMNS, MARGIN + row * ROW
        lines.append(f'<rect x="{x:.0f}" y="{y:.0f}" width="12" height="12" fill="{COLOURS[place]}"/>')
        lines.append(f'<text x="{x + 17:.0f}" y="{y + 10:.0f}">{escape(name)}</text>')
    lines += whole.draw(MARGIN, height - MARGIN, WIDTH / whole.count)
    return "\n".join([*lines, "</svg>", ""])


def record(process: psutil.Process) -> str:
    """Look at a process for a while; its stacks in py-spy's `raw` format.

    Raises:
        subprocess.CalledProcessError: py-spy may not look; it needs the right to trace the process.
    """
    spy = Path(sys.executable).with_name("py-spy")
    with tempfile.NamedTemporaryFile() as target:
        options = ("--format", "raw", "--rate", str(RATE), "--duration", str(RECORD_S), "--output", target.name)
        command = [str(spy), "record", *options, "--pid", str(process.pid)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return Path(target.name).read_text()


def main() -> int:
    """Draw the picture and print the tables; the exit code."""
    claude = {"ASSAY_PROVIDERS": "anthropic", "ANTHROPIC_API_KEY": "-"}
    with (
        tempfile.TemporaryDirectory() as folder,
        fast_vendor(latency_ms=LATENCY_MS) as vendor,
        surroundings(Path(folder)) as made,
    ):
        around = replace(made, environment={**made.environment, **claude, "ANTHROPIC_BASE_URL": vendor.url})
        with serving(around) as api, load(api, around) as answers:
            while answers.total() < WARM_UP:
                time.sleep(LOOK_EVERY_S)
            answers.clear()
            before = cpu_s(api.process)
            raw = record(api.process)
            spent, counted = cpu_s(api.process) - before, dict(answers)
    if set(counted) != {"200"}:
        sys.stderr.write(f"error: not every question was answered: {counted}\n")
        return 1
    recorded = list(stacks(raw))
    TARGET.write_text(picture(recorded))
    samples = sum(count for _, count in recorded)
    each_ms = 1000 * spent / counted["200"]
    said = f"{counted['200']} insights in {RECORD_S} s, {each_ms:.1f} CPU ms each, {samples} samples"
    parts, libraries = table("part of a request", part, recorded), table("library", library, recorded)
    sys.stdout.write(f"{said}\n\n{parts}\n\n{libraries}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
