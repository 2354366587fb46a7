//! Verdicts as sentences with their numbers.

use super::{Arm, Block, Cause, Objective, Settings, Sli, Verdict};

/// The names of the two versions.
#[derive(Debug, Clone, Copy)]
pub struct VersionLabels<'n> {
    /// The running version.
    pub baseline: &'n str,
    /// The new version.
    pub candidate: &'n str,
}

impl Cause {
    /// The reason of the rollback, with the counts in `seen`.
    #[must_use]
    pub fn explain(self, settings: &Settings, names: VersionLabels, counts: &Block) -> String {
        match self {
            Self::Worse(sli) => sli.compare(settings, names, counts),
            Self::Misses(objective) => objective.explain(settings, names, counts),
        }
    }
}

impl Objective {
    /// The way in which the candidate misses the objective.
    #[must_use]
    pub fn explain(self, settings: &Settings, names: VersionLabels, counts: &Block) -> String {
        let Self { sli, at_most } = self;
        let what = sli.describe(settings);
        let of = |arm: &Arm| share(arm.bad(sli), arm.requests);
        let limit = percent(at_most);
        let VersionLabels { baseline, candidate } = names;
        let missed = format!(
            "{} of {candidate}'s requests {what}, at most {limit} may",
            of(&counts.candidate)
        );
        if counts.baseline.requests == 0 {
            missed
        } else {
            format!("{missed}; {} of {baseline}'s did", of(&counts.baseline))
        }
    }
}

impl Sli {
    /// The predicate of a bad request, as in "5 % of the requests ...".
    fn describe(self, settings: &Settings) -> String {
        match self {
            Self::Errors => "failed".to_owned(),
            Self::Latency { boundary } => {
                let ms = settings.boundaries_ms.get(boundary).copied().unwrap_or(0.0);
                format!("took longer than {ms} ms")
            }
        }
    }

    fn compare(self, settings: &Settings, names: VersionLabels, counts: &Block) -> String {
        let what = self.describe(settings);
        let of = |arm: &Arm| share(arm.bad(self), arm.requests);
        let VersionLabels { baseline, candidate } = names;
        format!(
            "{} of {candidate}'s requests {what}, {} of {baseline}'s",
            of(&counts.candidate),
            of(&counts.baseline)
        )
    }
}

impl Verdict {
    /// The verdict in one sentence, with the counts in `seen`.
    #[must_use]
    pub fn explain(self, settings: &Settings, names: VersionLabels, counts: &Block) -> String {
        match self {
            Self::Undecided => {
                format!("no harm shown: {}", Sli::Errors.compare(settings, names, counts))
            }
            Self::Safe => format!(
                "{} is no worse than its margins allow: {}",
                names.candidate,
                Sli::Errors.compare(settings, names, counts)
            ),
            Self::Unhealthy(objective) => format!(
                "the service is unhealthy with both versions: {}",
                objective.explain(settings, names, counts)
            ),
            Self::Harm(cause) => cause.explain(settings, names, counts),
        }
    }
}

/// A share with the counts behind it, as in `1.25 % (10 of 800)`.
#[must_use]
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "none".to_owned();
    }
    format!("{} ({part} of {whole})", percent(part as f64 / whole as f64))
}

/// A share between 0 and 1 in percent, with three significant digits.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let decimals = match percent {
        p if p == 0.0 || p >= 100.0 => 0,
        p if p >= 10.0 => 1,
        p if p >= 1.0 => 2,
        _ => 3,
    };
    format!("{percent:.decimals$} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_carry_the_numbers() {
        let settings = Settings { boundaries_ms: vec![100.0, 250.0], ..Settings::default() };
        let names = VersionLabels { baseline: "v1", candidate: "v2" };
        let arm = |requests, failures, slower| Arm { requests, failures, slower };
        let counts =
            Block { baseline: arm(800, 1, vec![80, 2]), candidate: arm(40, 13, vec![9, 9]) };
        assert_eq!(
            Cause::Worse(Sli::Errors).explain(&settings, names, &counts),
            "32.5 % (13 of 40) of v2's requests failed, 0.125 % (1 of 800) of v1's"
        );
        assert_eq!(
            Cause::Worse(Sli::Latency { boundary: 1 }).explain(&settings, names, &counts),
            "22.5 % (9 of 40) of v2's requests took longer than 250 ms, 0.250 % (2 of 800) of v1's"
        );
        let objective = Objective { sli: Sli::Errors, at_most: 0.01 };
        assert_eq!(
            Verdict::Unhealthy(objective).explain(&settings, names, &counts),
            "the service is unhealthy with both versions: 32.5 % (13 of 40) of v2's requests failed, \
             at most 1.00 % may; 0.125 % (1 of 800) of v1's did"
        );
        let alone = Block { baseline: Arm::default(), ..counts };
        assert_eq!(
            Verdict::Harm(Cause::Misses(objective)).explain(&settings, names, &alone),
            "32.5 % (13 of 40) of v2's requests failed, at most 1.00 % may"
        );
    }
}
