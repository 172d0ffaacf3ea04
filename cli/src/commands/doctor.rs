//! `coffer doctor`: what may be wrong between a person and the vault, and in a cluster whose pods it serves.

use std::path::Path;

use clap::Args;
use coffer_client::{
    Error, Options, Place, Probe,
    proto::{GetSealStatusRequest, GetSealStatusResponse, GetSelfRequest},
};
use jiff::{Timestamp, fmt::rfc2822};

use crate::{
    app::{App, answer, new_identity},
    context::{Contexts, Target},
    exit::Exit,
    failure::Result,
    memory,
    output::age,
    session::Session,
};

mod certificate;
mod checks;
mod kubernetes;

use certificate::Dates;
use checks::{Checks, State, render};

/// A certificate that ends within this many seconds is worth a word: 14 days.
const CERTIFICATE_SOON_SECS: i64 = 14 * 86_400;
/// A session that ends within this many seconds is worth a word.
const SESSION_SOON_SECS: i64 = 15 * 60;
/// Seconds between the clocks of this machine and of the vault that do no harm.
const CLOCK_SECS: i64 = 5;
/// Seconds between them with which certificates and tokens are refused here and there.
const CLOCK_SECS_MAX: i64 = 60;

/// Check what lies between you and the vault, and in a cluster
///
/// The context, the address, the network, TLS and its certificates, the clock, the server, your session and this machine. Each line
/// says whether it is good; where it is not, what to do. The exit status is 7 where something is broken.
///
/// With --kubernetes it looks at a cluster as well, through kubectl and what you may see there: the injector's webhook, its
/// certificates and its policy, pods that asked for secrets and lack the agent, agents that cannot start and their own word on why, the
/// vault's CA in the namespaces of pods, clocks, the cluster's registration, and grants that pods lack. What cannot be seen is said to be
/// skipped, with the right that it takes. Nothing is changed, and no value is read.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer doctor
  coffer doctor --kubernetes                                  all namespaces of kubectl's cluster
  coffer doctor --kubernetes --namespace shop --cluster prod
  coffer doctor --kubernetes -o json | jq '.checks[] | select(.state == \"fail\")'")]
pub(crate) struct Doctor {
    /// Look at a Kubernetes cluster as well, with kubectl
    #[arg(long)]
    kubernetes: bool,
    /// Look only at pods of this namespace
    #[arg(short, long, value_name = "NAMESPACE", requires = "kubernetes")]
    namespace: Option<String>,
    /// The context of kubectl, in place of its current one
    #[arg(long, value_name = "CONTEXT", requires = "kubernetes")]
    kube_context: Option<String>,
    /// The name under which the vault knows the cluster, where its issuer does not tell
    #[arg(long, value_name = "NAME", requires = "kubernetes", add = crate::complete::clusters())]
    cluster: Option<String>,
}

/// What the server says to anybody, and how far its clock is from this machine's.
struct Told {
    status: GetSealStatusResponse,
    /// Seconds that this machine is before the server.
    clock_secs: Option<i64>,
}

impl Doctor {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let mut checks = Checks::default();
        let mut reached = kubernetes::Reached::default();
        match app.target() {
            Ok(target) => {
                context(app, &target, &mut checks);
                if let Some(told) = way(app, &target, &mut checks).await {
                    of_server(&told.status, &mut checks);
                    if !told.status.sealed {
                        session(app, &target, &mut checks).await;
                    }
                    reached = kubernetes::Reached {
                        target: Some(target),
                        clock_secs: told.clock_secs,
                        is_unsealed: told.status.initialised && !told.status.sealed,
                    };
                }
            }
            Err(failure) => checks.failure("context", *failure),
        }
        machine(app, &mut checks);
        if self.kubernetes {
            kubernetes::look(app, &self, &reached, &mut checks).await;
        }
        let broken = checks.0.iter().any(|check| check.state == State::Fail);
        let json = serde_json::json!({ "ok": !broken, "checks": checks.0 });
        app.out.result(&json, |view| render(&checks, view))?;
        Ok(if broken { Exit::CheckFailed } else { Exit::Done })
    }
}

