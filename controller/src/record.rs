//! A judge's input as CSV: one line for each block, so that a run can be judged again, elsewhere
//! or with other margins.
//!
//! Columns: `seconds` since the rollout began (not falling), `baseline_requests`,
//! `baseline_errors`, `candidate_requests`, `candidate_errors`, and for each latency boundary a
//! pair `baseline_gt_<ms>`, `candidate_gt_<ms>` of requests slower than it.
//!
//! An optional column `errors_bias`: the share, 0 to 1, by which the candidate's users fail more
//! often for reasons other than the candidate, as measured by the A/A test. It widens the margin
//! of errors.
//!
//! A line without requests of the candidate (`candidate_requests` is 0) was learned from, not
//! judged: the baseline's requests before the candidate had users, or while a split was on its
//! way. It omits the candidate's requests in that time.

use std::io::{Read, Write};

use serin_core::judge::{Arm, Block, Ruling};
use thiserror::Error;

const COLUMNS: [&str; 5] =
    ["seconds", "baseline_requests", "baseline_errors", "candidate_requests", "candidate_errors"];

const BIAS: &str = "errors_bias";

/// The error of a record. Lines are counted from 1, the header included.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum CountsError {
    #[error("empty: no header line")]
    Empty,
    #[error("line 1: column {column} is missing")]
    Missing { column: String },
    #[error("line 1: column {column} is duplicated")]
    Duplicate { column: String },
    #[error("line 1: column {column} is not one of {known}, {BIAS}, baseline_gt_<ms> and candidate_gt_<ms>", known = COLUMNS.join(", "))]
    Unknown { column: String },
    #[error("line {line}, column {column}: {value:?} is not {expected}")]
    Value { line: u64, column: String, value: String, expected: &'static str },
    #[error("line {line}, column {column}: {part} exceed the {whole} requests")]
    PartExceedsWhole { line: u64, column: String, part: u64, whole: u64 },
    #[error("line {line}, column seconds: {seconds} is before the {before} of the line above")]
    TimeNotAscending { line: u64, seconds: f64, before: f64 },
    #[error("line {line}, column {column}: missing")]
    Short { line: u64, column: String },
    #[error("line {line}, column {column}: there is no such column")]
    Long { line: u64, column: usize },
    #[error(transparent)]
    Csv(#[from] csv::Error),
}

/// Writes counts block by block.
pub struct Writer<W: Write> {
    csv: csv::Writer<W>,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// The write failed.
    pub fn new(to: W, boundaries_ms: &[f64]) -> Result<Self, CountsError> {
        let mut csv = csv::Writer::from_writer(to);
        let boundaries =
            boundaries_ms.iter().flat_map(|ms| [column("baseline", *ms), column("candidate", *ms)]);
        let columns = COLUMNS.into_iter().chain([BIAS]).map(str::to_owned);
        csv.write_record(columns.chain(boundaries))?;
        Ok(Self { csv })
    }

    /// Appends the block of a ruling, and flushes it.
    ///
    /// # Errors
    /// The write failed.
    pub fn add(&mut self, ruling: &Ruling) -> Result<(), CountsError> {
        let Block { baseline, candidate } = &ruling.block;
        let slower = baseline.slower.iter().zip(&candidate.slower).flat_map(|(b, c)| [*b, *c]);
        let counts = [baseline.requests, baseline.failures, candidate.requests, candidate.failures];
        let counts = counts.map(|count| count.to_string());
        let line = std::iter::once(ruling.seconds.to_string())
            .chain(counts)
            .chain([ruling.errors_bias.to_string()])
            .chain(slower.map(|count| count.to_string()));
        self.csv.write_record(line)?;
        self.csv.flush().map_err(csv::Error::from)?;
        Ok(())
    }
}

fn column(arm: &str, ms: impl std::fmt::Display) -> String {
    format!("{arm}_gt_{ms}")
}

/// A parsed record.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    /// The latency boundaries in milliseconds.
    pub boundaries_ms: Vec<f64>,
    /// The blocks.
    pub blocks: Vec<Recorded>,
}

/// A block of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The end of the block, in seconds since the rollout began.
    pub seconds: f64,
    /// The counts.
    pub block: Block,
    /// The widening of the margin of errors, 0 to 1.
    pub errors_bias: f64,
}

