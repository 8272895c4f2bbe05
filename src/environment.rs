//! `OFFRAMP_*`: values from the environment, validated like the builder's.

use crate::builder::ConfigError;
use crate::offload::Policy;
use std::env::{self, VarError};
use std::ops::RangeInclusive;
use std::time::Duration;

/// A number: the builder's, the environment's, or the default.
pub(crate) fn number(
    field: &'static str,
    explicit: Option<usize>,
    default: usize,
    range: RangeInclusive<usize>,
) -> Result<usize, ConfigError> {
    Ok(optional_number(field, explicit, range)?.unwrap_or(default))
}

/// The same without a default.
pub(crate) fn optional_number(
    field: &'static str,
    explicit: Option<usize>,
    range: RangeInclusive<usize>,
) -> Result<Option<usize>, ConfigError> {
    if let Some(value) = explicit {
        if !range.contains(&value) {
            return Err(ConfigError::out_of_range(field, value.to_string(), &range));
        }
        return Ok(Some(value));
    }
    let name = variable(field, "");
    let Some(text) = read(&name)? else {
        return Ok(None);
    };
    match text.trim().parse() {
        Ok(value) if range.contains(&value) => Ok(Some(value)),
        Ok(_) => Err(ConfigError::out_of_range(name, text, &range)),
        Err(_) => {
            let allowed = format!("a whole number from {} to {}", range.start(), range.end());
            Err(ConfigError::new(name, format!("`{text}`"), allowed))
        }
    }
}

/// A duration; the environment's is in milliseconds.
pub(crate) fn millis(
    field: &'static str,
    explicit: Option<Duration>,
    default: Duration,
    range: RangeInclusive<Duration>,
) -> Result<Duration, ConfigError> {
    if let Some(value) = explicit {
        if !range.contains(&value) {
            return Err(ConfigError::out_of_range(
                field,
                format!("{value:?}"),
                &range,
            ));
        }
        return Ok(value);
    }
    let name = variable(field, "_MS");
    let Some(text) = read(&name)? else {
        return Ok(default);
    };
    match text.trim().parse().map(Duration::from_millis) {
        Ok(value) if range.contains(&value) => Ok(value),
        _ => {
            let allowed = format!(
                "a whole number of milliseconds from {} to {}",
                range.start().as_millis(),
                range.end().as_millis()
            );
            Err(ConfigError::new(name, format!("`{text}`"), allowed))
        }
    }
}

pub(crate) fn policy(explicit: Option<Policy>) -> Result<Policy, ConfigError> {
    if let Some(policy) = explicit {
        return Ok(policy);
    }
    let name = variable("policy", "");
    let Some(text) = read(&name)? else {
        return Ok(Policy::default());
    };
    match text.trim() {
        "wait" => Ok(Policy::Wait),
        "reject" => Ok(Policy::Reject),
        _ => Err(ConfigError::new(
            name,
            format!("`{text}`"),
            "`wait` or `reject`",
        )),
    }
}

fn variable(field: &str, suffix: &str) -> String {
    format!("OFFRAMP_{}{suffix}", field.to_uppercase())
}

fn read(name: &str) -> Result<Option<String>, ConfigError> {
    match env::var(name) {
        Ok(text) => Ok(Some(text)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(text)) => {
            let value = text.to_string_lossy().into_owned();
            Err(ConfigError::new(name, value, "UTF-8 text"))
        }
    }
}
