//! `coffer verdict`.

use clap::{Args, Subcommand};
use coffer_client::proto::{
    ListVerdictsRequest, RevokeVerdictRequest, Scan, Verdict as Given, VerdictChange, preview_change_request::Change,
};
use serde::Serialize;

use super::{confirm, would};
use crate::{
    app::{App, Vault, all_pages, answer},
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::{Failure, Result},
    output::{Table, View, pairs, printable, rfc3339, since, until},
};

/// Verdicts asked for at once: they are long.
const VERDICTS_AT_ONCE: u32 = 100;

/// See verdicts on images, and take them back
#[derive(Subcommand)]
pub(crate) enum Verdict {
    #[command(visible_alias = "ls")]
    List(List),
    Show(Show),
    Revoke(Revoke),
}

impl Verdict {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::List(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::Revoke(command) => command.run(app).await,
        }
    }
}

#[derive(Serialize)]
struct VerdictJson<'a> {
    manifest: &'a str,
    config: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    index: &'a str,
    reference: &'a str,
    platform: &'a str,
    passed: bool,
    standing: &'a str,
    signer: &'a str,
    scanner: &'a str,
    scanned: Option<String>,
    attested: Option<String>,
    attested_by: &'a str,
    expires: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    revoked_by: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    revoked_reason: &'a str,
    /// Packages that the signer told, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    packages: Option<PackagesJson<'a>>,
    /// Exceptions that later advisories can be about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exceptions: Vec<ExceptionJson<'a>>,
    /// Advisories that came out later and make the image fail.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    advisories: &'a [String],
    #[serde(skip_serializing_if = "is_zero")]
    further_advisories: u32,
    findings: Vec<FindingJson<'a>>,
    statement: &'a str,
    signature: &'a str,
    key_version: u32,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    check: &'a str,
    tier: &'a str,
    severity: &'a str,
    status: &'a str,
    evidence: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    exception: &'a str,
}

#[derive(Serialize)]
struct PackagesJson<'a> {
    count: u32,
    sha256: &'a str,
    incomplete: bool,
}

#[derive(Serialize)]
struct ExceptionJson<'a> {
    check: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'a str,
    reason: &'a str,
    until: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What a verdict comes to now: advisories may have come out since.
fn word(verdict: &Given) -> &'static str {
    match (verdict.passed, verdict.advisories.is_empty()) {
        (true, true) => "passed",
        (true, false) => "FAILED since",
        (false, _) => "FAILED",
    }
}

fn json(verdict: &Given) -> Option<VerdictJson<'_>> {
    let scan = verdict.scan.as_ref()?;
    Some(VerdictJson {
        manifest: &scan.manifest,
        config: &scan.config,
        index: &scan.index,
        reference: &scan.reference,
        platform: &scan.platform,
        passed: verdict.passed,
        standing: &verdict.standing,
        signer: &verdict.signer,
        scanner: &scan.scanner,
        scanned: rfc3339(scan.scanned.as_ref()),
        attested: rfc3339(verdict.attested.as_ref()),
        attested_by: &verdict.attested_by,
        expires: rfc3339(verdict.expires.as_ref()),
        revoked_by: &verdict.revoked_by,
        revoked_reason: &verdict.revoked_reason,
        packages: scan.packages.as_ref().map(|packages| PackagesJson {
            count: packages.count,
            sha256: &packages.sha256,
            incomplete: packages.incomplete,
        }),
        exceptions: scan
            .exceptions
            .iter()
            .map(|exception| ExceptionJson {
                check: &exception.check,
                subject: &exception.subject,
                reason: &exception.reason,
                until: &exception.until,
            })
            .collect(),
        advisories: &verdict.advisories,
        further_advisories: verdict.further_advisories,
        findings: scan
            .findings
            .iter()
            .map(|found| FindingJson {
                check: &found.check,
                tier: &found.tier,
                severity: &found.severity,
                status: &found.status,
                evidence: &found.evidence,
                exception: &found.exception,
            })
            .collect(),
        statement: &verdict.statement,
        signature: &verdict.signature,
        key_version: verdict.key_version,
    })
}

async fn list(app: &App, vault: &Vault, digest: &str) -> Result<Vec<Given>> {
    let attempt = vault.attempt("list verdicts");
    let mut service = vault.client.gate();
    Ok(all_pages!(app, &attempt, verdicts, |page_token| {
        service.list_verdicts(ListVerdictsRequest { digest: digest.to_owned(), page_size: VERDICTS_AT_ONCE, page_token })
    }))
}

