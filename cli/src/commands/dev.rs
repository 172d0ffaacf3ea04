//! `coffer dev`: a vault of one's own, to develop with.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use coffer_client::Session as LoggedIn;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    app::App,
    context::{Context, Contexts, Target, check_name},
    exit::Exit,
    failure::{Failure, Result},
    memory::{self, MemoryFolder},
    session::{Key, Session},
};

mod issuer;
mod server;
mod setup;
mod state;

use issuer::Issuer;
use server::Server;
use setup::Person;
use state::State;

/// What the contexts are called unless it is said.
const NAME_DEFAULT: &str = "dev";
/// The cluster whose tokens `coffer dev token` makes.
const CLUSTER: &str = "dev";
/// The longest that such a token may live: a day.
const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(86_400);

/// Run a vault to develop with: everything in memory, gone when it ends
///
/// Starts coffer-server on a free port of this machine, initialises and unseals it, and logs you in: context `dev` may
/// read and write everything at kv/, `dev-admin`, `dev-officer` and `dev-auditor` have the roles. It is the same server
/// with the same API as in production, TLS and policy included. Ctrl-C, SIGTERM or `coffer dev stop` ends it and removes
/// all of it, contexts included.
///
/// A cluster `dev` is registered, whose tokens `coffer dev token` makes: with them an application or the agent logs in as
/// it does in Kubernetes.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  coffer dev
  coffer dev --seed secrets.json                {\"kv/app/db\": {\"user\": \"app\", \"password\": \"x\"}}
  coffer --context dev kv get kv/app/db         in another terminal
  coffer dev token shop/api > token")]
pub(crate) struct Dev {
    #[command(subcommand)]
    command: Option<DevCommand>,
    /// The port; a free one unless said
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Secrets to begin with: a JSON file of paths, each with its fields
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// What the contexts are called
    #[arg(long, value_name = "NAME", default_value = NAME_DEFAULT, value_parser = check_name)]
    name: String,
    /// The server's program [default: coffer-server beside this command, or in PATH]
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
}

#[derive(Subcommand)]
enum DevCommand {
    Stop(Stop),
    Token(Token),
}

impl Dev {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self.command {
            Some(DevCommand::Stop(command)) => command.run(app).await,
            Some(DevCommand::Token(command)) => command.run(app),
            None => self.serve(app).await,
        }
    }

    async fn serve(&self, app: &App) -> Result<Exit> {
        // From here on whatever ends this command ends it in order.
        let mut end = server::End::new()?;
        let folder = folder(app)?;
        if memory::is_held(&folder) {
            return Err(Failure::new(Exit::Conflict, "a development server runs already").next("coffer dev stop ends it"));
        }
        state::clear(app, &folder)?;
        free_names(app, &self.name)?;
        let seed = self.seed.as_deref().map(|file| setup::seed(app, file)).transpose()?;
        let folder = MemoryFolder::at(folder)?;
        let mut server = Server::start(&folder, self.server.as_deref(), self.port)?;
        let state = State { process: std::process::id(), server: server.id(), name: self.name.clone() };
        state.write(&folder)?;
        let done = tokio::select! {
            done = self.ready(app, &folder, &mut server, seed) => done,
            () = end.wanted() => Err(Failure::new(Exit::Failed, "the command was told to end")),
        };
        let done = match done {
            Ok(()) => tokio::select! {
                () = end.wanted() => Ok(Exit::Done),
                why = server.ended() => Err(why),
            },
            Err(failure) => Err(failure),
        };
        server.stop().await;
        state.forget(app)?;
        drop(folder);
        if done.is_ok() {
            app.out.note("the development server has ended; nothing of it is left");
        }
        done
    }

    /// Waits for the server and makes it ready to be used.
    async fn ready(&self, app: &App, folder: &MemoryFolder, server: &mut Server, seed: Option<setup::Seed>) -> Result<()> {
        let address = server.address().await?;
        let ca = folder.path().join("tls/ca.pem");
        let issuer = Issuer::new(folder)?;
        let people = setup::all(app, folder, &address, &ca, &issuer, seed).await?;
        for person in &people {
            self.remember(app, person, &address, &ca)?;
        }
        let about = About::new(&self.name, &address, &ca, folder);
        app.out.result(&about, |_| about.text())
    }

    /// Makes a context for somebody, and keeps the session for it.
    fn remember(&self, app: &App, person: &Person, address: &str, ca: &std::path::Path) -> Result<()> {
        let name = state::context(&self.name, person.role);
        let address = address.parse().map_err(Failure::usage)?;
        let vault = Context { address, ca: Some(ca.to_owned()), server_name: None, tenant: None };
        let mut contexts = Contexts::read(&app.paths.config)?;
        contexts.contexts.insert(name.clone(), vault.clone());
        if contexts.current.is_none() {
            contexts.current = Some(name.clone());
        }
        contexts.write(&app.paths.config)?;
        let LoggedIn { id, principal, expires } = person.session.clone();
        let token = person.client.session_token().ok_or_else(|| Failure::new(Exit::Failed, "a login left no session"))?;
        let key = Key::Kept(person.identity.to_pem());
        let session = Session { token, key, principal, id, expires: Timestamp::try_from(expires).ok() };
        session.write(&app.paths, &Target { context: Some(name), vault })
    }
}

