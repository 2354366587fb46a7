//! `spec.freeze`: times at which rollouts do not advance.

use jiff::civil::{DateTime, Time};
use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{SpecError, at};
use crate::rollout::freeze::{Day, FreezeSchedule, FreezeWindow};

/// A freeze: once, as in `{ from: 2026-12-24T12:00, to: 2026-12-27T00:00 }`, or every week, as in
/// `{ days: [sat, sun] }`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FreezeSpec {
    /// Days are the days of every week on which the freeze applies. Without days it applies once.
    days: Option<Vec<Day>>,
    /// From is the start, such as 2026-12-24T12:00 or, with days, 15:00. Default with days:
    /// midnight.
    from: Option<String>,
    /// To is the end, in the format of from. Default with days: the end of the day.
    to: Option<String>,
}

/// Parses all freezes of a specification.
pub(super) fn parse(
    freezes: &[FreezeSpec],
    time_zone: Option<String>,
) -> Result<FreezeSchedule, SpecError> {
    let windows = freezes.iter().enumerate().map(|(index, freeze)| freeze.parse(index));
    let windows = windows.collect::<Result<_, _>>()?;
    let freezes = FreezeSchedule { time_zone: time_zone.unwrap_or_default(), windows };
    match freezes.zone() {
        Some(_) => Ok(freezes),
        None => at(
            "spec.timeZone",
            format!("{:?} is not a time zone such as Europe/Berlin", freezes.time_zone),
        ),
    }
}

impl FreezeSpec {
    fn parse(&self, index: usize) -> Result<FreezeWindow, SpecError> {
        let path = format!("spec.freeze[{index}]");
        match &self.days {
            None => self.once(&path),
            Some(days) if days.is_empty() => {
                at(format!("{path}.days"), "empty; list at least one of mon to sun")
            }
            Some(days) => {
                let from = time(&self.from, &path, "from")?.unwrap_or(Time::midnight());
                let to = time(&self.to, &path, "to")?;
                match to {
                    Some(to) if to <= from => {
                        at(format!("{path}.to"), format!("{to} is not after {from}"))
                    }
                    _ => Ok(FreezeWindow::Weekly { days: days.clone(), from, to }),
                }
            }
        }
    }

    fn once(&self, path: &str) -> Result<FreezeWindow, SpecError> {
        let parse = |field: &str, text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            text.parse::<DateTime>().or_else(|_| {
                let message = format!(
                    "{text:?} is not a time such as 2026-12-24T12:00; for a weekly freeze, set days"
                );
                at(format!("{path}.{field}"), message)
            })
        };
        let (from, to) = (parse("from", &self.from)?, parse("to", &self.to)?);
        match to > from {
            true => Ok(FreezeWindow::Once { from, to }),
            false => at(format!("{path}.to"), format!("{to} is not after {from}")),
        }
    }
}

fn time(text: &Option<String>, path: &str, field: &str) -> Result<Option<Time>, SpecError> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).or_else(|_| {
        at(format!("{path}.{field}"), format!("{text:?} is not a time of day such as \"15:00\""))
    })
}