/// The digest of an image's name, or the digest itself.
pub(super) fn digest(image: &str) -> String {
    image.rsplit_once('@').map_or(image, |(_, digest)| digest).to_owned()
}

/// List verdicts
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer verdict list
  coffer verdict list registry.example.com/team/app@sha256:...")]
pub(crate) struct List {
    /// Only verdicts on this image: a digest, or a name with one
    #[arg(value_name = "IMAGE")]
    image: Option<String>,
}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let verdicts = list(app, &app.vault()?, &digest(self.image.as_deref().unwrap_or_default())).await?;
        let json: Vec<_> = verdicts.iter().filter_map(json).collect();
        app.out.long(&json, |view| render(&verdicts, view))?;
        Ok(Exit::Done)
    }
}

fn render(verdicts: &[Given], view: &View) -> String {
    let mut table = Table::new(&["MANIFEST", "VERDICT", "STANDING", "SIGNER", "SCANNED", "ENDS IN", "REFERENCE"]);
    for verdict in verdicts {
        let Some(scan) = &verdict.scan else { continue };
        table.row([
            scan.manifest.clone(),
            word(verdict).to_owned(),
            verdict.standing.clone(),
            verdict.signer.clone(),
            since(scan.scanned.as_ref(), view),
            until(verdict.expires.as_ref(), view),
            scan.reference.clone(),
        ]);
    }
    table.render(view, "No verdicts.")
}

/// Show verdicts on an image, with what was found
#[derive(Args)]
pub(crate) struct Show {
    /// The image: a digest, or a name with one
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl Show {
    async fn run(self, app: &App) -> Result<Exit> {
        let verdicts = list(app, &app.vault()?, &digest(&self.image)).await?;
        if verdicts.is_empty() {
            return Err(Failure::new(Exit::Denied, format!("there is no verdict on {}", self.image))
                .next(format!("coffer scan image {} --attest SIGNER", self.image)));
        }
        let json: Vec<_> = verdicts.iter().filter_map(json).collect();
        app.out.long(&json, |view| verdicts.iter().map(|verdict| shown(verdict, view)).collect::<Vec<_>>().join("\n"))?;
        Ok(Exit::Done)
    }
}

fn shown(verdict: &Given, view: &View) -> String {
    let Some(scan) = &verdict.scan else { return String::new() };
    let mut lines = vec![
        ("Image", scan.reference.clone()),
        ("Manifest", scan.manifest.clone()),
        ("Verdict", word(verdict).to_owned()),
        ("Standing", verdict.standing.clone()),
        ("Signer", verdict.signer.clone()),
        ("Attested by", verdict.attested_by.clone()),
        ("Scanned", format!("{} by {}", rfc3339(scan.scanned.as_ref()).unwrap_or_default(), scan.scanner)),
        ("Ends", rfc3339(verdict.expires.as_ref()).unwrap_or_default()),
    ];
    if !verdict.revoked_by.is_empty() {
        lines.push(("Taken back", format!("by {}: {}", verdict.revoked_by, verdict.revoked_reason)));
    }
    lines.push(("Packages", packages_text(scan)));
    lines.extend(verdict.advisories.iter().map(|advisory| ("Fails for", printable(advisory))));
    if verdict.further_advisories > 0 {
        lines.push(("Fails for", format!("{} more", verdict.further_advisories)));
    }
    for exception in &scan.exceptions {
        let about = if exception.subject.is_empty() { String::new() } else { format!(" in {}", exception.subject) };
        let text = format!("{}{about} until {}: {}", exception.check, exception.until, exception.reason);
        lines.push(("Excepted", printable(&text)));
    }
    let mut text = pairs(&lines);
    if !scan.findings.is_empty() {
        let mut table = Table::new(&["CHECK", "TIER", "SEVERITY", "STATUS", "FOUND"]).prose("FOUND");
        for found in &scan.findings {
            let status = if found.exception.is_empty() { found.status.clone() } else { "excepted".to_owned() };
            let row = [found.check.clone(), found.tier.clone(), found.severity.clone(), status, printable(&found.evidence)];
            table.row(row);
        }
        text.push_str(&format!("\n{}", table.render(view, "")));
    }
    if scan.further_findings > 0 {
        text.push_str(&format!("and {} more\n", scan.further_findings));
    }
    text
}

fn packages_text(scan: &Scan) -> String {
    match &scan.packages {
        None => "not told: no later advisory is noticed".to_owned(),
        Some(packages) if packages.incomplete => format!("{}, and more that are not told", packages.count),
        Some(packages) => packages.count.to_string(),
    }
}

/// Take verdicts on an image back, at once
///
/// What needed them is withheld: pods lose the files, and credentials are ended. A new scan does not bring a verdict back that was
/// taken back; --undo does.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer verdict revoke sha256:... --reason 'CVE-2026-1234'
  coffer verdict revoke sha256:... --dry-run                  which pods would lose what
  coffer verdict revoke sha256:... --signer build --undo")]
pub(crate) struct Revoke {
    /// The image: the digest of its manifest, or a name with one
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Only this signer's verdict
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    signer: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// Give them back
    #[arg(long)]
    undo: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

#[derive(Serialize)]
struct RevokedJson<'a> {
    manifest: &'a str,
    verdicts: u32,
    undo: bool,
}

impl Revoke {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let manifest = digest(&self.image);
        if self.dry_run.asked() {
            return self.plan(app, &vault, &manifest).await;
        }
        if !self.undo {
            confirm(app, self.yes, &format!("Pods with the image {manifest} lose what they have on its account. Go on?"))?;
        }
        let attempt = vault.attempt(format!("take back the verdicts on {manifest}")).of("coffer verdict list,");
        let request =
            RevokeVerdictRequest { manifest: manifest.clone(), signer: self.signer, reason: self.reason, undo: self.undo };
        let done = answer(&attempt, vault.client.gate().revoke_verdict(request).await)?.into_inner();
        let json = RevokedJson { manifest: &manifest, verdicts: done.verdicts, undo: self.undo };
        let what = if self.undo { "given back" } else { "taken back" };
        app.out.result(&json, |_| format!("{} verdict(s) on {manifest} {what}", done.verdicts))?;
        Ok(Exit::Done)
    }

