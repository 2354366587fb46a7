//! Freezes: times in which no rollout may start or advance, such as holidays, weekends and
//! nights. Rollbacks proceed at any time.

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, ZonedDateTime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The freezes, in one time zone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FreezeSchedule {
    /// IANA name of the time zone; empty for UTC.
    pub time_zone: String,
    /// The freezes.
    pub windows: Vec<FreezeWindow>,
}

/// One freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FreezeWindow {
    /// A single freeze. Its end is exclusive.
    Once {
        /// The start.
        from: DateTime,
        /// The end, after the start.
        to: DateTime,
    },
    /// A weekly freeze.
    Weekly {
        /// The days.
        days: Vec<Day>,
        /// The start.
        from: Time,
        /// The end, after the start; `None`: the end of the day.
        to: Option<Time>,
    },
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names say it
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl From<Day> for Weekday {
    fn from(day: Day) -> Self {
        match day {
            Day::Mon => Self::Monday,
            Day::Tue => Self::Tuesday,
            Day::Wed => Self::Wednesday,
            Day::Thu => Self::Thursday,
            Day::Fri => Self::Friday,
            Day::Sat => Self::Saturday,
            Day::Sun => Self::Sunday,
        }
    }
}

impl FreezeSchedule {
    /// The time zone, if the name is known.
    #[must_use]
    pub fn zone(&self) -> Option<TimeZone> {
        match self.time_zone.as_str() {
            "" => Some(TimeZone::UTC),
            name => TimeZone::get(name).ok(),
        }
    }

    /// The end of the freeze that contains `now`; the latest if several do.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> Option<ZonedDateTime> {
        let zone = self.zone()?;
        let local = zone.to_datetime(now);
        let ends = self.windows.iter().filter_map(|window| window.end(local));
        ends.max().and_then(|end| end.to_zoned_datetime(zone).ok())
    }
}

impl FreezeWindow {
    /// The end of the freeze, if it contains `now`.
    fn end(&self, now: DateTime) -> Option<DateTime> {
        match self {
            Self::Once { from, to } => (*from <= now && now < *to).then_some(*to),
            Self::Weekly { days, from, to } => {
                let end = match to {
                    Some(to) => now.date().to_datetime(*to),
                    None => now.date().checked_add(1.day()).ok()?.to_datetime(Time::midnight()),
                };
                let within = days.iter().any(|day| Weekday::from(*day) == now.date().weekday())
                    && *from <= now.time();
                (within && now < end).then_some(end)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freezes(zone: &str) -> FreezeSchedule {
        let at = |text: &str| text.parse::<DateTime>().unwrap();
        let time = |text: &str| text.parse::<Time>().unwrap();
        let windows = vec![
            FreezeWindow::Once { from: at("2026-12-24T12:00"), to: at("2026-12-27T00:00") },
            FreezeWindow::Weekly { days: vec![Day::Sat], from: Time::midnight(), to: None },
            FreezeWindow::Weekly {
                days: vec![Day::Fri],
                from: time("15:00"),
                to: Some(time("18:00")),
            },
        ];
        FreezeSchedule { time_zone: zone.to_owned(), windows }
    }

    fn until(zone: &str, now: &str) -> Option<String> {
        let end = freezes(zone).until(now.parse().unwrap())?;
        Some(end.to_string())
    }

    #[test]
    fn a_time_is_in_a_freeze_or_not() {
        for (now, expected) in [
            ("2026-11-25T12:00:00Z", None),
            ("2026-11-27T14:59:59Z", None),
            ("2026-11-27T15:00:00Z", Some("2026-11-27T18:00:00+00:00[UTC]")),
            ("2026-11-27T18:00:00Z", None),
            ("2026-11-28T00:00:00Z", Some("2026-11-29T00:00:00+00:00[UTC]")),
            ("2026-11-29T00:00:00Z", None),
            ("2026-12-24T11:59:59Z", None),
            // This time is also a Friday: the later end applies.
            ("2026-12-25T16:00:00Z", Some("2026-12-27T00:00:00+00:00[UTC]")),
            ("2026-12-27T00:00:00Z", None),
        ] {
            assert_eq!(until("", now).as_deref(), expected, "{now}");
        }
    }

    #[test]
    fn the_time_zone_applies() {
        assert_eq!(until("Europe/Berlin", "2026-11-27T13:59:59Z"), None);
        let end = until("Europe/Berlin", "2026-11-27T14:00:00Z");
        assert_eq!(end.as_deref(), Some("2026-11-27T18:00:00+01:00[Europe/Berlin]"));
        // In summer the offset is one hour more.
        let end = until("Europe/Berlin", "2026-07-03T13:00:00Z");
        assert_eq!(end.as_deref(), Some("2026-07-03T18:00:00+02:00[Europe/Berlin]"));
        assert_eq!(freezes("Europe/Nowhere").zone(), None);
    }
}
