//! `coffer context`: choosing between vaults.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    app::App,
    context::{Context, Contexts, Target, check_name},
    exit::Exit,
    failure::{Failure, Result},
    output::{Table, View, pairs},
    session::Session,
};

/// Choose between vaults
#[derive(Subcommand)]
pub(crate) enum ContextCommand {
    #[command(visible_alias = "ls")]
    List(List),
    Use(Use),
    Set(Set),
    Show(Show),
    #[command(visible_alias = "rm")]
    Delete(Delete),
}

impl ContextCommand {
    pub(crate) fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::List(command) => command.run(app),
            Self::Use(command) => command.run(app),
            Self::Set(command) => command.run(app),
            Self::Show(command) => command.run(app),
            Self::Delete(command) => command.run(app),
        }
    }
}

/// List contexts
#[derive(Args)]
pub(crate) struct List {}

#[derive(Serialize)]
struct ContextJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    current: bool,
    #[serde(flatten)]
    context: &'a Context,
}

impl List {
    fn run(self, app: &App) -> Result<Exit> {
        let contexts = Contexts::read(&app.paths.config)?;
        let current = contexts.current.as_deref();
        let json: Vec<ContextJson<'_>> = contexts
            .contexts
            .iter()
            .map(|(name, context)| ContextJson { name: Some(name), current: current == Some(name), context })
            .collect();
        app.out.long(&json, |view| render(&contexts, view))?;
        Ok(Exit::Done)
    }
}

fn render(contexts: &Contexts, view: &View) -> String {
    let mut table = Table::new(&["NAME", "CURRENT", "ADDRESS", "TENANT", "CA"]);
    for (name, context) in &contexts.contexts {
        table.row([
            name.clone(),
            if contexts.current.as_ref() == Some(name) { "*".to_owned() } else { " ".to_owned() },
            context.address.to_string(),
            context.tenant.clone().unwrap_or_default(),
            context.ca.as_ref().map(|file| file.display().to_string()).unwrap_or_default(),
        ]);
    }
    table.render(view, "No contexts. Make one: coffer context set NAME --address https://HOST:PORT --ca CA.pem")
}

/// Make a context the current one
#[derive(Args)]
pub(crate) struct Use {
    /// The context's name
    #[arg(add = crate::complete::contexts())]
    name: String,
}

impl Use {
    fn run(self, app: &App) -> Result<Exit> {
        let mut contexts = Contexts::read(&app.paths.config)?;
        let address = contexts.named(&self.name)?.address.clone();
        contexts.current = Some(self.name.clone());
        contexts.write(&app.paths.config)?;
        let json = serde_json::json!({ "name": self.name, "address": address });
        app.out.result(&json, |_| format!("Commands now talk to {address} ({}).", self.name))?;
        Ok(Exit::Done)
    }
}

/// Make or change a context
///
/// What --address, --ca, --server-name and --tenant say is kept. The first context becomes the current one.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer context set prod --address https://vault.example.com:8200 --ca ca.pem
  coffer context set here --address unix:///run/coffer/coffer.sock --use")]
pub(crate) struct Set {
    /// The context's name
    #[arg(value_parser = check_name)]
    name: String,
    /// Make it the current one
    #[arg(long = "use")]
    make_current: bool,
}

impl Set {
    fn run(self, app: &App) -> Result<Exit> {
        let mut contexts = Contexts::read(&app.paths.config)?;
        let known = contexts.contexts.get(&self.name);
        let wanted = &app.wanted;
        let address = wanted.address.clone().or_else(|| known.map(|known| known.address.clone()));
        let Some(address) = address else {
            return Err(Failure::usage("the address is missing")
                .next(format!("coffer context set {} --address https://HOST:PORT", self.name)));
        };
        let ca = wanted.ca.as_ref().map(absolute).transpose()?;
        let context = Context {
            address,
            ca: ca.or_else(|| known.and_then(|known| known.ca.clone())),
            server_name: wanted.server_name.clone().or_else(|| known.and_then(|known| known.server_name.clone())),
            tenant: wanted.tenant.clone().or_else(|| known.and_then(|known| known.tenant.clone())),
        };
        if self.make_current || contexts.contexts.is_empty() {
            contexts.current = Some(self.name.clone());
        }
        contexts.contexts.insert(self.name.clone(), context.clone());
        contexts.write(&app.paths.config)?;
        let current = contexts.current.as_deref() == Some(self.name.as_str());
        app.out.result(&ContextJson { name: Some(&self.name), current, context: &context }, |_| {
            let hint = if current { String::new() } else { format!("; to use it: coffer context use {}", self.name) };
            format!("Context {} is {}{hint}.", self.name, context.address)
        })?;
        if context.ca.is_none() && context.address.as_str().starts_with("https://") {
            app.out.note("no CA is set: commands will need --ca FILE");
        }
        Ok(Exit::Done)
    }
}

/// The file's full path, so that the context means the same file from every folder.
fn absolute(file: &PathBuf) -> Result<PathBuf> {
    if !file.is_file() {
        return Err(Failure::usage(format!("{} is not a file", file.display())));
    }
    std::path::absolute(file).map_err(|error| Failure::file("find", file, &error))
}

/// Show the vault that commands talk to now
#[derive(Args)]
pub(crate) struct Show {}

#[derive(Serialize)]
struct ShowJson<'a> {
    #[serde(flatten)]
    context: ContextJson<'a>,
    principal: Option<&'a str>,
}

impl Show {
    fn run(self, app: &App) -> Result<Exit> {
        let contexts = Contexts::read(&app.paths.config)?;
        let target = Target::choose(&app.wanted, &contexts)?;
        let session = Session::read(&app.paths, &target)?;
        let principal = session.as_ref().map(|session| session.principal.as_str());
        let current = target.context.is_some() && target.context == contexts.current;
        let context = ContextJson { name: target.context.as_deref(), current, context: &target.vault };
        app.out.result(&ShowJson { context, principal }, |_| {
            pairs(&[
                ("Context", target.context.clone().unwrap_or_default()),
                ("Address", target.vault.address.to_string()),
                ("Tenant", target.tenant().to_owned()),
                ("CA", target.vault.ca.as_ref().map(|file| file.display().to_string()).unwrap_or_default()),
                ("Server name", target.vault.server_name.clone().unwrap_or_default()),
                ("Logged in as", principal.unwrap_or_default().to_owned()),
                ("Contexts in", app.paths.config.display().to_string()),
                ("Sessions in", app.paths.sessions.display().to_string()),
            ])
        })?;
        Ok(Exit::Done)
    }
}

/// Forget a context and its session
#[derive(Args)]
pub(crate) struct Delete {
    /// The context's name
    #[arg(add = crate::complete::contexts())]
    name: String,
}

impl Delete {
    fn run(self, app: &App) -> Result<Exit> {
        let mut contexts = Contexts::read(&app.paths.config)?;
        let vault = contexts.named(&self.name)?.clone();
        Session::remove(&app.paths, &Target { context: Some(self.name.clone()), vault })?;
        contexts.contexts.remove(&self.name);
        if contexts.current.as_deref() == Some(self.name.as_str()) {
            contexts.current = None;
        }
        contexts.write(&app.paths.config)?;
        app.out.result(&serde_json::json!({ "deleted": self.name }), |_| format!("Context {} is forgotten.", self.name))?;
        if contexts.current.is_none() && !contexts.contexts.is_empty() {
            app.out.note("no context is current now; choose one: coffer context use NAME");
        }
        Ok(Exit::Done)
    }
}