    /// Shows which pods would lose what, and changes nothing.
    async fn plan(&self, app: &App, vault: &Vault, manifest: &str) -> Result<Exit> {
        let verdicts = list(app, vault, manifest).await?;
        let mut planned = Planned::new(format!("take back the verdicts on {manifest}"), "GateService/RevokeVerdict");
        planned.say("manifest", manifest);
        planned.say("signer", &self.signer);
        planned.say("undo", self.undo);
        let of = |verdict: &&Given| self.signer.is_empty() || verdict.signer == self.signer;
        let counting: Vec<_> = verdicts.iter().filter(of).filter(|verdict| verdict.standing == "counts").collect();
        planned.checked(match counting.len() {
            0 => "no verdict on it counts".to_owned(),
            1 => "one verdict on it counts".to_owned(),
            n => format!("{n} verdicts on it count"),
        });
        if self.undo {
            return planned.show(app);
        }
        if !verdicts.is_empty() {
            let change = VerdictChange { manifest: manifest.to_owned(), signer: self.signer.clone() };
            let preview = would::ask(vault, "look at what pods would lose", Change::RevokeVerdict(change)).await?;
            would::lines(&preview).into_iter().for_each(|line| planned.checked(line));
        }
        planned.show(app)
    }
}

#[cfg(test)]
mod tests {
    use coffer_client::proto::PackageSummary;

    use super::*;

    #[test]
    fn a_verdict_that_fails_for_a_later_advisory_is_shown_so() {
        let view = View { now: jiff::Timestamp::UNIX_EPOCH, width: None };
        let packages = PackageSummary { count: 7, incomplete: true, ..PackageSummary::default() };
        let mut verdict = Given { passed: true, scan: Some(Scan::default()), ..Given::default() };
        assert!(render(std::slice::from_ref(&verdict), &view).contains("passed"));
        assert!(shown(&verdict, &view).contains("not told: no later advisory is noticed"));
        verdict.advisories = vec!["advisory CVE-1 (high) in openssl 3.0.1".to_owned()];
        verdict.scan = Some(Scan { packages: Some(packages), ..Scan::default() });
        assert!(render(std::slice::from_ref(&verdict), &view).contains("FAILED since"));
        let text = shown(&verdict, &view);
        assert!(text.contains("advisory CVE-1 (high)") && text.contains("7, and more that are not told"), "{text}");
    }
}