fn context(app: &App, target: &Target, checks: &mut Checks) {
    let current = Contexts::read(&app.paths.config).ok().and_then(|contexts| contexts.current);
    let name = match &target.context {
        Some(name) if current.as_ref() == Some(name) => format!("{name}, the current one"),
        Some(name) => format!("{name}, in place of the current one"),
        None => "an address alone".to_owned(),
    };
    checks.ok("context", format!("{name}: {}, tenant {}", target.vault.address, target.tenant()));
}

/// The network and TLS, as far as they lead; then what the server says to anybody.
async fn way(app: &App, target: &Target, checks: &mut Checks) -> Option<Told> {
    let now = app.out.view.now;
    if let Some(ca) = &target.vault.ca {
        bundle(ca, now, checks);
    } else if !target.vault.address.is_local() {
        checks.fail("CA", "no CA certificate is named", "coffer context set NAME --ca CA.pem: the server keeps it in tls/ca.pem");
        return None;
    }
    let probe = match probe(app, target).await {
        Ok(probe) => probe,
        Err(error) => {
            checks.fail("address", error, "coffer context show tells the address; is its name written right?");
            return None;
        }
    };
    if let Ok(Place::Network(host, _)) = coffer_client::place(target.vault.address.as_str()) {
        let addresses: Vec<String> = probe.addresses.iter().map(|address| address.ip().to_string()).collect();
        if host.parse::<std::net::IpAddr>().is_err() {
            checks.ok("address", format!("{host} is {}", addresses.join(", ")));
        }
    }
    match &probe.connected {
        Ok(()) => checks.ok("connection", "something listens there"),
        Err(error) => {
            let next = "is the server running, and no firewall between? On its machine: systemctl status coffer-server";
            checks.fail("connection", format!("nobody listens there: {}", crate::failure::plain(error)), next);
            return None;
        }
    }
    match &probe.certificates {
        Err(error) => {
            checks.fail("TLS", error.to_string(), tls_advice(error));
            return None;
        }
        Ok(certificates) => {
            if let Some(own) = certificates.first() {
                dates("TLS", "the server's certificate", own, now, checks);
            }
        }
    }
    asked(app, target, checks).await
}

async fn probe(app: &App, target: &Target) -> std::result::Result<Probe, String> {
    let identity = new_identity().map_err(|failure| failure.what)?;
    let mut options = Options::new(target.vault.address.as_str(), identity);
    options.ca.clone_from(&target.vault.ca);
    options.server_name.clone_from(&target.vault.server_name);
    options.connect_timeout = options.connect_timeout.min(app.timeout);
    coffer_client::probe(&options).await.map_err(|error| error.to_string())
}

fn tls_advice(error: &Error) -> String {
    let text = error.to_string();
    let has = |word: &str| text.contains(word);
    if has("Expired") {
        "the server's certificate has ended: the server makes a new one at each start, or when it gets SIGHUP".into()
    } else if has("NotValidForName") {
        "the certificate is for another name: use that in the address, or say --server-name; the server's tls.names has them"
            .into()
    } else if has("UnknownIssuer") || has("BadSignature") {
        "the CA file is of another server, or an older one: copy tls/ca.pem from the server anew".into()
    } else {
        "is it a Coffer server that listens there? It speaks TLS 1.3 and nothing else".into()
    }
}

