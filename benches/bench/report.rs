//! What was measured: a table for people, lines for programs.

use std::fmt;

/// What a figure should be.
#[derive(Clone, Copy)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

struct Bar {
    name: &'static str,
    value: f64,
    unit: &'static str,
    target: Target,
    /// The absolute figures behind it.
    figures: String,
}

#[derive(Default)]
pub struct Report {
    bars: Vec<Bar>,
}

impl Report {
    /// Adds a figure, and shows it at once.
    pub fn bar(
        &mut self,
        name: &'static str,
        value: f64,
        unit: &'static str,
        target: Target,
        figures: String,
    ) {
        let bar = Bar { name, value, unit, target, figures };
        println!("  {bar}");
        self.bars.push(bar);
    }
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Target::AtLeast(least) => value >= least,
            Target::AtMost(most) => value <= most,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::AtLeast(least) => write!(f, "≥ {least}"),
            Target::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bar { name, value, unit, target, figures } = self;
        let verdict = if target.is_met(*value) { "met" } else { "MISSED" };
        write!(f, "| {name} | {value:.2}{unit} | {target}{unit} | {verdict} | {figures} |")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| row | figure | target | | measured, median of the rounds |\n|---|---|---|---|---|")?;
        for bar in &self.bars {
            writeln!(f, "{bar}")?;
        }
        writeln!(f)?;
        for Bar { name, value, .. } in &self.bars {
            writeln!(f, "bar: {name} {value:.3}")?;
        }
        Ok(())
    }
}
