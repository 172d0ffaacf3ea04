//! The `coffer` command.
//!
//! [`run`] reads the command line, does what it says and gives the exit status. Each noun has a file in `commands`:
//! its arguments, its calls, and how its results look. What goes wrong becomes a [`failure::Failure`], with the advice
//! of [`advice`]; only [`output`] prints. Nothing here knows the server but through `coffer-client`.

pub mod advice;
pub mod app;
mod args;
mod child;
mod commands;
mod complete;
pub mod context;
mod document;
mod dry_run;
pub mod exit;
pub mod failure;
pub mod input;
mod kubectl;
mod memory;
pub mod output;
pub mod paths;
pub mod private;
mod random;
pub mod reference;
pub mod session;
mod vault_words;

use std::ffi::OsString;

use clap::error::ErrorKind;
use jiff::Timestamp;

use crate::{
    app::App,
    args::{Cli, Command, Environment},
    exit::Exit,
    failure::{Failure, Result},
    input::Input,
    output::Output,
};

/// Pages long tables where the user says nothing else: ends at once where all fits, and leaves the text on the screen.
const PAGER_DEFAULT: &str = "less -FRX";

/// Runs the command with these arguments, the program's name first. Gives the exit status.
#[must_use]
pub fn run(arguments: Vec<OsString>) -> Exit {
    if complete::answered(&arguments) {
        return Exit::Done;
    }
    let now = Timestamp::now();
    let early = Output::new(args::format_of(&arguments), now);
    let cli = match args::parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return not_understood(&early, &error, &arguments),
    };
    let environment = args::environment();
    let mut out = Output::new(cli.global.output, now);
    out.pager = match environment.pager.as_deref().map(str::trim) {
        None => Some(PAGER_DEFAULT.to_owned()),
        Some("" | "cat") => None,
        Some(pager) => Some(pager.to_owned()),
    };
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("the command cannot start: {error}")))
        .and_then(|runtime| runtime.block_on(run_command(cli, out.clone(), environment)));
    match done {
        Ok(exit) => exit,
        Err(failure) => {
            // Whoever read the output has seen enough: nothing is wrong.
            if failure.exit != Exit::Done {
                out.failure(&failure);
            }
            failure.exit
        }
    }
}

fn not_understood(out: &Output, error: &clap::Error, arguments: &[OsString]) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match out.text(&error.render().ansi().to_string()) {
            Ok(()) => Exit::Done,
            Err(failure) => failure.exit,
        },
        _ => {
            // A word that is somebody else's is answered with ours, rather than with the one that looks like it.
            let words: Vec<&str> = arguments.iter().skip(1).filter_map(|word| word.to_str()).collect();
            if error.kind() == ErrorKind::InvalidSubcommand
                && let Some(failure) = vault_words::advice(&words)
            {
                out.failure(&failure);
                return Exit::Usage;
            }
            out.usage(&error.render().to_string(), &error.render().ansi().to_string());
            Exit::Usage
        }
    }
}

async fn run_command(cli: Cli, out: Output, environment: Environment) -> Result<Exit> {
    let app = App {
        out,
        input: Input::default(),
        paths: cli.global.paths()?,
        wanted: cli.global.wanted(),
        timeout: cli.global.timeout,
        environment,
    };
    match cli.command {
        Command::Status(command) => command.run(&app).await,
        Command::Doctor(command) => command.run(&app).await,
        Command::Operator(command) => command.run(&app).await,
        Command::Login(command) => command.run(&app).await,
        Command::Logout(command) => command.run(&app).await,
        Command::Whoami(command) => command.run(&app).await,
        Command::Kv(command) => command.run(&app).await,
        Command::Run(command) => command.run(&app).await,
        Command::Migrate(command) => command.run(&app),
        Command::Issue(command) => command.run(&app).await,
        Command::Lease(command) => command.run(&app).await,
        Command::Database(command) => command.run(&app).await,
        Command::Kubernetes(command) => command.run(&app).await,
        Command::Transit(command) => command.run(&app).await,
        Command::Mount(command) => command.run(&app).await,
        Command::Pki(command) => command.run(&app).await,
        Command::Grant(command) => command.run(&app).await,
        Command::Revoke(command) => command.run(&app).await,
        Command::Grants(command) => command.run(&app).await,
        Command::Why(command) => command.run(&app).await,
        Command::Policy(command) => command.run(&app).await,
        Command::User(command) => command.run(&app).await,
        Command::Cluster(command) => command.run(&app).await,
        Command::Node(command) => command.run(&app).await,
        Command::Session(command) => command.run(&app).await,
        Command::Audit(command) => command.run(&app).await,
        Command::Store(command) => command.run(&app),
        Command::Advisories(command) => command.run(&app).await,
        Command::Scan(command) => command.run(&app).await,
        Command::Signer(command) => command.run(&app).await,
        Command::Verdict(command) => command.run(&app).await,
        Command::Would(command) => command.run(&app).await,
        Command::Pods(command) => command.run(&app).await,
        Command::Identity(command) => command.run(&app),
        Command::Context(command) => command.run(&app),
        Command::Dev(command) => command.run(&app).await,
        Command::Completion(command) => command.run(&app),
        Command::Man(command) => command.run(&app),
        Command::Help(command) => command.run(&app),
    }
}