impl Counts {
    /// Parses a record.
    ///
    /// # Errors
    /// The record is invalid; with line and column.
    pub fn read(from: impl Read) -> Result<Self, CountsError> {
        let mut csv =
            csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(from);
        let header = csv.headers()?.clone();
        if header.is_empty() {
            return Err(CountsError::Empty);
        }
        let layout = Layout::new(&header)?;
        let mut blocks: Vec<Recorded> = Vec::new();
        for record in csv.records() {
            let row = Row { header: &header, record: &record? };
            row.check_length()?;
            let seconds = row.seconds(layout.seconds)?;
            let before = blocks.last().map_or(0.0, |before| before.seconds);
            if seconds < before {
                return Err(CountsError::TimeNotAscending { line: row.line(), seconds, before });
            }
            let block = Block {
                baseline: row.arm(&layout.baseline)?,
                candidate: row.arm(&layout.candidate)?,
            };
            let errors_bias = layout.errors_bias.map_or(Ok(0.0), |index| row.share(index))?;
            blocks.push(Recorded { seconds, block, errors_bias });
        }
        Ok(Self { boundaries_ms: layout.boundaries_ms, blocks })
    }
}

/// The columns of a record.
struct Layout {
    seconds: usize,
    baseline: Columns,
    candidate: Columns,
    errors_bias: Option<usize>,
    boundaries_ms: Vec<f64>,
}

struct Columns {
    requests: usize,
    failures: usize,
    slower: Vec<usize>,
}

impl Layout {
    fn new(header: &csv::StringRecord) -> Result<Self, CountsError> {
        let find = |name: &str| {
            let missing = || CountsError::Missing { column: name.to_owned() };
            header.iter().position(|column| column == name).ok_or_else(missing)
        };
        for (index, name) in header.iter().enumerate() {
            if find(name)? < index {
                return Err(CountsError::Duplicate { column: name.to_owned() });
            }
        }
        let (mut labels, mut boundaries_ms) = (Vec::new(), Vec::new());
        for name in header.iter().filter(|name| !COLUMNS.contains(name) && *name != BIAS) {
            let unknown = || CountsError::Unknown { column: name.to_owned() };
            let (arm, label) = name.split_once("_gt_").ok_or_else(unknown)?;
            let ms: f64 =
                label.parse().ok().filter(|ms| *ms > 0.0 && *ms < 1e9).ok_or_else(unknown)?;
            match arm {
                "baseline" => {
                    labels.push(label);
                    boundaries_ms.push(ms);
                }
                // Its partner adds the boundary.
                "candidate" => drop(find(&column("baseline", label))?),
                _ => return Err(unknown()),
            }
        }
        let columns = |arm: &str| {
            let slower = labels.iter().map(|label| find(&column(arm, label)));
            let slower = slower.collect::<Result<_, _>>()?;
            let requests = find(&format!("{arm}_requests"))?;
            Ok::<_, CountsError>(Columns {
                requests,
                failures: find(&format!("{arm}_errors"))?,
                slower,
            })
        };
        Ok(Self {
            seconds: find("seconds")?,
            baseline: columns("baseline")?,
            candidate: columns("candidate")?,
            errors_bias: find(BIAS).ok(),
            boundaries_ms,
        })
    }
}

struct Row<'r> {
    header: &'r csv::StringRecord,
    record: &'r csv::StringRecord,
}

impl Row<'_> {
    fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    fn check_length(&self) -> Result<(), CountsError> {
        let (line, expected) = (self.line(), self.header.len());
        match self.record.len() {
            columns if columns > expected => Err(CountsError::Long { line, column: expected + 1 }),
            columns if columns < expected => {
                Err(CountsError::Short { line, column: self.column(columns) })
            }
            _ => Ok(()),
        }
    }

    fn column(&self, index: usize) -> String {
        self.header.get(index).unwrap_or_default().to_owned()
    }

    fn parse<T: std::str::FromStr>(
        &self,
        index: usize,
        expected: &'static str,
    ) -> Result<T, CountsError> {
        let value = self.record.get(index).unwrap_or_default();
        value.parse().map_err(|_| self.bad(index, expected))
    }

    fn bad(&self, index: usize, expected: &'static str) -> CountsError {
        let value = self.record.get(index).unwrap_or_default().to_owned();
        CountsError::Value { line: self.line(), column: self.column(index), value, expected }
    }

    fn seconds(&self, index: usize) -> Result<f64, CountsError> {
        const EXPECTED: &str = "a number of seconds, 0 or more";
        let seconds: f64 = self.parse(index, EXPECTED)?;
        if seconds.is_finite() && seconds >= 0.0 {
            Ok(seconds)
        } else {
            Err(self.bad(index, EXPECTED))
        }
    }

    fn share(&self, index: usize) -> Result<f64, CountsError> {
        const EXPECTED: &str = "a share from 0 to 1";
        match self.parse(index, EXPECTED)? {
            share if (0.0..=1.0).contains(&share) => Ok(share),
            _ => Err(self.bad(index, EXPECTED)),
        }
    }

    fn arm(&self, columns: &Columns) -> Result<Arm, CountsError> {
        // A double does not hold larger counts exactly, and their sums would overflow.
        const MAX_COUNT: u64 = 1 << 53;
        const EXPECTED: &str = "a count from 0 to 2^53";
        let count = |index| match self.parse(index, EXPECTED)? {
            count if count > MAX_COUNT => Err(self.bad(index, EXPECTED)),
            count => Ok(count),
        };
        let whole = count(columns.requests)?;
        let part = |index: usize| {
            let part = count(index)?;
            if part > whole {
                return Err(CountsError::PartExceedsWhole {
                    line: self.line(),
                    column: self.column(index),
                    part,
                    whole,
                });
            }
            Ok(part)
        };
        let slower = columns.slower.iter().map(|index| part(*index)).collect::<Result<_, _>>()?;
        Ok(Arm { requests: whole, failures: part(columns.failures)?, slower })
    }
}

