//! `coffer login`, `logout` and `whoami`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use coffer_client::{Client, Session as LoggedIn, proto::GetSealStatusRequest};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    advice::Attempt,
    app::{App, answer, new_identity},
    exit::Exit,
    failure::{Answer, Failure, Result},
    input::{CREDENTIAL_BYTES_MAX, PASSWORD_BYTES_MAX, Source},
    output::{age, pairs, rfc3339, until},
    session::{Key, Session},
};

/// How to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// With an operator's password
    Password,
    /// With an operator's client certificate: --identity FILE
    Certificate,
    /// With the bootstrap credential of `coffer operator init` or `recover`
    Bootstrap,
    /// As a workload, with a Kubernetes service-account token: --token-file FILE
    Kubernetes,
}

/// Log in: the session is kept for the commands that follow
///
/// The session is bound to a key that is made for it, or to your own with --method certificate; the token alone opens
/// nothing. Both are kept in your run-time folder ($XDG_RUNTIME_DIR/coffer), which is in memory, or beside the contexts
/// where there is none. Passwords and credentials are asked for, hidden, or read from a file; never from the command
/// line, which other users of the machine can see.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer login alice
  coffer login alice --password-file - < password.txt
  coffer login --method certificate --identity alice.pem alice
  coffer login --method bootstrap                       with a new vault")]
pub(crate) struct Login {
    /// The operator's name
    name: Option<String>,
    /// How to log in
    #[arg(short, long, default_value = "password")]
    method: Method,
    /// A file with the password on its only line; - for standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,
    /// A file with the bootstrap credential; - for standard input
    #[arg(long, value_name = "FILE")]
    credential_file: Option<String>,
    /// A PEM file with your certificate and private key (`coffer identity create` makes one)
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// A file with a projected service-account token
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
    /// The cluster whose keys verify the token; needed where several have the same issuer
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

impl Login {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        self.check()?;
        let target = app.target()?;
        if target.vault.address.is_local() {
            return Err(Failure::usage("a login is not possible over the local socket")
                .why("a session is bound to the key of a TLS connection, and the socket has none")
                .next(
                    "coffer --address https://HOST:PORT --ca CA.pem login, or choose such a context: coffer context use NAME",
                ));
        }
        let key = match &self.identity {
            Some(file) => Key::File(std::path::absolute(file).map_err(|error| Failure::file("find", file, &error))?),
            None => Key::Kept(new_identity()?.to_pem()),
        };
        let client = app.client(&target, app.identity(&key)?)?;
        if self.asks() {
            can_log_in(&client).await?;
        }
        let session = self.log_in(app, &client, target.tenant()).await?;
        let token = client.session_token().ok_or_else(|| Failure::new(Exit::Failed, "the vault gave no session"))?;
        let expires = Timestamp::try_from(session.expires).ok();
        let kept = Session { token, key, principal: session.principal, id: session.id, expires };
        kept.write(&app.paths, &target)?;
        report(app, &kept, target.vault.address.as_str(), self.method)
    }

    /// Refuses options that the method does not know, rather than ignore them.
    fn check(&self) -> Result<()> {
        let given = [
            ("NAME", self.name.is_some(), &[Method::Password, Method::Certificate][..]),
            ("--password-file", self.password_file.is_some(), &[Method::Password]),
            ("--credential-file", self.credential_file.is_some(), &[Method::Bootstrap]),
            ("--token-file", self.token_file.is_some(), &[Method::Kubernetes]),
            ("--cluster", self.cluster.is_some(), &[Method::Kubernetes]),
        ];
        let method = self.method.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        for (option, is_given, methods) in given {
            if is_given && !methods.contains(&self.method) {
                return Err(Failure::usage(format!("{option} has no meaning with --method {method}")).next("coffer login --help"));
            }
        }
        if self.method == Method::Certificate && self.identity.is_none() {
            return Err(Failure::usage("--method certificate wants --identity FILE").next(
                "coffer identity create FILE makes one; its pin goes into the account: coffer user update NAME --pin PIN",
            ));
        }
        if self.name.is_none() && matches!(self.method, Method::Password | Method::Certificate) {
            return Err(Failure::usage("the operator's name is missing")
                .next("coffer login NAME; with a new vault: coffer login --method bootstrap"));
        }
        Ok(())
    }

    /// Whether a person is asked to type something.
    const fn asks(&self) -> bool {
        match self.method {
            Method::Password => self.password_file.is_none(),
            Method::Bootstrap => self.credential_file.is_none(),
            Method::Certificate | Method::Kubernetes => false,
        }
    }

    async fn log_in(&self, app: &App, client: &Client, tenant: &str) -> Result<LoggedIn> {
        let name = self.name.as_deref().unwrap_or_default();
        let attempt = Attempt::new(format!("log in to {}", client.endpoint()));
        let file = |file: &Option<String>| file.as_deref().map(Source::of_file);
        let result = match self.method {
            Method::Password => {
                let prompt = format!("Password of {name}");
                let source = file(&self.password_file);
                let password =
                    app.input.line_or_hidden(source.as_ref(), &prompt, "use --password-file FILE", PASSWORD_BYTES_MAX)?;
                client.login_password(tenant, name, &password).await
            }
            Method::Certificate => client.login_certificate(tenant, name).await,
            Method::Bootstrap => {
                let source = file(&self.credential_file);
                let option = "use --credential-file FILE";
                let credential =
                    app.input.line_or_hidden(source.as_ref(), "Bootstrap credential", option, CREDENTIAL_BYTES_MAX)?;
                client.login_bootstrap(&credential).await
            }
            Method::Kubernetes => {
                let source = file(&self.token_file).ok_or_else(|| {
                    Failure::usage("--method kubernetes wants --token-file FILE")
                        .next("a projected token for Coffer's audience: kubectl create token SERVICE-ACCOUNT --audience coffer --bound-object-kind Pod --bound-object-name POD")
                })?;
                let token = app.input.line(&source, CREDENTIAL_BYTES_MAX)?;
                client.login_workload(tenant, self.cluster.as_deref().unwrap_or_default(), &token).await
            }
        };
        answer(&attempt, result)
    }
}

