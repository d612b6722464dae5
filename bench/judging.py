"""How often the judge is right: runs that go right or wrong in a known way, judged, and compared with their images.

    python -m bench.judging --work FOLDER                    trains and evaluates what RESULTS lacks, and reports
    python -m bench.judging --work FOLDER --short --images 32 --results OTHER     three runs, a first look
    python -m bench.judging --work FOLDER --stop             compares --stop auto with the whole run
    python -m bench.judging --report                         only reports on the runs in RESULTS

FOLDER holds the runs, and can be deleted afterwards. RESULTS (bench/results/judging) keeps the scores and the truth of
each run, so that a later call goes on from there.

Two things are known of each file from generated images: the share that `recognition` finds right, drawing and
background, for prompts that were not trained on, and the share of images without the trigger word that still show what
was asked for. The quality of a file is the first share less what the second has lost. A run is over-trained where the
quality falls by 15 points from its best file to the last, it leaks where the second share has fallen by 30 points (from
15 on, that counts as right too), it has changed nothing or is under-trained where the first has not risen by 15 points,
and otherwise is good: "no fault found" by the verdict, which knows no images here. Limits are set by the even seeds,
the odd ones are reported. A quarter of the images is generated with every file, all of them with the best and the last.
"""

import argparse
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bench.eyes import compute_rank_correlation
from bench.planted_runs import PLANTED, SHORT, Planted
from bench.planted_truth import TRUTH_FILE, Truth, evaluate_run, find_best, read_truth
from tetrad.judging import SCORES_FILE, CheckpointScores, judge_run, read_scores
from tetrad.run.events import Trained
from tetrad.run.train import train

FALL = 0.15  # of the share of right images, that counts
RESULTS = Path(__file__).parent / "results" / "judging"


@dataclass(frozen=True)
class Judged:
    """A run with its scores and its truth, the file "" being the base model."""

    name: str
    seed: int
    rows: Sequence[CheckpointScores]
    truth: Mapping[str, Truth]
    expected: str

    @property
    def files(self) -> list[CheckpointScores]:
        return [row for row in self.rows if row.file in self.truth and row.file]

    @property
    def best(self) -> Truth:
        return find_best(self.truth)

    @property
    def last(self) -> Truth:
        return self.truth[self.files[-1].file]

    @property
    def lowest_validation_loss(self) -> str:
        """The file that plain validation loss would pick."""
        losses: dict[str, float] = {row.file: self.truth[row.file].validation_loss for row in self.files}
        return min(losses, key=lambda file: losses[file])

    def quality(self, truth: Truth) -> float:
        return truth.quality(self.truth[""])

    @property
    def fall(self) -> float:
        """How much quality the last file has lost since the best one."""
        return self.quality(self.best) - self.quality(self.last)

    def true_words(self) -> set[str]:
        """The verdicts that count as right."""
        if self.expected:
            return {self.expected}
        spoilt = self.truth[""].plain - self.last.plain
        words = {"leaks"} if spoilt >= FALL else set()
        if self.fall >= FALL:
            return words | {"over-trained", "collapsed"}
        if self.last.right - self.truth[""].right < FALL:
            return words | {"under-trained", "changed nothing", "collapsed"}
        if spoilt >= 2 * FALL:
            return words
        return words | {"good", "no fault"} | (set() if self.last.right >= 0.5 else {"under-trained"})

    def miss(self, file: str) -> int:
        """How many files lie between this one and the best; those within one standard error count as best too."""
        names = [row.file for row in self.files]
        near = [number for number, name in enumerate(names) if self.is_about_best(self.truth[name])]
        return min(abs(names.index(file) - number) for number in near)

    def is_about_best(self, truth: Truth) -> bool:
        return self.quality(self.best) - self.quality(truth) <= math.hypot(self.best.error, truth.error)


def train_run(planted: Planted, work: Path, seed: int, stop: str = "off") -> Path:
    """The folder of a run; trained unless that was done before."""
    out = work / f"seed{seed}{'-stop' if stop == 'auto' else ''}"
    folder = out / planted.name
    if not (folder / "done").exists():
        recipe = planted.recipe(work, seed, stop)
        recipe = replace(recipe, save=replace(recipe.save, out=str(out)))
        for number in range(2, 100):  # what an interrupted bench has left
            if not folder.exists():
                break
            folder.rename(out / f"{planted.name}.broken{number}")
        steps = [event.step for event in train(recipe) if isinstance(event, Trained)]
        (folder / "done").write_text(str(steps[-1]))
    return folder


