//! What the doctor found, line by line.

use serde::Serialize;

use crate::{
    failure::Failure,
    output::{Table, View},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Ok,
    Warn,
    Fail,
    /// Not looked at, for what it takes is missing.
    Skip,
}

#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) state: State,
    pub(super) found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// The checks so far.
#[derive(Debug, Default)]
pub(super) struct Checks(pub(super) Vec<Check>);

impl Checks {
    pub(super) fn ok(&mut self, name: &'static str, found: impl Into<String>) {
        self.0.push(Check { name, state: State::Ok, found: found.into(), next: None });
    }

    pub(super) fn warn(&mut self, name: &'static str, found: impl Into<String>, next: impl Into<String>) {
        self.0.push(Check { name, state: State::Warn, found: found.into(), next: Some(next.into()) });
    }

    pub(super) fn fail(&mut self, name: &'static str, found: impl Into<String>, next: impl Into<String>) {
        self.0.push(Check { name, state: State::Fail, found: found.into(), next: Some(next.into()) });
    }

    pub(super) fn skip(&mut self, name: &'static str, found: impl Into<String>, next: impl Into<String>) {
        self.0.push(Check { name, state: State::Skip, found: found.into(), next: Some(next.into()) });
    }

    pub(super) fn failure(&mut self, name: &'static str, failure: Failure) {
        let found = failure.why.map_or_else(|| failure.what.clone(), |why| format!("{}: {why}", failure.what));
        self.0.push(Check { name, state: State::Fail, found, next: failure.next });
    }
}

pub(super) fn render(checks: &Checks, view: &View) -> String {
    let mut table = Table::new(&["CHECK", "STATE", "FOUND"]).prose("FOUND");
    for check in &checks.0 {
        let state = match check.state {
            State::Ok => "ok",
            State::Warn => "WARN",
            State::Fail => "FAIL",
            State::Skip => "skip",
        };
        let next = check.next.as_deref().map(|next| format!("\nnext: {next}")).unwrap_or_default();
        table.row([check.name.to_owned(), state.to_owned(), format!("{}{next}", check.found)]);
    }
    table.render(view, "")
}
