//! `coffer session`.

use clap::{Args, Subcommand};
use coffer_client::proto::{ListSessionsRequest, RevokePrincipalRequest, RevokeSessionRequest, SessionInfo};
use serde::Serialize;

use crate::{
    app::{App, PAGE_SIZE, all_pages, answer},
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::Result,
    output::{Table, View, rfc3339, since, until},
};

/// List and end sessions
#[derive(Subcommand)]
pub(crate) enum Sessions {
    #[command(visible_alias = "ls")]
    List(List),
    Revoke(Revoke),
}

impl Sessions {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::List(command) => command.run(app).await,
            Self::Revoke(command) => command.run(app).await,
        }
    }
}

/// List the sessions of operators; those of workloads are kept by their holders
#[derive(Args)]
pub(crate) struct List {}

#[derive(Serialize)]
struct SessionJson<'a> {
    id: &'a str,
    principal: &'a str,
    created: Option<String>,
    expires: Option<String>,
}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let attempt = vault.attempt("list sessions");
        let mut service = vault.client.sessions();
        let sessions = all_pages!(app, &attempt, sessions, |page_token| {
            service.list_sessions(ListSessionsRequest { page_size: PAGE_SIZE, page_token })
        });
        let json: Vec<SessionJson<'_>> = sessions
            .iter()
            .map(|session| SessionJson {
                id: &session.id,
                principal: &session.principal,
                created: rfc3339(session.created.as_ref()),
                expires: rfc3339(session.expires.as_ref()),
            })
            .collect();
        app.out.long(&json, |view| render(&sessions, view))?;
        Ok(Exit::Done)
    }
}

fn render(sessions: &[SessionInfo], view: &View) -> String {
    let mut table = Table::new(&["ID", "PRINCIPAL", "AGE", "ENDS IN"]);
    for session in sessions {
        table.row([
            session.id.clone(),
            session.principal.clone(),
            since(session.created.as_ref(), view),
            until(session.expires.as_ref(), view),
        ]);
    }
    table.render(view, "No sessions.")
}

/// End a session, or all sessions of a principal
///
/// With --principal, sessions that began before now end; new logins are allowed. To keep somebody out, delete the account
/// or revoke the grants.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer session revoke 3f2a51c07e9b4d1c8a6f0e2d4b5c6a79
  coffer session revoke --principal operator:alice
  coffer session revoke --principal k8s:prod/payments/api
  coffer session revoke --principal pod:6f1c1f0e-8f0a-4f6e-9d3a-2b1f5a7c9e11")]
pub(crate) struct Revoke {
    /// The session's id
    #[arg(required_unless_present = "principal", conflicts_with = "principal")]
    id: Option<String>,
    /// operator:NAME, k8s:CLUSTER/NAMESPACE/SERVICE-ACCOUNT or pod:UID
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<String>,
    #[command(flatten)]
    dry_run: DryRun,
}

#[derive(Serialize)]
struct RevokedJson<'a> {
    revoked: &'a str,
}

impl Revoke {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let mut service = vault.client.sessions();
        if self.dry_run.asked() {
            let attempt = vault.attempt("list sessions");
            let sessions = all_pages!(app, &attempt, sessions, |page_token| {
                service.list_sessions(ListSessionsRequest { page_size: PAGE_SIZE, page_token })
            });
            let meant = |session: &&SessionInfo| {
                Some(&session.principal) == self.principal.as_ref() || Some(&session.id) == self.id.as_ref()
            };
            let mut planned = match &self.principal {
                Some(principal) => Planned::new(format!("end the sessions of {principal}"), "SessionService/RevokePrincipal"),
                None => Planned::new(
                    format!("end the session {}", self.id.clone().unwrap_or_default()),
                    "SessionService/RevokeSession",
                ),
            };
            planned.checked(match sessions.iter().filter(meant).count() {
                0 => "no operator has such a session; those of workloads are not listed".to_owned(),
                1 => "1 session".to_owned(),
                number => format!("{number} sessions"),
            });
            return planned.show(app);
        }
        let what = match (self.id, self.principal) {
            (_, Some(principal)) => {
                let attempt = vault.attempt(format!("end the sessions of {principal}"));
                answer(&attempt, service.revoke_principal(RevokePrincipalRequest { principal: principal.clone() }).await)?;
                principal
            }
            (id, None) => {
                let id = id.unwrap_or_default();
                let attempt = vault.attempt(format!("end the session {id}"));
                answer(&attempt, service.revoke_session(RevokeSessionRequest { id: id.clone() }).await)?;
                id
            }
        };
        app.out.result(&RevokedJson { revoked: &what }, |_| format!("sessions ended: {what}"))?;
        Ok(Exit::Done)
    }
}
