//! `coffer grant`, `revoke` and `grants`.

use clap::Args;
use coffer_client::proto::{CreateGrantRequest, DeleteGrantRequest, Grant as Granted, ListGrantsRequest};
use serde::Serialize;

use super::parse_list;
use crate::{
    app::{App, PAGE_SIZE, Vault, all_pages, answer, part},
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::{Failure, Result},
    output::{Table, View, rfc3339, since},
};

/// What can be granted.
const ACTIONS: [&str; 6] = ["read", "use", "list", "write", "delete", "destroy"];

/// Let somebody read, use, list, write, delete or destroy at a path
///
/// A grant that is there already is shown as it is. Nobody grants to themselves.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer grant read kv/prod/payments --to k8s:prod/payments/api
  coffer grant read,list 'kv/prod/**' --to 'k8s:prod/payments/*'
  coffer grant write kv/prod/payments --to operator:alice
  coffer grant read 'kv/prod/**' --to 'k8s:prod/payments/*' --require image=pass,host=pass,max-age=7d

Principals:
  k8s:CLUSTER/NAMESPACE/SERVICE-ACCOUNT   workloads; * for any, from the right
  operator:NAME                           one operator
  role:admin, role:officer, role:auditor  all operators with the role

Conditions, all of which must hold; what is not known does not:
  image=pass           every image that can get at the pod's secrets is named by digest, and has passed (coffer scan image --attest)
  signed-by=SIGNER     this signer has passed each of them (coffer signer)
  max-age=TIME         and the newest of their verdicts is not older: 30m, 24h, 7d
  host=pass            the pod's node passes every check of the gate tier (coffer node)
  swap=off             the pod's node does not swap
  workload=LEVEL       the pod is of the Pod Security level baseline or restricted")]
pub(crate) struct Grant {
    /// The actions, with commas: read, use, list, write, delete, destroy
    actions: String,
    /// The path: exact, or PATH/** for all below it
    #[arg(add = crate::complete::paths())]
    path: String,
    /// Who gets it
    #[arg(long, value_name = "PRINCIPAL")]
    to: String,
    /// What must hold of the pod that asks, with commas: see below
    #[arg(long, value_name = "CONDITIONS", value_delimiter = ',')]
    require: Vec<String>,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Grant {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let actions = actions(&self.actions)?;
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let doing = format!("grant {} on {} to {}", actions.join(","), self.path, self.to);
            let mut planned = Planned::new(doing, "GrantService/CreateGrant");
            planned.say("actions", &actions);
            planned.say("path", &self.path);
            planned.say("principal", &self.to);
            if !self.require.is_empty() {
                planned.say("require", &self.require);
            }
            let there = list(app, &vault, String::new(), self.to.clone()).await?;
            let same = there.iter().filter(|grant| grant.path == self.path);
            let same: Vec<String> = same.flat_map(|grant| grant.actions.iter().cloned()).collect();
            planned.checked(if same.is_empty() {
                "nothing is granted there to this principal yet".to_owned()
            } else {
                format!("granted there to this principal already: {}", same.join(", "))
            });
            return planned.show(app);
        }
        let attempt = vault
            .attempt(format!("grant {} on {} to {}", actions.join(","), self.path, self.to))
            .of("coffer cluster list, or coffer user list,");
        let (path, principal, require) = (self.path, self.to, self.require);
        let request = CreateGrantRequest { actions, path, principal, idempotency_key: String::new(), require };
        let created = answer(&attempt, vault.client.grants().create_grant(request).await)?.into_inner();
        let grant = part(&attempt, created.grant)?;
        app.out.result(&GrantJson::from(&grant), |_| {
            let asked = if grant.require.is_empty() { String::new() } else { format!(" where {}", grant.require.join(", ")) };
            format!("{} may {} at {}{asked} (grant {})", grant.principal, grant.actions.join(", "), grant.path, grant.id)
        })?;
        Ok(Exit::Done)
    }
}

/// The actions of a list, each once.
fn actions(text: &str) -> Result<Vec<String>> {
    let mut actions = parse_list(text);
    for action in &actions {
        if !ACTIONS.contains(&action.as_str()) {
            return Err(
                Failure::usage(format!("'{action}' is not an action")).next(format!("actions are {}", ACTIONS.join(", ")))
            );
        }
    }
    if actions.is_empty() {
        return Err(Failure::usage("no action is given").next(format!("actions are {}", ACTIONS.join(", "))));
    }
    actions.sort_unstable();
    actions.dedup();
    Ok(actions)
}

/// Take a grant away, at once
///
/// Open sessions and watches lose what it gave. With actions and a path, what remains of a grant stays granted.
#[derive(Args)]
#[command(override_usage = "coffer revoke [OPTIONS] GRANT-ID\n       coffer revoke [OPTIONS] ACTIONS PATH --from PRINCIPAL")]
#[command(after_help = "\
Examples:
  coffer revoke 3f2a51c07e9b4d1c8a6f0e2d4b5c6a79
  coffer revoke read kv/prod/payments --from k8s:prod/payments/api")]
