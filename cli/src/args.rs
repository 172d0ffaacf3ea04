//! The command line and the environment: the only place that reads either.

use std::{path::PathBuf, time::Duration};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use etcetera::base_strategy::{BaseStrategy, Xdg};

use crate::{
    commands,
    context::{Address, Wanted},
    failure::{Failure, Result},
    output::Format,
    paths::Paths,
};

/// How long a call may take, at most, whatever is asked for.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// A vault for secrets, from the command line.
///
/// Secrets are maps of fields at paths such as kv/prod/payments. Workloads read what has been granted to them, and nothing
/// else; every answer leaves a receipt in the audit log.
#[derive(Parser)]
#[command(name = "coffer", version, disable_help_subcommand = true, arg_required_else_help = true, max_term_width = 110)]
#[command(after_help = "\
First steps:
  coffer context set prod --address https://vault.example.com:8200 --ca ca.pem
  coffer login alice
  coffer kv put kv/prod/payments user=app password        (asks for the password)
  coffer grant read kv/prod/payments --to k8s:prod/payments/api

`coffer help` shows the topics: exit-codes, words, paths, environment, vault (for who knows Vault).")]
pub(crate) struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// How results and errors are written: table, or json or yaml for scripts
    #[arg(short, long, global = true, value_name = "FORMAT", env = "COFFER_OUTPUT", default_value = "table")]
    #[arg(hide_env = true, hide_possible_values = true)]
    pub(crate) output: Format,
    /// The context to use, in place of the current one
    #[arg(long, global = true, value_name = "NAME", env = "COFFER_CONTEXT", hide_env = true)]
    #[arg(add = crate::complete::contexts())]
    pub(crate) context: Option<String>,
    /// The vault's address: https://HOST[:PORT], port 8200 unless said, or unix:///PATH
    #[arg(long, global = true, value_name = "URL", env = "COFFER_ADDRESS", hide_env = true)]
    pub(crate) address: Option<Address>,
    /// A PEM file with the CA certificates to believe
    #[arg(long, global = true, value_name = "FILE", env = "COFFER_CACERT", hide_env = true)]
    pub(crate) ca: Option<PathBuf>,
    /// The name that the server's certificate must have, where it is not the address's host
    #[arg(long, global = true, value_name = "NAME", env = "COFFER_SERVER_NAME", hide_env = true)]
    pub(crate) server_name: Option<String>,
    /// The tenant [default: default]
    #[arg(long, global = true, value_name = "NAME", env = "COFFER_TENANT", hide_env = true)]
    pub(crate) tenant: Option<String>,
    /// How long a call may take
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = parse_timeout)]
    pub(crate) timeout: Duration,
    /// The file of contexts [default: ~/.config/coffer/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "COFFER_CONFIG", hide_env = true, hide = true)]
    pub(crate) config: Option<PathBuf>,
}

impl Global {
    /// What is said about the vault to talk to.
    #[must_use]
    pub(crate) fn wanted(&self) -> Wanted {
        Wanted {
            context: self.context.clone(),
            address: self.address.clone(),
            ca: self.ca.clone(),
            server_name: self.server_name.clone(),
            tenant: self.tenant.clone(),
        }
    }

    /// Where the command keeps its own files.
    ///
    /// # Errors
    /// Where the user has no home folder and none is given.
    pub(crate) fn paths(&self) -> Result<Paths> {
        Self::places(self.config.clone())
    }

    /// As [`paths`](Self::paths), with the file of contexts where one is named.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn places(config: Option<PathBuf>) -> Result<Paths> {
        let system = Xdg::new().ok();
        let home = system.as_ref().map(BaseStrategy::config_dir);
        let runtime = system.as_ref().and_then(BaseStrategy::runtime_dir);
        let Some(home) = home.or_else(|| config.as_ref().and_then(|file| file.parent()).map(PathBuf::from)) else {
            return Err(Failure::usage("you have no home folder to keep contexts and sessions in")
                .next("set COFFER_CONFIG to a file's path"));
        };
        Ok(Paths::new(config, &home, runtime.as_deref()))
    }
}