#[cfg(test)]
mod tests {
    use serin_core::judge::{Judge, Settings};

    use super::*;

    #[test]
    fn a_record_is_judged_as_its_run() {
        let settings = Settings { boundaries_ms: vec![2.5, 100.0], ..Settings::default() };
        let arm = |requests, failures, slower| Arm { requests, failures, slower };
        let mut judge = Judge::new(settings.clone());
        let bias = serin_core::judge::Bias { errors: 0.012_3, latency: Vec::new() };
        let slice = serin_core::judge::Slice { bias, share: None };
        judge.split_changes(serin_core::judge::SplitContext { slice, ..Default::default() });
        let mut written = Vec::new();
        let mut writer = Writer::new(&mut written, &settings.boundaries_ms).unwrap();
        let mut rulings = Vec::new();
        for second in 1..130_u64 {
            let seconds = second as f64 * 1.000_1;
            let candidate = arm(6 + second % 3, second % 2, vec![5, second % 4]);
            let baseline = arm(94, 0, vec![70, 1]);
            let ruling = match second {
                // On its way, for longer than a slot, and once more later.
                ..70 | 90..95 => Some(judge.learn(seconds, baseline)),
                _ => judge.observe(seconds, &Block { baseline, candidate }),
            };
            if let Some(ruling) = ruling {
                writer.add(&ruling).unwrap();
                rulings.push(ruling);
            }
        }
        drop(writer);
        let counts = Counts::read(&written[..]).unwrap();
        assert_eq!(counts.boundaries_ms, settings.boundaries_ms);
        let mut again = Judge::new(settings);
        let replayed: Vec<_> = counts
            .blocks
            .iter()
            .filter_map(|recorded| {
                again.replay(recorded.seconds, &recorded.block, recorded.errors_bias)
            })
            .collect();
        assert_eq!(replayed, rulings);
    }

    #[test]
    fn invalid_counts_are_rejected_with_line_and_column() {
        const HEAD: &str =
            "seconds,baseline_requests,baseline_errors,candidate_requests,candidate_errors";
        for (text, expected) in [
            (String::new(), "empty: no header line"),
            ("seconds,baseline_requests\n".into(), "line 1: column baseline_errors is missing"),
            (format!("{HEAD},baseline_gt_x\n"), "line 1: column baseline_gt_x is not one of"),
            (format!("{HEAD},baseline_gt_5\n"), "line 1: column candidate_gt_5 is missing"),
            (format!("{HEAD},candidate_gt_5\n"), "line 1: column baseline_gt_5 is missing"),
            (format!("{HEAD},baseline_gt_-5\n"), "line 1: column baseline_gt_-5 is not one of"),
            (format!("{HEAD},seconds\n"), "line 1: column seconds is duplicated"),
            (
                format!("{HEAD}\n1,18446744073709551615,0,5,0\n"),
                "line 2, column baseline_requests: \"18446744073709551615\" is not a count",
            ),
            (format!("{HEAD},colour\n"), "line 1: column colour is not one of"),
            (
                format!("{HEAD}\n1,-9,0,5,0\n"),
                "line 2, column baseline_requests: \"-9\" is not a count",
            ),
            (
                format!("{HEAD}\n1,9,0,5,0\n2,9,0,5,x\n"),
                "line 3, column candidate_errors: \"x\" is not",
            ),
            (
                format!("{HEAD}\nNaN,9,0,5,0\n"),
                "line 2, column seconds: \"NaN\" is not a number of",
            ),
            (
                format!("{HEAD},errors_bias\n1,9,0,5,0,2\n"),
                "line 2, column errors_bias: \"2\" is not a share from 0 to 1",
            ),
            (format!("{HEAD}\n1,9,0,5,6\n"), "line 2, column candidate_errors: 6 exceed the 5"),
            (
                format!("{HEAD}\n2,9,0,5,0\n1,9,0,5,0\n"),
                "line 3, column seconds: 1 is before the 2",
            ),
            (format!("{HEAD}\n1,9\n"), "line 2, column baseline_errors: missing"),
            (format!("{HEAD}\n1,9,0,5,0,7\n"), "line 2, column 6: there is no such column"),
        ] {
            let error = Counts::read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
