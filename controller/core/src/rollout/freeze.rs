//! Times in which no rollout may begin or advance: holidays, weekends, nights. A rollback may at any time.

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, ZonedDateTime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Freezes, by the clocks of one time zone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FreezeSchedule {
    /// IANA name of the time zone; empty for UTC.
    pub time_zone: String,
    /// When nothing may advance.
    pub windows: Vec<FreezeWindow>,
}

/// One freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FreezeWindow {
    /// Once, from one time to another, which is not in it any more.
    Once {
        /// When it begins.
        from: DateTime,
        /// When it ends, which is later.
        to: DateTime,
    },
    /// Every week.
    Weekly {
        /// On these days.
        days: Vec<Day>,
        /// From this time on.
        from: Time,
        /// To this time, which is later; `None`: to the end of the day.
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
    /// The time zone, if there is one of that name.
    #[must_use]
    pub fn zone(&self) -> Option<TimeZone> {
        match self.time_zone.as_str() {
            "" => Some(TimeZone::UTC),
            name => TimeZone::get(name).ok(),
        }
    }

    /// The end of the freeze that this time is in; of several the last.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> Option<ZonedDateTime> {
        let zone = self.zone()?;
        let local = zone.to_datetime(now);
        let ends = self.windows.iter().filter_map(|window| window.end(local));
        ends.max().and_then(|end| end.to_zoned_datetime(zone).ok())
    }
}

impl FreezeWindow {
    /// When it ends, if this time is in it.
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
            // Also a Friday: the later end counts.
            ("2026-12-25T16:00:00Z", Some("2026-12-27T00:00:00+00:00[UTC]")),
            ("2026-12-27T00:00:00Z", None),
        ] {
            assert_eq!(until("", now).as_deref(), expected, "{now}");
        }
    }

    #[test]
    fn the_clocks_of_the_time_zone_count() {
        assert_eq!(until("Europe/Berlin", "2026-11-27T13:59:59Z"), None);
        let end = until("Europe/Berlin", "2026-11-27T14:00:00Z");
        assert_eq!(end.as_deref(), Some("2026-11-27T18:00:00+01:00[Europe/Berlin]"));
        // In summer an hour earlier.
        let end = until("Europe/Berlin", "2026-07-03T13:00:00Z");
        assert_eq!(end.as_deref(), Some("2026-07-03T18:00:00+02:00[Europe/Berlin]"));
        assert_eq!(freezes("Europe/Nowhere").zone(), None);
    }
}