/// The whole command line. Options of every command are shown with the first command alone, as kubectl does: with each of
/// them they would bury the few that matter there.
#[must_use]
pub(crate) fn command() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    for child in command.get_subcommands_mut() {
        hide_global(child);
    }
    command
}

fn hide_global(command: &mut clap::Command) {
    let global = |argument: &clap::Arg| argument.get_help_heading() == Some("Global options");
    let after = command.get_after_help().map(|text| format!("{text}\n\n")).unwrap_or_default();
    let owned = std::mem::replace(command, clap::Command::new("taken"));
    *command = owned
        .mut_args(|argument| if global(&argument) { argument.hide(true) } else { argument })
        .after_help(format!("{after}Global options, such as -o json and --context: coffer --help"));
    for child in command.get_subcommands_mut() {
        hide_global(child);
    }
}

/// Reads a command line, the program's name first.
///
/// # Errors
/// clap's, which is also how help and version are asked for.
pub(crate) fn parse(arguments: &[std::ffi::OsString]) -> std::result::Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command().try_get_matches_from(arguments)?)
}

/// The format of errors that come before the command line is understood.
#[must_use]
pub(crate) fn format_of(arguments: &[std::ffi::OsString]) -> Format {
    let format = |text: &str| match text {
        "json" => Some(Format::Json),
        "yaml" => Some(Format::Yaml),
        _ => None,
    };
    let one = |text: &std::ffi::OsString| {
        let text = text.to_str()?;
        format(["--output=", "-o=", "-o"].iter().find_map(|flag| text.strip_prefix(flag))?)
    };
    let two = |pair: &[std::ffi::OsString]| {
        let [flag, value] = pair else { return None };
        (flag == "-o" || flag == "--output").then(|| value.to_str().and_then(format)).flatten()
    };
    let asked = arguments.iter().find_map(one).or_else(|| arguments.windows(2).find_map(two));
    asked.or_else(|| variable("COFFER_OUTPUT").and_then(|value| format(&value))).unwrap_or_default()
}

/// What the command takes from the environment beside its options.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// The user's editor, as a shell command.
    pub(crate) editor: Option<String>,
    /// The user's pager, as a shell command; empty for none.
    pub(crate) pager: Option<String>,
    /// The user's folder of what lives as long as a login; in memory on every usual system.
    pub(crate) runtime: Option<PathBuf>,
    /// Docker's configuration, where registries' passwords are.
    pub(crate) docker_config: Option<PathBuf>,
}

