//! Everything that the command prints: the only place that writes to standard output and standard error.
//!
//! Tables for people, JSON and YAML for scripts. What comes from elsewhere is shown without control characters, so that no
//! name or message can move a terminal's cursor.

use std::io::{self, IsTerminal as _, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use serde::Serialize;

use crate::failure::{Failure, Result};

mod pager;
mod progress;
mod table;
mod text;
mod time;

pub use progress::Progress;
pub use table::{Table, pairs};
pub use text::{is_printable, one_line, printable};
pub use time::{age, rfc3339, since, until};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Tables and sentences, for people.
    #[default]
    Table,
    /// JSON, for scripts; errors too.
    Json,
    /// YAML, for scripts and for reading; errors too.
    Yaml,
}

/// What a result needs to know to be rendered.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// The time that ages are counted from.
    pub now: Timestamp,
    /// Columns of the terminal; none where output goes elsewhere.
    pub width: Option<u16>,
}

/// Where results go.
#[derive(Debug, Clone)]
pub struct Output {
    /// How results are written.
    pub format: Format,
    /// How tables are rendered.
    pub view: View,
    /// Whether standard output is a terminal.
    pub terminal: bool,
    /// The command that pages long tables on a terminal; none where nothing is paged.
    pub pager: Option<String>,
}

impl Output {
    /// Output of this process.
    #[must_use]
    pub fn new(format: Format, now: Timestamp) -> Self {
        let terminal = io::stdout().is_terminal();
        let width = terminal.then(|| comfy_table::Table::new().width()).flatten();
        Self { format, view: View { now, width }, terminal, pager: None }
    }

    /// Writes a result: `json` for scripts, or the text that `table` makes for people.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn result(&self, json: &impl Serialize, table: impl FnOnce(&View) -> String) -> Result<()> {
        match self.format {
            Format::Json => self.json(json),
            Format::Yaml => self.yaml(json),
            Format::Table => self.text(&table(&self.view)),
        }
    }

    /// Writes a result that may be long and holds no secret: on a terminal it is paged where it does not fit.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn long(&self, json: &impl Serialize, table: impl FnOnce(&View) -> String) -> Result<()> {
        if self.format != Format::Table || !self.terminal {
            return self.result(json, table);
        }
        let text = table(&self.view);
        match &self.pager {
            Some(command) if pager::is_needed(&text) && pager::page(command, &text) => Ok(()),
            _ => self.text(&text),
        }
    }

    /// Writes one YAML document, whatever the format.
    fn yaml(&self, value: &impl Serialize) -> Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = serde_saphyr::to_io_writer(&mut out, value).map_err(io::Error::other).and_then(|()| out.flush());
        written.map_err(|error| unwritten(&error))
    }

    /// Writes one JSON value and a newline, whatever the format.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn json(&self, json: &impl Serialize) -> Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written =
            if self.terminal { serde_json::to_writer_pretty(&mut out, json) } else { serde_json::to_writer(&mut out, json) };
        let written = written.map_err(io::Error::from).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
        written.map_err(|error| unwritten(&error))
    }

    /// Writes one value of a stream: a line of JSON, or a YAML document. Not for secrets: it is copied.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn item(&self, json: &impl Serialize) -> Result<()> {
        let mut out = io::stdout().lock();
        if self.format == Format::Yaml {
            // By way of JSON: what is JSON already becomes YAML with the rest.
            let value = serde_json::to_value(json).map_err(io::Error::from);
            let text = value.and_then(|value| serde_saphyr::to_string(&value).map_err(io::Error::other));
            return text
                .and_then(|text| write!(out, "---\n{text}"))
                .and_then(|()| out.flush())
                .map_err(|error| unwritten(&error));
        }
        let line = serde_json::to_string(json).map_err(io::Error::from);
        line.and_then(|line| writeln!(out, "{line}")).and_then(|()| out.flush()).map_err(|error| unwritten(&error))
    }

    /// Writes text and a newline; headings in bold where a terminal shows it.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn text(&self, text: &str) -> Result<()> {
        let text = text.trim_end_matches('\n');
        if text.is_empty() {
            return Ok(());
        }
        let mut out = anstream::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| unwritten(&error))
    }

    /// Writes bytes as they are, with a newline where somebody reads them on a terminal.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn raw(&self, bytes: &[u8]) -> Result<()> {
        let mut out = io::stdout().lock();
        let end: &[u8] = if self.terminal { b"\n" } else { b"" };
        out.write_all(bytes).and_then(|()| out.write_all(end)).and_then(|()| out.flush()).map_err(|error| unwritten(&error))
    }

    /// Tells a person something beside the result, on standard error; nothing where a script listens.
    pub fn note(&self, text: &str) {
        if self.format == Format::Table {
            let style = AnsiColor::Yellow.on_default();
            complain(&format!("{style}note:{style:#} {}\n", printable(text)));
        }
    }

    /// Shows how far something has come, in the place of what was shown before: to a person at a terminal only.
    pub fn progress(&self, text: &str) {
        if self.format == Format::Table && io::stderr().is_terminal() {
            complain(&format!("\r\u{1b}[2K{}", printable(text)));
        }
    }

    /// Asks on standard error; the answer is read elsewhere.
    pub fn ask(&self, question: &str) {
        complain(&format!("{} [y/N] ", printable(question)));
    }

    /// Tells that the command line was not understood: in clap's words, or as JSON.
    pub fn usage(&self, plain: &str, styled: &str) {
        match self.format {
            Format::Json | Format::Yaml => {
                let message = plain.trim().split("\n\n").next().unwrap_or_default();
                let message = message.strip_prefix("error: ").unwrap_or(message);
                self.failure(&Failure::usage(message).next("run the command with --help"));
            }
            Format::Table => complain(styled),
        }
    }

    /// Tells what went wrong, on standard error.
    pub fn failure(&self, failure: &Failure) {
        match self.format {
            Format::Json => complain(&format!("{}\n", failure_value(failure))),
            Format::Yaml => complain(&serde_saphyr::to_string(&failure_value(failure)).unwrap_or_else(|_| failure_text(failure))),
            Format::Table => complain(&failure_text(failure)),
        }
    }
}

