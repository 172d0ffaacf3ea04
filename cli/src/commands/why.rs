//! `coffer why`.

use clap::Args;
use coffer_client::proto::{ExplainRequest, ExplainResponse};
use serde::Serialize;

use super::grant;
use crate::{
    app::{App, answer},
    exit::Exit,
    failure::{Failure, Result},
    output::{Table, View, printable},
};

/// Explain whether a request would be permitted, and why
///
/// Nothing is read: the vault only decides. Where a grant has conditions (--require), it is decided as for a pod of which nothing is
/// known, and told for each pod of the workload which of them does not hold, and why. The exit status is 0 where the request would be permitted, and 3 where it
/// would be denied.
#[derive(Args)]
#[command(override_usage = "coffer why [OPTIONS] [PRINCIPAL] ACTION PATH")]
#[command(after_help = "\
Examples:
  coffer why k8s:prod/payments/api read kv/prod/payments
  coffer why read kv/prod/payments                            you yourself
  coffer why read kv/prod/payments --as operator:alice")]
pub(crate) struct Why {
    /// Who asks, which action, at which path
    #[arg(required = true, num_args = 2..=3, value_names = ["PRINCIPAL", "ACTION", "PATH"])]
    request: Vec<String>,
    /// Who asks
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principal: Option<String>,
}

impl Why {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let request = self.request(vault.principal.as_deref())?;
        let (principal, action, path) = (request.principal.clone(), request.action.clone(), request.path.clone());
        let attempt = vault.attempt("explain the decision");
        let explained = answer(&attempt, vault.client.policies().explain(request).await)?.into_inner();
        app.out
            .result(&json(&explained, &principal, &action, &path), |view| render(&explained, &principal, &action, &path, view))?;
        Ok(if explained.permitted { Exit::Done } else { Exit::Denied })
    }

    fn request(self, own: Option<&str>) -> Result<ExplainRequest> {
        let (principal, action, path) = match (self.request.as_slice(), self.principal.as_deref().or(own)) {
            ([principal, action, path], _) if self.principal.is_none() => (principal.as_str(), action, path),
            ([action, path], Some(principal)) => (principal, action, path),
            ([_, _, _], _) => return Err(Failure::usage("the principal is given twice: before the action, and with --as")),
            _ => return Err(Failure::usage("a principal, an action and a path are wanted")),
        };
        if action.contains(',') {
            return Err(Failure::usage("one action at a time can be explained"));
        }
        Ok(ExplainRequest { principal: principal.to_owned(), action: action.clone(), path: path.clone() })
    }
}

#[derive(Serialize)]
struct Json<'a> {
    principal: &'a str,
    action: &'a str,
    path: &'a str,
    permitted: bool,
    summary: &'a str,
    rules: Vec<RuleJson<'a>>,
    near_misses: Vec<grant::GrantJson<'a>>,
    withheld: Vec<WithheldJson<'a>>,
}

/// A condition of a grant that does not hold for a pod.
#[derive(Serialize)]
struct WithheldJson<'a> {
    grant: &'a str,
    pod: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct RuleJson<'a> {
    kind: &'a str,
    id: &'a str,
    forbids: bool,
    text: &'a str,
}

fn json<'a>(explained: &'a ExplainResponse, principal: &'a str, action: &'a str, path: &'a str) -> Json<'a> {
    let rules =
        explained.rules.iter().map(|rule| RuleJson { kind: &rule.kind, id: &rule.id, forbids: rule.forbids, text: &rule.text });
    Json {
        principal,
        action,
        path,
        permitted: explained.permitted,
        summary: &explained.summary,
        rules: rules.collect(),
        near_misses: explained.near_misses.iter().map(grant::GrantJson::from).collect(),
        withheld: explained
            .withheld
            .iter()
            .map(|withheld| WithheldJson { grant: &withheld.grant, pod: &withheld.pod, reason: &withheld.reason })
            .collect(),
    }
}

fn render(explained: &ExplainResponse, principal: &str, action: &str, path: &str, view: &View) -> String {
    let verdict = if explained.permitted { "Permitted" } else { "Denied" };
    let mut text = format!("{verdict}: {principal} {action} {path}\n{}\n", printable(&explained.summary));
    if !explained.rules.is_empty() {
        let mut table = Table::new(&["EFFECT", "KIND", "ID", "RULE"]).prose("RULE");
        for rule in &explained.rules {
            let effect = if rule.forbids { "forbids" } else { "permits" };
            table.row([effect.to_owned(), rule.kind.clone(), rule.id.clone(), rule.text.trim().to_owned()]);
        }
        text.push_str(&format!("\n{}", table.render(view, "")));
    }
    if !explained.withheld.is_empty() {
        let mut table = Table::new(&["POD", "DOES NOT HOLD", "GRANT"]).prose("DOES NOT HOLD");
        for withheld in &explained.withheld {
            table.row([withheld.pod.clone(), printable(&withheld.reason), withheld.grant.clone()]);
        }
        text.push_str(&format!("\nWithheld from pods, though a grant gives it:\n{}", table.render(view, "")));
    }
    if !explained.near_misses.is_empty() {
        text.push_str(&format!("\nGrants that come close:\n{}", grant::render(&explained.near_misses, view)));
    }
    let is_conditional = explained.near_misses.iter().any(|grant| !grant.require.is_empty());
    if !explained.permitted && !is_conditional && !explained.rules.iter().any(|rule| rule.forbids) {
        text.push_str(&format!("\nTo permit it, an officer runs: coffer grant {action} {path} --to {principal}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(arguments: &[&str], named: Option<&str>, own: Option<&str>) -> Result<String> {
        let why = Why { request: arguments.iter().map(|&text| text.to_owned()).collect(), principal: named.map(str::to_owned) };
        why.request(own).map(|request| format!("{} {} {}", request.principal, request.action, request.path))
    }

    #[test]
    fn the_principal_is_named_first_with_as_or_oneself() {
        let own = Some("operator:me");
        assert_eq!(request(&["k8s:a/b/c", "read", "kv/x"], None, own).unwrap(), "k8s:a/b/c read kv/x");
        assert_eq!(request(&["read", "kv/x"], Some("operator:bo"), own).unwrap(), "operator:bo read kv/x");
        assert_eq!(request(&["read", "kv/x"], None, own).unwrap(), "operator:me read kv/x");
        assert!(request(&["k8s:a/b/c", "read", "kv/x"], Some("operator:bo"), own).is_err());
        assert!(request(&["read,list", "kv/x"], None, own).is_err());
    }

    #[test]
    fn a_denial_names_the_grant_that_would_permit_it() {
        let explained = ExplainResponse { summary: "No grant permits it.".into(), ..ExplainResponse::default() };
        let view = View { now: jiff::Timestamp::UNIX_EPOCH, width: None };
        assert_eq!(
            render(&explained, "k8s:a/b/c", "read", "kv/x", &view),
            "Denied: k8s:a/b/c read kv/x\nNo grant permits it.\n\n\
             To permit it, an officer runs: coffer grant read kv/x --to k8s:a/b/c\n"
        );
    }
}