/// Reads the environment.
#[must_use]
pub(crate) fn environment() -> Environment {
    let named = |name| variable(name).filter(|value| !value.trim().is_empty());
    let xdg = Xdg::new().ok();
    let docker = named("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(xdg.as_ref()?.home_dir().join(".docker")));
    Environment {
        editor: named("VISUAL").or_else(|| named("EDITOR")),
        pager: variable("PAGER"),
        runtime: xdg.as_ref().and_then(BaseStrategy::runtime_dir),
        docker_config: docker.map(|folder| folder.join("config.json")),
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the module that reads the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn parse_timeout(text: &str) -> std::result::Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|_| "write a duration such as 10s or 2m".to_owned())?;
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        return Err(format!("a call may take up to {}", humantime::format_duration(TIMEOUT_MAX)));
    }
    Ok(timeout)
}

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    Status(commands::status::Status),
    Doctor(commands::doctor::Doctor),
    #[command(subcommand)]
    Operator(commands::operator::Operator),
    Login(commands::login::Login),
    Logout(commands::login::Logout),
    Whoami(commands::login::Whoami),
    #[command(subcommand)]
    Kv(commands::kv::Kv),
    Run(commands::run::Run),
    #[command(subcommand)]
    Migrate(commands::migrate::Migrate),
    Issue(commands::lease::Issue),
    #[command(subcommand)]
    Lease(commands::lease::Lease),
    #[command(subcommand)]
    Database(commands::database::Database),
    #[command(subcommand)]
    Kubernetes(commands::kubernetes::Kubernetes),
    #[command(subcommand)]
    Transit(commands::transit::Transit),
    #[command(subcommand)]
    Mount(commands::mount::Mount),
    #[command(subcommand)]
    Pki(commands::pki::Pki),
    Grant(commands::grant::Grant),
    Revoke(commands::grant::Revoke),
    Grants(commands::grant::Grants),
    Why(commands::why::Why),
    #[command(subcommand)]
    Would(commands::would::Would),
    #[command(subcommand)]
    Policy(commands::policy::Policy),
    #[command(subcommand)]
    User(commands::user::User),
    #[command(subcommand)]
    Cluster(commands::cluster::Cluster),
    #[command(subcommand)]
    Node(commands::node::Node),
    #[command(subcommand)]
    Session(commands::session::Sessions),
    #[command(subcommand)]
    Audit(commands::audit::Audit),
    #[command(subcommand)]
    Store(commands::store::Store),
    Scan(commands::scan::Scan),
    #[command(subcommand)]
    Advisories(commands::advisories::Advisories),
    #[command(subcommand)]
    Signer(commands::signer::Signer),
    #[command(subcommand)]
    Verdict(commands::verdict::Verdict),
    Pods(commands::pods::Pods),
    #[command(subcommand)]
    Identity(commands::identity::IdentityCommand),
    #[command(subcommand)]
    Context(commands::context::ContextCommand),
    Dev(commands::dev::Dev),
    Completion(commands::shell::Completion),
    Man(commands::shell::Man),
    Help(commands::help::Help),
}

/// Reads how long a credential should last.
pub(crate) fn parse_ttl(text: &str) -> std::result::Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|_| "write a duration such as 30m, 12h or 30d".to_owned())?;
    if ttl.subsec_nanos() != 0 || ttl.is_zero() {
        return Err("a credential lasts whole seconds, at least one".to_owned());
    }
    Ok(ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_option_says_what_it_does() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} has no help");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path} {} has no help", argument.get_id());
            }
            for child in command.get_subcommands() {
                check(child, &path);
            }
        }
        check(&Cli::command(), "");
    }

    #[test]
    fn no_command_has_an_argument_of_the_name_of_a_global_one() {
        fn check(command: &clap::Command, globals: &[&str], path: &str) {
            let path = format!("{path} {}", command.get_name());
            for argument in command.get_arguments() {
                let is_global = globals.iter().any(|name| *name == argument.get_id().as_str());
                assert!(!is_global || argument.is_global_set(), "{path}: {} is a global option's name", argument.get_id());
            }
            command.get_subcommands().for_each(|child| check(child, globals, &path));
        }
        let command = Cli::command();
        let globals = command.get_arguments().filter(|argument| argument.is_global_set());
        let globals: Vec<_> = globals.map(|argument| argument.get_id().as_str()).collect();
        assert!(globals.len() > 5);
        command.get_subcommands().for_each(|child| check(child, &globals, "coffer"));
    }

    #[test]
    fn the_format_of_early_errors_follows_the_flag() {
        let format = |arguments: &[&str]| format_of(&arguments.iter().map(std::ffi::OsString::from).collect::<Vec<_>>());
        for json in [&["coffer", "-o", "json", "x"][..], &["coffer", "--output=json"], &["coffer", "kv", "-ojson"]] {
            assert_eq!(format(json), Format::Json, "{json:?}");
        }
        assert_eq!(format(&["coffer", "-oyaml"]), Format::Yaml);
        assert_eq!(format(&["coffer", "--output", "yaml"]), Format::Yaml);
        assert_eq!(format(&["coffer", "kv", "json", "-o", "table"]), Format::Table);
    }

    #[test]
    fn a_timeout_has_bounds() {
        for good in ["1ms", "10s", "10m"] {
            assert!(parse_timeout(good).is_ok(), "{good}");
        }
        for bad in ["0s", "601s", "10", "", "-1s"] {
            assert!(parse_timeout(bad).is_err(), "{bad}");
        }
    }
}