def keep_result(folder: Path, target: Path) -> None:
    """Copy what `collect` reads of a finished run."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (SCORES_FILE, TRUTH_FILE):  # the truth comes last: with it, the run is finished
        shutil.copy(folder / name, target / name)


def collect(results: Path, names: Sequence[str]) -> Iterator[Judged]:
    """Every finished run."""
    by_name = {planted.name: planted for planted in PLANTED}
    for path in sorted(results.glob(f"seed*/*/{TRUTH_FILE}")):
        folder, seed = path.parent, path.parent.parent.name.removeprefix("seed")
        if folder.name in names and seed.isdigit():
            judged = Judged(
                folder.name, int(seed), read_scores(folder)[0], read_truth(folder), by_name[folder.name].expected
            )
            if judged.files and "" in judged.truth:
                yield judged


def report(runs: Sequence[Judged]) -> None:
    """Each run with its verdict and its picks, and the shares of those that are right, by half of the seeds."""
    print(f"{'run':28} seed  {'verdict':15} {'true':30} right: start best last  plain: start best last  misses")
    for run in runs:
        verdict, base = judge_run(run.rows), run.truth[""]
        picks = [verdict.best.file if verdict.best else run.files[-1].file, run.files[-1].file]
        words = run.true_words()
        print(
            f"{run.name:28} {run.seed:4}  {verdict.word:15} {'/'.join(sorted(words)):30}"
            f"      {base.right:5.0%} {run.best.right:5.0%} {run.last.right:5.0%}"
            f"       {base.plain:5.0%} {run.best.plain:5.0%} {run.last.plain:5.0%}"
            f"  {' '.join(str(run.miss(file)) for file in picks)}  {'' if verdict.word in words else 'WRONG'}"
        )
    for title, half in (("even seeds (limits set)", 0), ("odd seeds (reported)", 1)):
        if chosen := [run for run in runs if run.seed % 2 == half]:
            _report_shares(title, chosen)


def _report_shares(title: str, runs: Sequence[Judged]) -> None:
    verdicts = [judge_run(run.rows) for run in runs]
    picks = [v.best.file if v.best else run.files[-1].file for v, run in zip(verdicts, runs, strict=True)]
    pairs = list(zip(runs, picks, strict=True))
    falls = sum(run.fall >= FALL for run in runs)
    print(f"{title}: {len(runs)} runs, {falls} of which get worse again by {FALL:.0%}")
    _print_share("verdict right", [v.word in run.true_words() for v, run in zip(verdicts, runs, strict=True)])
    _print_share("pick within one file of the best", [run.miss(pick) <= 1 for run, pick in pairs])
    _print_share("  taking the last", [run.miss(run.files[-1].file) <= 1 for run in runs])
    validated = [run for run in runs if not math.isnan(run.last.validation_loss)]
    _print_share("  the lowest validation loss", [run.miss(run.lowest_validation_loss) <= 1 for run in validated])
    _print_share("pick as good as the best", [run.miss(pick) == 0 for run, pick in pairs])
    _print_share("  taking the last", [run.miss(run.files[-1].file) == 0 for run in runs])
    _print_share("  the lowest validation loss", [run.miss(run.lowest_validation_loss) == 0 for run in validated])
    _print_correlations(runs)


def _print_correlations(runs: Sequence[Judged]) -> None:
    """How losses and drift go with the share of right images within a run."""
    for name in ("held_out_loss", "training_loss", "drift"):
        found = []
        for run in runs:
            scores = [row.scores[name].value for row in run.files if name in row.scores]
            right = [run.truth[row.file].right for row in run.files if name in row.scores]
            if len(set(scores)) > 1 and len(set(right)) > 1:
                found.append(compute_rank_correlation(scores, right))
        shown = f"mean {np.mean(found):+.2f}, from {min(found):+.2f} to {max(found):+.2f}" if found else "not known"
        print(f"  {name} and the share of right images, rank correlation within a run: {shown}")


def _print_share(title: str, found: Sequence[bool]) -> None:
    if not found:
        return
    share = float(np.mean(found))
    error = math.sqrt(max(share * (1 - share), 1 / len(found)) / len(found))
    print(f"  {title}: {sum(found)} of {len(found)} ({share:.0%} ± {error:.0%})")


def compare_stops(work: Path, names: Sequence[str], seeds: Sequence[int], images: int) -> None:
    """For each run: the steps that --stop auto saves, and its best file's truth beside that of the whole run's best."""
    by_name = {planted.name: planted for planted in PLANTED}
    for seed in seeds:
        for name in names:
            whole, stopped = (train_run(by_name[name], work, seed, stop) for stop in ("off", "auto"))
            for folder in (whole, stopped):
                evaluate_run(by_name[name], folder, images)
            steps = [int((folder / "done").read_text()) for folder in (whole, stopped)]
            pick = judge_run(read_scores(stopped)[0]).best
            best = find_best(read_truth(whole))
            found = read_truth(stopped)[pick.file] if pick else None
            if found:
                print(
                    f"{name} seed {seed}: {steps[1]} of {steps[0]} steps ({1 - steps[1] / steps[0]:.0%} saved); right"
                    f" {found.right:.0%} ± {found.error:.0%}, best of the whole run {best.right:.0%} ± {best.error:.0%}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--only", nargs="*", choices=[planted.name for planted in PLANTED])
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--stop", action="store_true")
    parser.add_argument("--report", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = given.only or (SHORT if given.short else [planted.name for planted in PLANTED])
    if not given.report and not given.work:
        parser.error("--work is needed to train and evaluate runs")
    if given.stop:
        compare_stops(given.work, given.only or ["lora-long"], given.seeds, given.images)
        return
    for seed in given.seeds if not given.report else ():
        for planted in PLANTED:
            target = given.results / f"seed{seed}" / planted.name
            if planted.name in names and not (target / TRUTH_FILE).exists():
                folder = train_run(planted, given.work, seed)
                evaluate_run(planted, folder, given.images)
                keep_result(folder, target)
    report(list(collect(given.results, names)))


if __name__ == "__main__":
    main()
