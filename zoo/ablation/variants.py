"""The run of every variant: the start, with some choices of the end, on the end's text."""

from dataclasses import dataclass, replace
from functools import cached_property

import configs
from configs.experiment import Experiment
from configs.studies.study import AblationStudy
from models.config import ConfigError, check
from zoo.ablation.choices import AXES, differing, taken, with_peak
from zoo.ablation.designs import Variant, label
from zoo.ablation.equal import with_equal_budget
from zoo.ablation.sweep import peak_lr
from zoo.scaling_laws.sizes import experiment, of_width


@dataclass(frozen=True)
class Variants:
    """The two ends of a study, and everything in between."""

    study: AblationStudy

    @cached_property
    def start(self) -> Experiment:
        """The start in the study's sizes, on the end's text."""
        small = configs.get_decoder(self.study.start)
        model = of_width(small.model, self.study.d_model or small.model.d_model)
        return replace(self._sized(self.study.start, model.d_model), data=self.end.data)

    @cached_property
    def end(self) -> Experiment:
        """The end in its own shape, of which the variants take the choices."""
        end = configs.get_decoder(self.study.end)
        return self._sized(self.study.end, self.study.d_model or end.model.d_model)

    def _sized(self, name: str, d_model: int) -> Experiment:
        """Return a model of the zoo with the study's vocabulary, length, batch and budget."""
        s, small = self.study, configs.get_decoder(name)
        model = of_width(small.model, d_model)
        model = replace(model, vocab_size=s.vocab_size, context_length=s.seq_len)
        batch_size = s.batch_tokens // s.seq_len
        return experiment(small, model, s.num_tokens, batch_size, s.seq_len, s.source)

    @cached_property
    def differing(self) -> list[str]:
        """All choices in which the two ends differ."""
        return differing(self.start, self.end)

    @cached_property
    def choices(self) -> list[str]:
        """The choices that the study takes from the end, in the order of its path.

        Raises ConfigError for one that does not exist or in which the ends do not differ.
        """
        named = self.study.choices
        if named is None:
            check(
                len(self.differing) > 0,
                f"{self.study.start} and {self.study.end} differ in no choice; name another --to",
            )
            return self.differing
        for choice in named:
            check(
                choice in AXES,
                f"--choices: {choice!r} is no choice; write some of {' '.join(self.differing)}",
            )
            check(
                choice in self.differing,
                f"--choices: {self.study.start} and {self.study.end} do not differ in {choice!r}; "
                f"write some of {' '.join(self.differing)}",
            )
        check(
            len(set(named)) == len(named) > 0,
            f"--choices {' '.join(named)} must name each choice once, and at least one",
        )
        return list(named)

    def run(self, variant: Variant) -> Experiment:
        """Return the run of a variant with the peak of its optimizer, before the sweep.

        Raises ConfigError if its choices cannot be combined, or not within the budget.
        """
        run = self.start
        for choice in self.choices:
            if choice in variant:
                try:
                    run = taken(run, self.end, choice)
                except ConfigError as error:
                    raise ConfigError(
                        f"{choice} of {self.study.end} does not fit {self.study.start}: {error}; "
                        f"leave {choice} out of --choices"
                    ) from error
        name = label(variant, self.choices)
        return with_equal_budget(run, self.start, self.study.equal, name)

    def run_with(self, variant: Variant, place: int, seed: int) -> Experiment:
        """Return the run at one place of the sweep, its text and parameters drawn with the seed."""
        run = self.run(variant)
        schedule = run.optimizer.schedule
        schedule = with_peak(schedule, peak_lr(schedule.peak_lr, place))
        return replace(
            run,
            optimizer=replace(run.optimizer, schedule=schedule),
            data=replace(run.data, seed=seed),
            seed=seed,
        )