/// Asks the vault whether a login can succeed at all, before a person types a password for nothing.
async fn can_log_in(client: &Client) -> Result<()> {
    let attempt = Attempt::new(format!("log in to {}", client.endpoint()));
    let status = answer(&attempt, client.system().get_seal_status(GetSealStatusRequest {}).await)?.into_inner();
    let (reason, message) = match status {
        _ if !status.initialised => ("NOT_INITIALISED", "the vault is not initialised"),
        _ if status.sealed => ("SEALED", "the vault is sealed"),
        _ => return Ok(()),
    };
    Err(Failure::refused(
        &attempt,
        Answer { reason: Some(reason.into()), message: message.into(), request_id: None, retryable: true },
    ))
}

#[derive(Serialize)]
struct LoginJson<'a> {
    address: &'a str,
    principal: &'a str,
    session_id: &'a str,
    expires: Option<String>,
}

fn report(app: &App, session: &Session, address: &str, method: Method) -> Result<Exit> {
    let expires = session.expires;
    let json = LoginJson {
        address,
        principal: &session.principal,
        session_id: &session.id,
        expires: expires.map(|time| format!("{time:.3}")),
    };
    app.out.result(&json, |view| {
        let left = expires.map(|expires| age(u64::try_from(expires.as_second() - view.now.as_second()).unwrap_or(0)));
        let ends = left.map(|left| format!("; the session ends in {left}")).unwrap_or_default();
        format!("Logged in to {address} as {}{ends}.", session.principal)
    })?;
    if method == Method::Bootstrap {
        app.out.note("this session creates operators and nothing else; next: coffer user create NAME --role admin");
    }
    Ok(Exit::Done)
}

/// End the session
#[derive(Args)]
pub(crate) struct Logout {}

#[derive(Serialize)]
struct LogoutJson {
    ended: bool,
}

impl Logout {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let target = app.target()?;
        let Some(session) = Session::read(&app.paths, &target)? else {
            // A file that cannot be used is no reason to keep it.
            Session::remove(&app.paths, &target)?;
            app.out.result(&LogoutJson { ended: false }, |_| format!("Not logged in to {}.", target.vault.address))?;
            return Ok(Exit::Done);
        };
        let ended = match app.identity(&session.key).and_then(|identity| app.client(&target, identity)) {
            Ok(client) => {
                client.set_session_token(Some(session.token));
                answer(&Attempt::new("end the session"), client.logout().await)
            }
            Err(failure) => Err(failure),
        };
        Session::remove(&app.paths, &target)?;
        if let Err(failure) = &ended
            && failure.exit != Exit::NotLoggedIn
        {
            app.out.note(&format!("the session is forgotten here, but the vault could not be told: {}", failure.what));
        }
        app.out.result(&LogoutJson { ended: ended.is_ok() }, |_| format!("Logged out of {}.", target.vault.address))?;
        Ok(Exit::Done)
    }
}

/// Show who is logged in, with which roles
#[derive(Args)]
pub(crate) struct Whoami {}

#[derive(Serialize)]
struct WhoamiJson<'a> {
    address: &'a str,
    principal: &'a str,
    tenant: &'a str,
    roles: &'a [String],
    session_id: &'a str,
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<PodJson<'a>>,
}

#[derive(Serialize)]
struct PodJson<'a> {
    name: &'a str,
    uid: &'a str,
    node: &'a str,
    service_account_uid: &'a str,
}

impl Whoami {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let who = answer(&vault.attempt("ask who is logged in"), vault.client.whoami().await)?;
        let pod = who.pod.as_ref();
        let json = WhoamiJson {
            address: vault.target.vault.address.as_str(),
            principal: &who.principal,
            tenant: &who.tenant,
            roles: &who.roles,
            session_id: &who.session_id,
            expires: rfc3339(who.expires.as_ref()),
            pod: pod.map(|pod| PodJson {
                name: &pod.name,
                uid: &pod.uid,
                node: &pod.node,
                service_account_uid: &pod.service_account_uid,
            }),
        };
        app.out.result(&json, |view| {
            let mut lines = vec![("Principal", who.principal.clone()), ("Tenant", who.tenant.clone())];
            match pod {
                Some(pod) => lines.push(("Pod", format!("{} ({}) on {}", pod.name, pod.uid, pod.node))),
                None => lines.push(("Roles", who.roles.join(", "))),
            }
            lines.push(("Session", format!("{}, ends in {}", who.session_id, until(who.expires.as_ref(), view))));
            lines.push(("Vault", vault.target.vault.address.to_string()));
            pairs(&lines)
        })?;
        Ok(Exit::Done)
    }
}
