//! The commands: a file a noun, with its arguments, its calls, and how its results look.

pub(crate) mod advisories;
pub(crate) mod audit;
pub(crate) mod cluster;
pub(crate) mod context;
pub(crate) mod database;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod grant;
pub(crate) mod help;
pub(crate) mod identity;
pub(crate) mod kubernetes;
pub(crate) mod kv;
pub(crate) mod lease;
pub(crate) mod login;
pub(crate) mod migrate;
pub(crate) mod mount;
pub(crate) mod node;
pub(crate) mod operator;
pub(crate) mod pki;
pub(crate) mod pods;
pub(crate) mod policy;
pub(crate) mod run;
pub(crate) mod scan;
pub(crate) mod session;
pub(crate) mod shell;
pub(crate) mod signer;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod transit;
pub(crate) mod user;
pub(crate) mod verdict;
pub(crate) mod why;
pub(crate) mod would;

use std::io::{BufRead as _, IsTerminal as _};

use crate::{
    app::App,
    exit::Exit,
    failure::{Failure, Result},
    output::Table,
};

/// Shows a list of names, or what is said where there are none.
///
/// # Errors
/// Where they cannot be written.
fn show_names(app: &App, names: &[String], none: &'static str) -> Result<()> {
    app.out.long(&names, |view| {
        let mut table = Table::new(&["NAME"]);
        names.iter().for_each(|name| table.row([name.clone()]));
        table.render(view, none)
    })
}

/// Asks before something that cannot be taken back.
///
/// # Errors
/// Where the answer is no, or there is nobody to ask and `yes` is not said.
fn confirm(app: &App, yes: bool, question: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    let mut stdin = std::io::stdin().lock();
    if !stdin.is_terminal() {
        return Err(Failure::usage("this cannot be taken back, and there is nobody to ask").next("add --yes"));
    }
    app.out.ask(question);
    let mut line = String::new();
    stdin.read_line(&mut line).map_err(|error| Failure::usage(format!("no answer: {error}")))?;
    if matches!(line.trim(), "y" | "yes") { Ok(()) } else { Err(Failure::new(Exit::Failed, "nothing was done")) }
}

/// The items of a list that is written with commas.
fn parse_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