/// Where the development server's files are.
fn folder(app: &App) -> Result<PathBuf> {
    Ok(memory::home(app)?.join("dev"))
}

/// Finds the contexts' names to be free, or left over from a server of this kind.
fn free_names(app: &App, name: &str) -> Result<()> {
    let contexts = Contexts::read(&app.paths.config)?;
    for context in state::ROLES.map(|role| state::context(name, role)) {
        if contexts.contexts.contains_key(&context) {
            return Err(Failure::new(Exit::Conflict, format!("there is a context {context} already"))
                .why("the development server's contexts would take its place")
                .next("choose another name: coffer dev --name NAME"));
        }
    }
    Ok(())
}

/// What there is to know about the server.
#[derive(Serialize)]
struct About {
    address: String,
    ca: PathBuf,
    socket: PathBuf,
    contexts: Vec<String>,
    cluster: &'static str,
    passwords: PathBuf,
    #[serde(skip)]
    name: String,
}

impl About {
    fn new(name: &str, address: &str, ca: &std::path::Path, folder: &MemoryFolder) -> Self {
        Self {
            address: address.to_owned(),
            ca: ca.to_owned(),
            socket: folder.path().join("coffer.sock"),
            contexts: state::ROLES.iter().map(|role| state::context(name, role)).collect(),
            cluster: CLUSTER,
            passwords: folder.path().join("passwords"),
            name: name.to_owned(),
        }
    }

    fn text(&self) -> String {
        let Self { name, address, ca, .. } = self;
        format!(
            "A development server is at {address}; all of it is in memory, and gone when it ends.\n\
             \n\
             In another terminal:\n  \
               export COFFER_CONTEXT={name}\n  \
               coffer kv put kv/app/db user=app password        (asks for the password)\n  \
               coffer kv get kv/app/db\n\
             \n\
             As a workload:\n  \
               coffer --context {name}-officer grant read kv/app/db --to k8s:{CLUSTER}/shop/api\n  \
               coffer dev token shop/api > token                (the agent's and the client's token file)\n  \
               CA file: {}\n\
             \n\
             With a role: --context {name}-admin, {name}-officer or {name}-auditor.\n\
             To end it: Ctrl-C, or coffer dev stop.",
            ca.display()
        )
    }
}

/// End the development server and remove all of it
#[derive(Args)]
struct Stop {}

impl Stop {
    async fn run(self, app: &App) -> Result<Exit> {
        let folder = folder(app)?;
        let ran = state::stop(app, &folder).await?;
        let json = serde_json::json!({ "stopped": ran });
        app.out.result(&json, |_| {
            match ran {
                true => "The development server has ended; nothing of it is left.",
                false => "No development server runs.",
            }
            .to_owned()
        })?;
        Ok(Exit::Done)
    }
}

/// Print a service-account token of the development cluster
///
/// Of the kind that Kubernetes projects into a pod, for the audience coffer, from a pod that never was: its holder logs in
/// as k8s:dev/NAMESPACE/SERVICE-ACCOUNT. It opens nothing anywhere else.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer dev token shop/api > token
  coffer --context dev login --method kubernetes --token-file token
  coffer dev token shop/api --lifetime 10m -o json")]
struct Token {
    /// Whose token it is
    #[arg(value_name = "NAMESPACE/SERVICE-ACCOUNT")]
    account: String,
    /// How long it lives, up to a day
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_lifetime)]
    lifetime: Duration,
}

impl Token {
    fn run(self, app: &App) -> Result<Exit> {
        let Some((namespace, account)) =
            self.account.split_once('/').filter(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains('/'))
        else {
            return Err(Failure::usage(format!("'{}' is no service account", self.account))
                .next("write NAMESPACE/SERVICE-ACCOUNT, as shop/api"));
        };
        let folder = folder(app)?;
        if !memory::is_held(&folder) {
            return Err(Failure::new(Exit::Unavailable, "no development server runs").next("coffer dev"));
        }
        let issuer = Issuer::read(app, &folder)?;
        let now = app.out.view.now;
        let token = issuer.token(namespace, account, now, self.lifetime)?;
        if app.out.format == crate::output::Format::Table {
            app.out.raw(token.expose().as_bytes())?;
            return Ok(Exit::Done);
        }
        let expires = now.as_second().saturating_add(i64::try_from(self.lifetime.as_secs()).unwrap_or(0));
        let json = serde_json::json!({
            "principal": format!("k8s:{CLUSTER}/{namespace}/{account}"),
            "expires": Timestamp::from_second(expires).ok().map(|time| format!("{time:.3}")),
            "token": token.expose(),
        });
        app.out.result(&json, |_| String::new())?;
        Ok(Exit::Done)
    }
}

fn parse_lifetime(text: &str) -> std::result::Result<Duration, String> {
    let lifetime = humantime::parse_duration(text).map_err(|_| "write a duration such as 10m or 1h".to_owned())?;
    if lifetime.as_secs() == 0 || lifetime > TOKEN_LIFETIME_MAX {
        return Err("a token lives from 1s to 1day".into());
    }
    Ok(lifetime)
}