/// What went wrong, in at most three lines and the request's id.
fn failure_text(failure: &Failure) -> String {
    let (red, dim) = (AnsiColor::Red.on_default().bold(), Style::new().dimmed());
    let request = failure.request_id.as_deref().map(|id| format!(" {dim}(request {}){dim:#}", printable(id))).unwrap_or_default();
    let mut text = format!("{red}error:{red:#} {}{request}\n", printable(&failure.what));
    for (label, line) in [("why:", &failure.why), ("next:", &failure.next)] {
        if let Some(line) = line {
            text.push_str(&format!("{dim}{label:<6}{dim:#} {}\n", printable(line)));
        }
    }
    text
}

#[derive(Serialize)]
struct FailureBody<'a> {
    exit_code: u8,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    retryable: bool,
}

fn failure_value(failure: &Failure) -> serde_json::Value {
    let body = FailureBody {
        exit_code: failure.exit.code(),
        message: &failure.what,
        why: failure.why.as_deref(),
        next: failure.next.as_deref(),
        reason: failure.reason.as_deref(),
        request_id: failure.request_id.as_deref(),
        retryable: failure.retryable,
    };
    serde_json::json!({ "error": serde_json::json!(body) })
}

/// Writes to standard error. Where even that fails, there is nobody left to tell.
fn complain(text: &str) {
    let mut err = anstream::stderr().lock();
    drop(err.write_all(text.as_bytes()).and_then(|()| err.flush()));
}

/// Whoever read the output has seen enough (`| head`), or it cannot be written.
fn unwritten(error: &io::Error) -> Box<Failure> {
    let mut failure =
        Failure::new(crate::exit::Exit::Failed, format!("cannot write the output: {}", crate::failure::plain(error)));
    if error.kind() == io::ErrorKind::BrokenPipe {
        failure.exit = crate::exit::Exit::Done;
    }
    failure
}

#[cfg(test)]
mod tests;