pub(crate) struct Revoke {
    /// The grant's id, or the actions, with commas
    #[arg(value_name = "GRANT-ID|ACTIONS")]
    what: String,
    /// The grant's path, as `coffer grants` shows it
    #[arg(requires = "from")]
    path: Option<String>,
    /// Whose grant it is
    #[arg(long, value_name = "PRINCIPAL", requires = "path")]
    from: Option<String>,
    #[command(flatten)]
    dry_run: DryRun,
}

#[derive(Serialize)]
struct RevokedJson {
    revoked: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remaining: Vec<String>,
}

impl Revoke {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        if self.dry_run.asked() {
            return self.plan(app).await;
        }
        let revoked = match (&self.path, &self.from) {
            (Some(path), Some(from)) => {
                let actions = actions(&self.what)?;
                revoke_actions(app, &app.vault()?, &actions, path, from).await?
            }
            _ => {
                if !is_id(&self.what) {
                    return Err(Failure::usage(format!("'{}' is not a grant's id", self.what))
                        .why("an id has 32 hexadecimal digits")
                        .next("coffer grants shows ids; or: coffer revoke ACTIONS PATH --from PRINCIPAL"));
                }
                let vault = app.vault()?;
                delete(&vault, &self.what).await?;
                RevokedJson { revoked: vec![self.what], remaining: vec![] }
            }
        };
        app.out.result(&revoked, |_| {
            let mut text = format!("Revoked: {}", revoked.revoked.join(", "));
            if !revoked.remaining.is_empty() {
                text.push_str(&format!("\nStill granted there: {}", revoked.remaining.join(", ")));
            }
            text
        })?;
        Ok(Exit::Done)
    }
}

impl Revoke {
    /// What would be revoked.
    async fn plan(&self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let there = list(app, &vault, String::new(), self.from.clone().unwrap_or_default()).await?;
        let given = match &self.path {
            Some(_) => actions(&self.what)?,
            None => Vec::new(),
        };
        let meant = |grant: &&Granted| match (&self.path, &self.from) {
            (Some(path), Some(from)) => {
                grant.path == *path && grant.principal == *from && grant.actions.iter().any(|action| given.contains(action))
            }
            _ => grant.id == self.what,
        };
        let meant: Vec<&Granted> = there.iter().filter(meant).collect();
        if meant.is_empty() {
            return Err(Failure::new(Exit::Denied, "there is no such grant").next("coffer grants shows them"));
        }
        let ids: Vec<&str> = meant.iter().map(|grant| grant.id.as_str()).collect();
        let mut planned = Planned::new(format!("revoke {}", ids.join(", ")), "GrantService/DeleteGrant");
        planned.say("ids", &ids);
        for grant in meant {
            let rest = remaining(&grant.actions, &given);
            let rest = if given.is_empty() || rest.is_empty() { "nothing".to_owned() } else { rest.join(", ") };
            planned.checked(format!("{} may {} at {}; {rest} stays", grant.principal, grant.actions.join(", "), grant.path));
        }
        planned.show(app)
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

async fn delete(vault: &Vault, id: &str) -> Result<()> {
    let attempt = vault.attempt(format!("revoke the grant {id}"));
    answer(&attempt, vault.client.grants().delete_grant(DeleteGrantRequest { id: id.to_owned() }).await)?;
    Ok(())
}

/// Takes actions away from the grants of exactly this path and principal. What remains of a grant is granted anew
/// before the old one goes, so that nobody loses it meanwhile.
async fn revoke_actions(app: &App, vault: &Vault, actions: &[String], path: &str, principal: &str) -> Result<RevokedJson> {
    let grants = list(app, vault, String::new(), principal.to_owned()).await?;
    let mut done = RevokedJson { revoked: vec![], remaining: vec![] };
    for grant in grants.iter().filter(|grant| grant.path == path && grant.principal == principal) {
        let rest = remaining(&grant.actions, actions);
        if rest.len() == grant.actions.len() {
            continue;
        }
        if !rest.is_empty() {
            let attempt = vault.attempt(format!("keep {} granted on {path}", rest.join(",")));
            let request = CreateGrantRequest {
                actions: rest.clone(),
                path: path.to_owned(),
                principal: principal.to_owned(),
                idempotency_key: String::new(),
                require: grant.require.clone(),
            };
            answer(&attempt, vault.client.grants().create_grant(request).await)?;
            done.remaining.extend(rest);
        }
        delete(vault, &grant.id).await?;
        done.revoked.push(grant.id.clone());
    }
    if done.revoked.is_empty() {
        return Err(Failure::new(Exit::Denied, format!("no grant gives {principal} {} at exactly {path}", actions.join(" or ")))
            .why("a grant on a folder (PATH/**), or to a wider principal, may still give it")
            .next(format!("coffer grants {} shows every grant that reaches the path", path.trim_end_matches("/**"))));
    }
    Ok(done)
}

/// What a grant still gives once these actions are taken away.
fn remaining(granted: &[String], revoked: &[String]) -> Vec<String> {
    granted.iter().filter(|action| !revoked.contains(action)).cloned().collect()
}

/// List grants
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer grants
  coffer grants kv/prod/payments                 every grant that reaches the path, from folders too
  coffer grants --to k8s:prod/payments/api")]
pub(crate) struct Grants {
    /// Only grants that reach this path
    #[arg(add = crate::complete::paths())]
    path: Option<String>,
    /// Only grants to exactly this principal
    #[arg(long, value_name = "PRINCIPAL")]
    to: Option<String>,
}

impl Grants {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let grants = list(app, &vault, self.path.unwrap_or_default(), self.to.unwrap_or_default()).await?;
        let json: Vec<GrantJson<'_>> = grants.iter().map(GrantJson::from).collect();
        app.out.long(&json, |view| render(&grants, view))?;
        Ok(Exit::Done)
    }
}

/// The grants that reach a path, and those to a principal: empty for all.
pub(super) async fn list(app: &App, vault: &Vault, path: String, principal: String) -> Result<Vec<Granted>> {
    let attempt = vault.attempt("list grants");
    let mut service = vault.client.grants();
    Ok(all_pages!(app, &attempt, grants, |page_token| {
        service.list_grants(ListGrantsRequest {
            path: path.clone(),
            principal: principal.clone(),
            page_size: PAGE_SIZE,
            page_token,
        })
    }))
}

/// A grant for scripts.
#[derive(Serialize)]
pub(super) struct GrantJson<'a> {
    id: &'a str,
    actions: &'a [String],
    path: &'a str,
    principal: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    require: &'a [String],
    created: Option<String>,
    created_by: &'a str,
}

