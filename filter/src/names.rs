//! Names and generations, shared by filter and controller and validated once.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The value is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{value}\" is not a name of 1 to {MAX_NAME} characters A-Z a-z 0-9 . _ -")]
pub struct NameError {
    value: String,
}

/// Bytes of a service or version name: the limit of a DNS label.
pub const MAX_NAME: usize = 63;

/// Names are part of header values and statistic names, which limits length and characters.
fn validate(value: String) -> Result<String, NameError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=MAX_NAME).contains(&value.len()) && value.bytes().all(allowed) {
        return Ok(value);
    }
    // Terminals print the error.
    let printable = value.chars().take(MAX_NAME);
    let value = printable.map(|c| if c.is_control() { '?' } else { c }).collect();
    Err(NameError { value })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(try_from = "String")]
        pub struct $name(
            #[cfg_attr(
                feature = "schema",
                schemars(length(min = 1, max = MAX_NAME), regex(pattern = "^[A-Za-z0-9._-]*$"))
            )]
            String,
        );

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(value: String) -> Result<Self, NameError> {
                validate(value).map(Self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(value: &str) -> Result<Self, NameError> {
                validate(value.to_owned()).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A service whose traffic serin splits between versions.
    ServiceName
}
name! {
    /// One version of a service, such as `v2` or `2026-11-23.4`.
    VersionName
}

/// Number of a configuration. It rises with each configuration, so a proxy that reports a
/// generation runs that configuration and no earlier one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_limited_length_and_characters() {
        for good in ["v1", "2026-11-23.4", "a_b", &"x".repeat(MAX_NAME)] {
            assert_eq!(good.parse::<VersionName>().unwrap().as_str(), good);
        }
        for bad in ["", "v 1", "v1;", "v=1", "ü", "a/b", &"x".repeat(MAX_NAME + 1)] {
            assert!(bad.parse::<VersionName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn errors_quote_the_name_truncated_and_printable() {
        let error = "no good".parse::<ServiceName>().unwrap_err().to_string();
        assert!(error.starts_with("\"no good\" is not a name"), "{error}");
        let escape = "\u{1b}[2J".parse::<ServiceName>().unwrap_err().to_string();
        assert!(escape.starts_with("\"?[2J\" is not a name"), "{escape}");
        assert!("x".repeat(10_000).parse::<ServiceName>().unwrap_err().to_string().len() < 200);
    }
}
