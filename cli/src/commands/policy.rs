//! `coffer policy`.

use clap::{Args, Subcommand};
use coffer_client::proto::{
    DeletePolicyRequest, GetPolicyRequest, LintPolicyRequest, ListPoliciesRequest, Policy as Stored, PolicyFinding,
    PutPolicyRequest,
};
use serde::Serialize;

use crate::{
    app::{App, PAGE_SIZE, all_pages, answer, part},
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::Result,
    input::{Source, TEXT_BYTES_MAX},
    output::{Table, View, printable, rfc3339, since},
};

/// Write policies in Cedar, for what grants cannot say
#[derive(Subcommand)]
pub(crate) enum Policy {
    #[command(visible_alias = "write")]
    Put(Put),
    #[command(visible_alias = "read")]
    Get(Get),
    #[command(visible_alias = "ls")]
    List(List),
    #[command(visible_alias = "rm")]
    Delete(Delete),
    #[command(visible_alias = "check")]
    Lint(Lint),
}

impl Policy {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Put(command) => command.run(app).await,
            Self::Get(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
            Self::Lint(command) => command.run(app).await,
        }
    }
}

/// The text of a policy, from a file or standard input.
pub(super) fn text(app: &App, source: &str) -> Result<String> {
    Ok(app.input.text(&Source::of_file(source), TEXT_BYTES_MAX)?.into_exposed())
}

/// Store a policy, new or changed
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer policy put office-hours @office-hours.cedar
  coffer policy put office-hours --etag new - < office-hours.cedar")]
pub(crate) struct Put {
    /// The policy's name
    #[arg(add = crate::complete::policies())]
    name: String,
    /// The Cedar text: @FILE, or - for standard input
    #[arg(value_name = "@FILE")]
    file: String,
    /// Store only where this is the policy's state; `new` where there must be none yet
    #[arg(long)]
    etag: Option<String>,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Put {
    async fn run(self, app: &App) -> Result<Exit> {
        let text = text(app, &self.file)?;
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let attempt = vault.attempt("check the policy");
            let request = LintPolicyRequest { text: text.clone() };
            let findings = answer(&attempt, vault.client.policies().lint_policy(request).await)?.into_inner().findings;
            let file = Source::of_file(&self.file).name();
            if findings.iter().any(|finding| finding.error) {
                return report(app, &file, &findings);
            }
            let mut planned = Planned::new(format!("store the policy {}", self.name), "PolicyService/PutPolicy");
            planned.say("name", &self.name);
            planned.say("bytes", text.len());
            planned.say_some("etag", self.etag.as_ref());
            for line in findings_text(&file, &findings).lines() {
                planned.checked(line);
            }
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("store the policy {}", self.name));
        let request = PutPolicyRequest { name: self.name, text, etag: self.etag.unwrap_or_default() };
        let stored = answer(&attempt, vault.client.policies().put_policy(request).await)?.into_inner();
        let policy = part(&attempt, stored.policy)?;
        app.out.result(&PolicyJson::new(&policy), |_| format!("policy {} stored", policy.name))?;
        Ok(Exit::Done)
    }
}

/// Show a policy's text
#[derive(Args)]
pub(crate) struct Get {
    /// The policy's name
    #[arg(add = crate::complete::policies())]
    name: String,
}

impl Get {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let attempt = vault.attempt(format!("read the policy {}", self.name));
        let policy =
            answer(&attempt, vault.client.policies().get_policy(GetPolicyRequest { name: self.name }).await)?.into_inner();
        let policy = part(&attempt, policy.policy)?;
        app.out.result(&PolicyJson::new(&policy), |_| printable(&policy.text))?;
        Ok(Exit::Done)
    }
}

/// List policies
#[derive(Args)]
pub(crate) struct List {}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let attempt = vault.attempt("list policies");
        let mut service = vault.client.policies();
        let policies = all_pages!(app, &attempt, policies, |page_token| {
            service.list_policies(ListPoliciesRequest { page_size: PAGE_SIZE, page_token })
        });
        let json: Vec<PolicyJson<'_>> = policies.iter().map(PolicyJson::new).collect();
        app.out.long(&json, |view| render(&policies, view))?;
        Ok(Exit::Done)
    }
}