impl<'a> From<&'a Granted> for GrantJson<'a> {
    fn from(grant: &'a Granted) -> Self {
        Self {
            id: &grant.id,
            actions: &grant.actions,
            path: &grant.path,
            principal: &grant.principal,
            require: &grant.require,
            created: rfc3339(grant.created.as_ref()),
            created_by: &grant.created_by,
        }
    }
}

/// Grants for people.
pub(super) fn render(grants: &[Granted], view: &View) -> String {
    let mut table = Table::new(&["PRINCIPAL", "ACTIONS", "PATH", "REQUIRES", "AGE", "BY", "ID"]);
    for grant in grants {
        let require = if grant.require.is_empty() { "-".to_owned() } else { grant.require.join(",") };
        table.row([
            grant.principal.clone(),
            grant.actions.join(","),
            grant.path.clone(),
            require,
            since(grant.created.as_ref(), view),
            grant.created_by.clone(),
            grant.id.clone(),
        ]);
    }
    table.render(view, "No grants.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_checked_and_each_is_there_once() {
        assert_eq!(actions("write,read, list,read").unwrap(), ["list", "read", "write"]);
        for bad in ["", ",", "reed", "read,all", "READ"] {
            assert!(actions(bad).unwrap_err().next.unwrap().contains("read, use, list, write, delete, destroy"), "{bad}");
        }
    }

    #[test]
    fn revoking_some_actions_leaves_the_others() {
        let owned = |items: &[&str]| items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>();
        assert_eq!(remaining(&owned(&["read", "list"]), &owned(&["read"])), owned(&["list"]));
        assert!(remaining(&owned(&["read"]), &owned(&["read", "write"])).is_empty());
    }

    #[test]
    fn an_id_has_32_hexadecimal_digits() {
        assert!(is_id(&"0f".repeat(16)));
        for bad in ["read", &"0f".repeat(17), &"0F".repeat(16), ""] {
            assert!(!is_id(bad), "{bad}");
        }
    }

    #[test]
    fn grants_are_shown_with_who_gave_them() {
        let grant = Granted {
            id: "0f".repeat(16),
            actions: vec!["list".into(), "read".into()],
            path: "kv/prod/**".into(),
            principal: "k8s:prod/payments/api".into(),
            created: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            created_by: "operator:olga".into(),
            require: vec!["image=pass".into(), "host=pass".into()],
        };
        let view = View { now: jiff::Timestamp::from_second(90).unwrap(), width: None };
        assert_eq!(
            anstream::adapter::strip_str(&render(&[grant], &view)).to_string(),
            "PRINCIPAL              ACTIONS    PATH        REQUIRES              AGE  BY             ID\n\
             k8s:prod/payments/api  list,read  kv/prod/**  image=pass,host=pass  90s  operator:olga  0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f\n"
        );
    }
}
