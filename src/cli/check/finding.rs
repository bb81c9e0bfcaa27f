//! The result of one check.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// As it should be.
    Ok,
    /// It works, but could be better; or it could not be checked.
    Advice,
    /// It will not work as it should.
    Error,
}

/// What was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// A file, a host, a domain.
    pub(super) about: String,
    /// The problem, or what is right.
    pub(super) what: String,
    /// A sentence, or a command.
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(about: impl ToString, what: impl ToString) -> Self {
        Finding { severity: Severity::Ok, about: about.to_string(), what: what.to_string(), remedy: None }
    }

    pub(super) fn advice(about: impl ToString, what: impl ToString, remedy: impl ToString) -> Self {
        let remedy = Some(remedy.to_string());
        Finding { severity: Severity::Advice, remedy, ..Finding::ok(about, what) }
    }

    pub(super) fn error(about: impl ToString, what: impl ToString, remedy: impl ToString) -> Self {
        Finding { severity: Severity::Error, ..Finding::advice(about, what, remedy) }
    }

    /// With the column of subjects `width` characters wide.
    pub(super) fn write(&self, out: &mut impl Write, width: usize) -> io::Result<()> {
        let Finding { severity, about, what, remedy } = self;
        let (word, style) = severity.word();
        writeln!(out, "  {style}{word:<6}{style:#}  {about:<width$}  {what}")?;
        match remedy {
            Some(remedy) => writeln!(out, "  {:<6}  {:<width$}  -> {remedy}", "", ""),
            None => Ok(()),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let Finding { severity, about, what, remedy } = self;
        json!({ "severity": severity.word().0, "about": about, "finding": what, "remedy": remedy })
    }
}

impl Severity {
    /// How it is shown.
    fn word(self) -> (&'static str, Style) {
        match self {
            Severity::Ok => ("ok", AnsiColor::Green.on_default()),
            Severity::Advice => ("advice", AnsiColor::Yellow.on_default()),
            Severity::Error => ("error", AnsiColor::Red.on_default().bold()),
        }
    }
}