fn render(policies: &[Stored], view: &View) -> String {
    let mut table = Table::new(&["NAME", "LINES", "UPDATED", "BY"]);
    for policy in policies {
        table.row([
            policy.name.clone(),
            policy.text.lines().count().to_string(),
            since(policy.updated.as_ref(), view),
            policy.updated_by.clone(),
        ]);
    }
    table.render(view, "No policies.")
}

/// Delete a policy
#[derive(Args)]
pub(crate) struct Delete {
    /// The policy's name
    #[arg(add = crate::complete::policies())]
    name: String,
    /// Delete only where this is the policy's state
    #[arg(long)]
    etag: Option<String>,
    #[command(flatten)]
    dry_run: DryRun,
}

#[derive(Serialize)]
struct DeletedJson<'a> {
    deleted: &'a str,
}

impl Delete {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let attempt = vault.attempt(format!("read the policy {}", self.name));
            let request = GetPolicyRequest { name: self.name.clone() };
            answer(&attempt, vault.client.policies().get_policy(request).await)?;
            let mut planned = Planned::new(format!("delete the policy {}", self.name), "PolicyService/DeletePolicy");
            planned.say("name", &self.name);
            planned.say_some("etag", self.etag.as_ref());
            planned.checked("it is there");
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("delete the policy {}", self.name));
        let request = DeletePolicyRequest { name: self.name.clone(), etag: self.etag.unwrap_or_default() };
        answer(&attempt, vault.client.policies().delete_policy(request).await)?;
        app.out.result(&DeletedJson { deleted: &self.name }, |_| format!("policy {} deleted", self.name))?;
        Ok(Exit::Done)
    }
}

/// Check a policy without storing it
///
/// The exit status is 7 where the policy has errors.
#[derive(Args)]
pub(crate) struct Lint {
    /// The Cedar text: @FILE, or - for standard input
    #[arg(value_name = "@FILE")]
    file: String,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    error: bool,
    line: u32,
    message: &'a str,
}

impl Lint {
    async fn run(self, app: &App) -> Result<Exit> {
        let text = text(app, &self.file)?;
        let vault = app.vault()?;
        let attempt = vault.attempt("check the policy");
        let found = answer(&attempt, vault.client.policies().lint_policy(LintPolicyRequest { text }).await)?.into_inner();
        report(app, &Source::of_file(&self.file).name(), &found.findings)
    }
}

/// Shows what was found in a policy's text.
fn report(app: &App, file: &str, findings: &[PolicyFinding]) -> Result<Exit> {
    let json: Vec<FindingJson<'_>> = findings
        .iter()
        .map(|finding| FindingJson { error: finding.error, line: finding.line, message: &finding.message })
        .collect();
    app.out.result(&json, |_| findings_text(file, findings))?;
    Ok(if findings.iter().any(|finding| finding.error) { Exit::CheckFailed } else { Exit::Done })
}

/// Findings as compilers write them, so that editors find the place.
fn findings_text(file: &str, findings: &[PolicyFinding]) -> String {
    if findings.is_empty() {
        return format!("{file}: good");
    }
    let mut text = String::new();
    for finding in findings {
        let kind = if finding.error { "error" } else { "warning" };
        let place = if finding.line == 0 { file.to_owned() } else { format!("{file}:{}", finding.line) };
        text.push_str(&format!("{place}: {kind}: {}\n", printable(&finding.message)));
    }
    text
}

#[derive(Serialize)]
struct PolicyJson<'a> {
    name: &'a str,
    text: &'a str,
    updated: Option<String>,
    updated_by: &'a str,
    etag: &'a str,
}

impl<'a> PolicyJson<'a> {
    fn new(policy: &'a Stored) -> Self {
        Self {
            name: &policy.name,
            text: &policy.text,
            updated: rfc3339(policy.updated.as_ref()),
            updated_by: &policy.updated_by,
            etag: &policy.etag,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_name_their_place_as_compilers_do() {
        let finding = |error, line, message: &str| PolicyFinding { error, line, message: message.into() };
        let findings = [finding(true, 3, "unknown attribute"), finding(false, 0, "permits everybody")];
        assert_eq!(
            findings_text("p.cedar", &findings),
            "p.cedar:3: error: unknown attribute\np.cedar: warning: permits everybody\n"
        );
        assert_eq!(findings_text("p.cedar", &[]), "p.cedar: good");
    }
}
