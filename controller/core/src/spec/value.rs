//! Scalar values: shares in percent, durations, numbers. An error quotes the value and gives the
//! valid form.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serin_filter::table::Weight;

use super::error::{SpecError, at};

/// A scalar of any YAML type.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Whole(i64),
    Number(f64),
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// A share such as `5%` or `0.25%`, in steps of 0.0001 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub(super) struct Percent(Weight);

impl Percent {
    /// A whole percentage, at most 100.
    pub(super) fn whole(percent: u32) -> Self {
        Self(Weight::from_ppm(percent * 10_000).unwrap_or(Weight::ALL))
    }

    pub(super) fn weight(self) -> Weight {
        self.0
    }

    pub(super) fn of_ppm(ppm: u32) -> Self {
        Self(Weight::from_ppm(ppm).unwrap_or(Weight::ALL))
    }

    fn parse(text: &str) -> Option<Self> {
        let percent: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
        let ppm = percent * 10_000.0;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked here
        let weight = (0.0..=1_000_000.0).contains(&ppm).then_some(ppm.round() as u32)?;
        // Values are never rounded: 0.00001% must not become 0.
        ((f64::from(weight) - ppm).abs() < 1e-6).then_some(Self(Weight::from_ppm(weight)?))
    }
}

impl TryFrom<Scalar> for Percent {
    type Error = String;

    fn try_from(value: Scalar) -> Result<Self, String> {
        let percent = if let Scalar::Text(text) = &value { Self::parse(text) } else { None };
        percent.ok_or_else(|| {
            format!("{value} is not a share from 0% to 100%, in steps of 0.0001%, such as 0.25%")
        })
    }
}

/// The longest duration. Sums of a few do not overflow a time.
const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A duration such as `90s` or `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub(super) struct SpecDuration(pub(super) Duration);

impl TryFrom<Scalar> for SpecDuration {
    type Error = String;

    fn try_from(value: Scalar) -> Result<Self, String> {
        let text = if let Scalar::Text(text) = &value { text } else { "" };
        let span = humantime::parse_duration(text).ok().filter(|span| *span <= MAX_DURATION);
        span.map(Self).ok_or_else(|| {
            format!("{value} is not a duration with a unit, such as 500ms, 90s or 1h 30m, of at most 10 years")
        })
    }
}

/// A non-negative integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub(super) struct SpecCount(pub(super) u64);

impl TryFrom<Scalar> for SpecCount {
    type Error = String;

    fn try_from(value: Scalar) -> Result<Self, String> {
        let count =
            if let Scalar::Whole(number) = value { u64::try_from(number).ok() } else { None };
        count.map(Self).ok_or_else(|| format!("{value} is not a non-negative integer"))
    }
}

/// A number.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "Scalar")]
pub(super) struct SpecNumber(pub(super) f64);

impl TryFrom<Scalar> for SpecNumber {
    type Error = String;

    fn try_from(value: Scalar) -> Result<Self, String> {
        match value {
            Scalar::Whole(number) => Ok(Self(number as f64)),
            Scalar::Number(number) => Ok(Self(number)),
            Scalar::Text(_) => Err(format!("{value} is not a number such as 1.2")),
        }
    }
}

/// Whether a text is a URL of HTTP with a host and without credentials.
pub(super) fn is_http_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        let is_anonymous = url.username().is_empty() && url.password().is_none();
        matches!(url.scheme(), "http" | "https") && url.has_host() && is_anonymous
    })
}

/// Parses the name of an object in the cluster.
pub(super) fn object_name(path: &str, name: String) -> Result<String, SpecError> {
    match name.is_empty() {
        true => at(path, "empty; set the name of an object"),
        false => Ok(name),
    }
}

/// The schema of a type in the definition of the kind.
macro_rules! schema {
    ($type:ident, $schema:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

schema!(Percent, { "type": "string", "pattern": r"^[0-9.eE+-]+ *%$" });
schema!(SpecDuration, { "type": "string", "minLength": 1 });
schema!(SpecCount, { "type": "integer", "minimum": 0 });
schema!(SpecNumber, { "type": "number" });
