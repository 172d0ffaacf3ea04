//! `coffer verdict`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use coffer_client::proto::{GatedGrant, GatedPod, ListVerdictsRequest, RevokeVerdictRequest, Verdict as Given};
use serde::Serialize;

use super::{confirm, grant, pods};
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
fn digest(image: &str) -> String {
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
            if verdict.passed { "passed" } else { "FAILED" }.to_owned(),
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
        ("Verdict", if verdict.passed { "passed" } else { "FAILED" }.to_owned()),
        ("Standing", verdict.standing.clone()),
        ("Signer", verdict.signer.clone()),
        ("Attested by", verdict.attested_by.clone()),
        ("Scanned", format!("{} by {}", rfc3339(scan.scanned.as_ref()).unwrap_or_default(), scan.scanner)),
        ("Ends", rfc3339(verdict.expires.as_ref()).unwrap_or_default()),
    ];
    if !verdict.revoked_by.is_empty() {
        lines.push(("Taken back", format!("by {}: {}", verdict.revoked_by, verdict.revoked_reason)));
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
        // A pod names the image, or an index that it is in.
        let mut names: Vec<&str> = counting.iter().filter_map(|verdict| Some(verdict.scan.as_ref()?.index.as_str())).collect();
        names.push(manifest);
        let require: BTreeMap<_, _> = grant::all(app, vault).await?.into_iter().map(|grant| (grant.id, grant.require)).collect();
        let mut losses = 0_usize;
        for pod in pods::all(app, vault, "", "").await? {
            for grant in losing(&pod, &names, &self.signer, &require) {
                losses += 1;
                planned.checked(format!("{}/{} would lose {} {}", pod.namespace, pod.name, grant.actions.join(","), grant.path));
            }
        }
        if losses == 0 {
            planned.checked("no pod would lose anything");
        }
        planned.show(app)
    }
}

/// The grants that hold for a pod and would not, if a signer's verdict on an image of these names did not count; all signers' for an
/// empty name.
fn losing<'a>(
    pod: &'a GatedPod,
    names: &[&str],
    signer: &str,
    require: &BTreeMap<String, Vec<String>>,
) -> impl Iterator<Item = &'a GatedGrant> {
    let mut of_image = pod.containers.iter().filter(|container| names.contains(&digest(&container.image).as_str())).peekable();
    let has_it = of_image.peek().is_some();
    let left: Vec<Vec<&str>> = of_image
        .map(|container| {
            let others = container.signers.iter().map(String::as_str);
            others.filter(|other| !signer.is_empty() && *other != signer).collect()
        })
        .collect();
    let fails = move |condition: &String| match condition.split_once('=') {
        Some(("image" | "max-age", _)) => left.iter().any(Vec::is_empty),
        Some(("signed-by", name)) => left.iter().any(|others| !others.contains(&name)),
        _ => false,
    };
    let loses = move |grant: &&GatedGrant| {
        let conditions: &[String] = require.get(&grant.id).map(Vec::as_slice).unwrap_or_default();
        has_it && grant.unmet.is_empty() && conditions.iter().any(&fails)
    };
    pod.grants.iter().filter(loses).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_client::proto::GatedContainer;

    fn pod(signers: &[&str]) -> GatedPod {
        let container = GatedContainer {
            image: "registry.example.com/app@sha256:aa".into(),
            signers: signers.iter().map(|&name| name.to_owned()).collect(),
            ..GatedContainer::default()
        };
        let grant = |id: &str, unmet: &[&str]| GatedGrant {
            id: id.into(),
            unmet: unmet.iter().map(|&text| text.to_owned()).collect(),
            ..GatedGrant::default()
        };
        let grants = vec![grant("image", &[]), grant("signed", &[]), grant("node", &[]), grant("withheld", &["x"])];
        GatedPod { containers: vec![container], grants, ..GatedPod::default() }
    }

    #[test]
    fn a_pod_loses_what_no_other_verdict_holds() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let require = BTreeMap::from([
            ("image".to_owned(), words(&["image=pass", "max-age=7d"])),
            ("signed".to_owned(), words(&["signed-by=release"])),
            ("node".to_owned(), words(&["swap=off"])),
            ("withheld".to_owned(), words(&["image=pass"])),
        ]);
        for (signers, names, signer, expected) in [
            (&["release"][..], &["sha256:aa"][..], "release", &["image", "signed"][..]),
            (&["release", "build"], &["sha256:aa"], "release", &["signed"]),
            (&["release", "build"], &["sha256:aa"], "build", &[]),
            (&["release", "build"], &["sha256:bb", "sha256:aa"], "", &["image", "signed"]),
            (&["release"], &["sha256:bb"], "", &[]),
        ] {
            let pod = pod(signers);
            let found: Vec<_> = losing(&pod, names, signer, &require).map(|grant| grant.id.as_str()).collect();
            assert_eq!(found, expected, "{signers:?} {names:?} {signer}");
        }
    }
}
