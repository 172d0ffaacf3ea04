//! The account that the demonstration gives of itself.

use std::time::{Duration, Instant};

use anstream::println;
use anstyle::{AnsiColor, Style};
use anyhow::{Context as _, Result};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
/// Columns before a step's time.
const WIDTH: usize = 76;

/// Numbers the steps.
#[derive(Debug, Default)]
pub(crate) struct Account {
    steps: u32,
}

impl Account {
    /// The first line.
    pub(crate) fn title(text: &str) {
        println!("{BOLD}{text}{BOLD:#}\n");
    }

    /// Takes a step: does it, and says what it was, how long it took, and what there is to see of it.
    pub(crate) fn step<T>(&mut self, what: &str, act: impl FnOnce(&mut Seen) -> Result<T>) -> Result<T> {
        self.steps += 1;
        let (number, begin, mut seen) = (self.steps, Instant::now(), Seen::default());
        let done = act(&mut seen).with_context(|| format!("step {number} did not hold: {what}"))?;
        let time = seconds(begin.elapsed());
        let gap = WIDTH.saturating_sub(what.chars().count());
        println!("{GOOD}{number:>3}{GOOD:#}  {what} {DIM}{:.>gap$} {time:>6}{DIM:#}", "");
        for line in seen.lines {
            println!("     {DIM}{line}{DIM:#}");
        }
        Ok(done)
    }

    /// The last line.
    pub(crate) fn end(&self, begin: Instant, left: &str) {
        println!("\n{GOOD}{BOLD}All {} steps held{BOLD:#}{GOOD:#} in {}. {left}", self.steps, seconds(begin.elapsed()));
    }
}

/// What there is to see of a step.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    lines: Vec<String>,
}

impl Seen {
    /// One more line.
    pub(crate) fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }
}

/// A remark.
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// The account of what went wrong.
pub(crate) fn failed(error: &anyhow::Error) {
    anstream::eprintln!("\n{BAD}The demonstration failed:{BAD:#} {error:#}");
}

/// A time as people read it.
pub(crate) fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) { format!("{} ms", time.as_millis()) } else { format!("{:.1} s", time.as_secs_f32()) }
}