/// The certificates in the CA file.
fn bundle(path: &Path, now: Timestamp, checks: &mut Checks) {
    match certificate::of_bundle(path) {
        Ok(all) => {
            let ended = all.iter().filter(|dates| dates.until <= now).count();
            let found = match all.len() {
                1 => "1 certificate".to_owned(),
                number => format!("{number} certificates"),
            };
            if ended == all.len() {
                checks.fail("CA", format!("{}: {found}, ended", path.display()), "copy tls/ca.pem from the server anew");
            } else if let Some(soonest) = all.iter().map(|dates| dates.until).filter(|until| *until > now).min() {
                let left = age(u64::try_from(soonest.as_second() - now.as_second()).unwrap_or(0));
                checks.ok("CA", format!("{}: {found}, good for {left}", path.display()));
            }
        }
        Err(why) => checks.fail("CA", format!("{}: {why}", path.display()), "coffer context set NAME --ca CA.pem"),
    }
}

fn dates(name: &'static str, what: &str, der: &[u8], now: Timestamp, checks: &mut Checks) {
    let Some(Dates { from, until }) = certificate::dates(der) else {
        return checks.warn(name, format!("{what} is believed, and cannot be read here"), "coffer doctor of a newer version may");
    };
    let left = until.as_second() - now.as_second();
    if from > now {
        checks.fail(name, format!("{what} begins in the future"), "set this machine's clock");
    } else if left < CERTIFICATE_SOON_SECS {
        let left = age(u64::try_from(left).unwrap_or(0));
        checks.warn(name, format!("{what} ends in {left}"), "send the server SIGHUP once it has a new one");
    } else {
        checks.ok(name, format!("TLS 1.3; {what} is believed, and good for {}", age(u64::try_from(left).unwrap_or(0))));
    }
}

/// What the server says to anybody, and when.
async fn asked(app: &App, target: &Target, checks: &mut Checks) -> Option<Told> {
    let asked = async {
        let client = app.client(target, new_identity()?)?;
        let attempt = crate::advice::Attempt::new("read the status");
        answer(&attempt, client.system().get_seal_status(GetSealStatusRequest {}).await)
    };
    match asked.await {
        Ok(response) => {
            let date = response.metadata().get("date").and_then(|date| date.to_str().ok().map(str::to_owned));
            let clock_secs = clock(date.as_deref(), Timestamp::now(), checks);
            Some(Told { status: response.into_inner(), clock_secs })
        }
        Err(failure) => {
            checks.failure("server", *failure);
            None
        }
    }
}

/// Says how far this machine's clock is from the server's; in seconds, where that is known.
fn clock(date: Option<&str>, now: Timestamp, checks: &mut Checks) -> Option<i64> {
    let theirs = date.and_then(|date| rfc2822::parse(date).ok())?.timestamp();
    let seconds = now.as_second() - theirs.as_second();
    apart("clock", seconds, ["this machine's", "the server's"], checks);
    Some(seconds)
}

/// Says how far a clock is before another one.
fn apart(name: &'static str, seconds: i64, [one, other]: [&str; 2], checks: &mut Checks) {
    let which = if seconds > 0 { "before" } else { "behind" };
    let found = format!("{one} clock is {} {which} {other}", age(seconds.unsigned_abs()));
    match seconds.abs() {
        0..=CLOCK_SECS => checks.ok(name, format!("{one} and {other} are within {CLOCK_SECS} s")),
        apart_secs if apart_secs <= CLOCK_SECS_MAX => checks.warn(name, found, "is time synchronised? timedatectl"),
        _ => checks.fail(
            name,
            found,
            "synchronise time (timedatectl): sessions, tokens and certificates seem to begin or end at the wrong moment",
        ),
    }
}

fn of_server(server: &GetSealStatusResponse, checks: &mut Checks) {
    let own = env!("CARGO_PKG_VERSION");
    if server.version == own {
        checks.ok("version", format!("server and command are {own}"));
    } else {
        let found = format!("the server is {}, this command {own}", server.version);
        checks.warn("version", found, "use the command of the server's version; others may lack what it can do");
    }
    if !server.initialised {
        checks.fail("vault", "not initialised", "coffer operator init, on the server's machine");
    } else if server.sealed {
        let progress = server.unseal.as_ref().map(|unseal| format!(": {} of {} shares", unseal.received, unseal.needed));
        checks.fail("vault", format!("sealed{}", progress.unwrap_or_default()), "coffer operator unseal");
    } else {
        checks.ok("vault", format!("{}, unsealed", server.vault_id));
    }
    for warning in &server.warnings {
        checks.warn("vault", warning, "docs/server.md");
    }
}

