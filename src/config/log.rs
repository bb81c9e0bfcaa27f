//! Values of `[log]`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::values;

/// `[log]`: the log, on standard error.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Default: [`Level::Info`].
    #[serde(deserialize_with = "values::parsed")]
    pub level: Level,
    /// Default: [`Format::Text`].
    #[serde(deserialize_with = "values::parsed")]
    pub format: Format,
}

/// How much is logged, from the least to the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Failures.
    Error,
    /// What may need attention.
    Warn,
    /// The outcome of each message.
    #[default]
    Info,
    /// Also what peers have said, which may contain addresses.
    Debug,
    /// Everything.
    Trace,
}

/// The format of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people, and for the journal.
    #[default]
    Text,
    /// For programs: one object per line.
    Json,
}

impl Level {
    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        let level = levels.into_iter().find(|level| level.as_str() == word);
        level
            .ok_or_else(|| format!("{word:?}: must be \"error\", \"warn\", \"info\", \"debug\" or \"trace\""))
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(format!("{word:?}: must be \"text\" or \"json\"")),
        }
    }
}