async fn session(app: &App, target: &Target, checks: &mut Checks) {
    if target.vault.address.is_local() {
        return checks.ok("session", "none: the local socket is for init, unseal and status");
    }
    let vault = match app.vault() {
        Ok(vault) => vault,
        Err(failure) if matches!(Session::read(&app.paths, target), Ok(None)) => {
            return checks.warn("session", "not logged in", failure.next.unwrap_or_default());
        }
        Err(failure) => return checks.failure("session", *failure),
    };
    let attempt = vault.attempt("use the session");
    match answer(&attempt, vault.client.auth().get_self(GetSelfRequest {}).await) {
        Err(failure) => checks.failure("session", *failure),
        Ok(who) => {
            let who = who.into_inner();
            let left = who.expires.map_or(0, |expires| expires.seconds - app.out.view.now.as_second());
            let roles = if who.roles.is_empty() { "no role".to_owned() } else { who.roles.join(", ") };
            let found = format!("{} ({roles}), ends in {}", who.principal, age(u64::try_from(left).unwrap_or(0)));
            if left < SESSION_SOON_SECS {
                let name = who.principal.strip_prefix("operator:").unwrap_or("NAME").to_owned();
                checks.warn("session", found, format!("coffer login {name}"));
            } else {
                checks.ok("session", found);
            }
        }
    }
}

fn machine(app: &App, checks: &mut Checks) {
    match memory::home(app) {
        Ok(home) => checks.ok("memory", format!("{} is in memory, for kv edit, run and dev", home.display())),
        Err(failure) => checks.warn("memory", failure.what, failure.next.unwrap_or_default()),
    }
    let sessions = &app.paths.sessions;
    if sessions.exists() && memory::is_memory(sessions).is_err() {
        let found = format!("sessions are kept on a disk: {}", sessions.display());
        checks.warn("sessions", found, "where XDG_RUNTIME_DIR is set they are in memory, and gone after the last logout");
    }
    if crate::input::stdin_is_terminal() {
        checks.ok("terminal", "passwords and values can be asked for");
    } else {
        checks.ok("terminal", "none: passwords and values come from files, or standard input");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::View;

    #[test]
    fn clocks_that_are_apart_are_told_by_how_far() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for (date, expected) in [
            ("Fri, 15 Jan 2027 08:00:03 GMT", Some(State::Ok)),
            ("Fri, 15 Jan 2027 07:59:40 GMT", Some(State::Warn)),
            ("Fri, 15 Jan 2027 08:02:00 GMT", Some(State::Fail)),
            ("soon", None),
        ] {
            let mut checks = Checks::default();
            clock(Some(date), now, &mut checks);
            assert_eq!(checks.0.first().map(|check| check.state), expected, "{date}: {checks:?}");
        }
        let mut checks = Checks::default();
        clock(Some("Fri, 15 Jan 2027 08:02:00 GMT"), now, &mut checks);
        assert!(checks.0[0].found.contains("2m behind"), "{checks:?}");
    }

    #[test]
    fn what_is_broken_says_what_to_do() {
        let mut checks = Checks::default();
        let sealed = GetSealStatusResponse { initialised: true, sealed: true, version: "9.9.9".into(), ..Default::default() };
        of_server(&sealed, &mut checks);
        let view = View { now: Timestamp::UNIX_EPOCH, width: None };
        let text = anstream::adapter::strip_str(&render(&checks, &view)).to_string();
        assert!(text.contains("WARN   the server is 9.9.9") && text.contains("next: coffer operator unseal"), "{text}");
        assert!(checks.0.iter().filter(|check| check.state != State::Ok).all(|check| check.next.is_some()));
    }
}
