//! `coffer would`: what a change would take from running pods.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use coffer_client::proto::{
    PolicyChange, PreviewChangeRequest, PreviewChangeResponse, PreviewedLoss, PreviewedPod, VerdictChange,
    preview_change_request::Change,
};
use serde::Serialize;

use super::{advisories, policy, verdict};
use crate::{
    app::{App, Vault, answer},
    exit::Exit,
    failure::Result,
    output::{Table, View, printable},
};

/// Show which running pods a change would cut off, and change nothing
///
/// It is decided before and after for each pod that has a token for the vault: at the paths that it watches now, of the credentials that it
/// holds, and of the grants to it. What a pod would lose below a folder (PATH/**) is told as the grant where it does not watch it.
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  coffer would revoke-verdict sha256:...
  coffer would import-advisories debian.zip go.zip
  coffer would revoke-grant 3f2a51c07e9b4d1c8a6f0e2d4b5c6a79
  coffer would put-policy office-hours @office-hours.cedar")]
pub(crate) enum Would {
    RevokeVerdict(RevokeVerdict),
    ImportAdvisories(ImportAdvisories),
    RevokeGrant(RevokeGrant),
    PutPolicy(PutPolicy),
    DeletePolicy(DeletePolicy),
}

/// If verdicts on an image were taken back (`coffer verdict revoke`)
#[derive(Args)]
pub(crate) struct RevokeVerdict {
    /// The image: the digest of its manifest, or a name with one
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Only this signer's verdict
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    signer: String,
}

/// If the vault were told of these advisories (`coffer advisories import --vault`)
#[derive(Args)]
pub(crate) struct ImportAdvisories {
    /// Folders, or zip archives
    #[arg(value_name = "FOLDER|ZIP", required = true)]
    from: Vec<PathBuf>,
}

/// If a grant were taken away (`coffer revoke`)
#[derive(Args)]
pub(crate) struct RevokeGrant {
    /// The grant's id, as `coffer grants` shows it
    #[arg(value_name = "GRANT-ID")]
    id: String,
}

/// If a policy were stored, new or changed (`coffer policy put`)
#[derive(Args)]
pub(crate) struct PutPolicy {
    /// The policy's name
    #[arg(add = crate::complete::policies())]
    name: String,
    /// The Cedar text: @FILE, or - for standard input
    #[arg(value_name = "@FILE")]
    file: String,
}

/// If a policy were deleted (`coffer policy delete`)
#[derive(Args)]
pub(crate) struct DeletePolicy {
    /// The policy's name
    #[arg(add = crate::complete::policies())]
    name: String,
}

impl Would {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let (doing, change) = match self {
            Self::RevokeVerdict(RevokeVerdict { image, signer }) => {
                let manifest = verdict::digest(&image);
                (format!("take back the verdicts on {manifest}"), Change::RevokeVerdict(VerdictChange { manifest, signer }))
            }
            Self::ImportAdvisories(ImportAdvisories { from }) => return advisories::would(app, &vault, &from).await,
            Self::RevokeGrant(RevokeGrant { id }) => (format!("revoke the grant {id}"), Change::RevokeGrant(id)),
            Self::PutPolicy(PutPolicy { name, file }) => {
                let text = policy::text(app, &file)?;
                (format!("store the policy {name}"), Change::PutPolicy(PolicyChange { name, text }))
            }
            Self::DeletePolicy(DeletePolicy { name }) => (format!("delete the policy {name}"), Change::DeletePolicy(name)),
        };
        let preview = ask(&vault, &format!("look at what it would take to {doing}"), change).await?;
        show(app, &doing, &preview)
    }
}

/// Asks the vault what a change would take from running pods.
pub(super) async fn ask(vault: &Vault, doing: &str, change: Change) -> Result<PreviewChangeResponse> {
    let attempt = vault.attempt(doing).of("coffer grants, coffer policy list or coffer verdict list,");
    let request = PreviewChangeRequest { change: Some(change) };
    Ok(answer(&attempt, vault.client.previews().preview_change(request).await)?.into_inner())
}

/// What it comes to, a line for each loss.
pub(super) fn lines(preview: &PreviewChangeResponse) -> Vec<String> {
    let of_pod = |pod: &PreviewedPod| {
        let name = format!("{}/{}", pod.namespace, pod.name);
        let loss = |loss: &PreviewedLoss| format!("{name} would lose {}", loss_text(loss));
        let mut lines: Vec<String> = pod.losses.iter().map(loss).collect();
        if lines.is_empty() {
            lines.push(format!("{name} would lose nothing, though its images would not pass"));
        }
        lines
    };
    let mut lines: Vec<String> = preview.pods.iter().flat_map(of_pod).collect();
    if lines.is_empty() {
        lines.push(format!("no pod would lose anything ({} seen)", preview.pods_seen));
    }
    if preview.further_pods > 0 {
        lines.push(format!("{} more pods would lose something", preview.further_pods));
    }
    lines
}

fn loss_text(loss: &PreviewedLoss) -> String {
    let held = match loss.held.as_str() {
        "watched" => ", which it follows",
        "leased" => ", and the credential that it has",
        "leased-to-its-end" => "; the credential that it has lasts until its lease ends",
        _ => "",
    };
    format!("{} {}{held}", loss.action, loss.path)
}

#[derive(Serialize)]
struct PreviewJson<'a> {
    would: &'a str,
    pods: Vec<PodJson<'a>>,
    further_pods: u32,
    pods_seen: u32,
    pods_passing: u32,
    pods_failing: u32,
}

#[derive(Serialize)]
struct PodJson<'a> {
    cluster: &'a str,
    namespace: &'a str,
    name: &'a str,
    image_before: &'a str,
    image_after: &'a str,
    losses: Vec<LossJson<'a>>,
}

#[derive(Serialize)]
struct LossJson<'a> {
    action: &'a str,
    path: &'a str,
    held: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    why: &'a str,
}

fn pod_json(pod: &PreviewedPod) -> PodJson<'_> {
    fn loss(PreviewedLoss { action, path, held, why }: &PreviewedLoss) -> LossJson<'_> {
        LossJson { action, path, held, why }
    }
    PodJson {
        cluster: &pod.cluster,
        namespace: &pod.namespace,
        name: &pod.name,
        image_before: &pod.image_before,
        image_after: &pod.image_after,
        losses: pod.losses.iter().map(loss).collect(),
    }
}

/// Shows a preview.
pub(super) fn show(app: &App, doing: &str, preview: &PreviewChangeResponse) -> Result<Exit> {
    let json = PreviewJson {
        would: doing,
        pods: preview.pods.iter().map(pod_json).collect(),
        further_pods: preview.further_pods,
        pods_seen: preview.pods_seen,
        pods_passing: preview.pods_passing,
        pods_failing: preview.pods_failing,
    };
    app.out.long(&json, |view| render(doing, preview, view))?;
    Ok(Exit::Done)
}

fn render(doing: &str, preview: &PreviewChangeResponse, view: &View) -> String {
    let mut table = Table::new(&["POD", "WOULD LOSE", "WHY"]).prose("WHY");
    for pod in &preview.pods {
        let name = format!("{}/{}/{}", pod.cluster, pod.namespace, pod.name);
        if pod.losses.is_empty() {
            table.row([
                name.clone(),
                "nothing".to_owned(),
                "its images would not pass, and no grant to it asks for that".to_owned(),
            ]);
        }
        for loss in &pod.losses {
            table.row([name.clone(), loss_text(loss), printable(&loss.why)]);
        }
    }
    let PreviewChangeResponse { pods_seen, pods_passing, pods_failing, further_pods, .. } = preview;
    let more = if *further_pods > 0 { format!("and {further_pods} more pods\n") } else { String::new() };
    let images = if *pods_failing > 0 {
        format!("; {pods_failing} of {pods_passing} whose images pass would not pass any more")
    } else {
        String::new()
    };
    let table = match preview.pods.as_slice() {
        [] => "No pod would lose anything.\n".to_owned(),
        _ => table.render(view, ""),
    };
    format!("{table}{more}To {doing}: {pods_seen} pods were looked at{images}. Nothing was changed.\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preview(losses: &[(&str, &str)]) -> PreviewChangeResponse {
        let loss = |(path, held): &(&str, &str)| PreviewedLoss {
            action: "read".into(),
            path: (*path).into(),
            held: (*held).into(),
            why: "image=pass: advisory CVE-1".into(),
        };
        let pod = PreviewedPod {
            cluster: "prod".into(),
            namespace: "shop".into(),
            name: "api".into(),
            losses: losses.iter().map(loss).collect(),
            ..PreviewedPod::default()
        };
        PreviewChangeResponse { pods: vec![pod], further_pods: 2, pods_seen: 9, pods_passing: 4, pods_failing: 1 }
    }

    #[test]
    fn each_loss_is_told_with_what_the_pod_has_of_it() {
        let preview =
            preview(&[("kv/a", "watched"), ("db/creds/x", "leased"), ("db/creds/y", "leased-to-its-end"), ("kv/**", "granted")]);
        assert_eq!(
            lines(&preview),
            [
                "shop/api would lose read kv/a, which it follows",
                "shop/api would lose read db/creds/x, and the credential that it has",
                "shop/api would lose read db/creds/y; the credential that it has lasts until its lease ends",
                "shop/api would lose read kv/**",
                "2 more pods would lose something",
            ]
        );
        let view = View { now: jiff::Timestamp::UNIX_EPOCH, width: None };
        let text = render("revoke the grant x", &preview, &view);
        assert!(text.contains("prod/shop/api") && text.contains("image=pass: advisory CVE-1"), "{text}");
        assert!(text.ends_with("To revoke the grant x: 9 pods were looked at; 1 of 4 whose images pass would not pass any more. Nothing was changed.\n"));
    }

    #[test]
    fn where_nothing_is_lost_it_is_said() {
        let nothing = PreviewChangeResponse { pods_seen: 3, ..PreviewChangeResponse::default() };
        assert_eq!(lines(&nothing), ["no pod would lose anything (3 seen)"]);
        let view = View { now: jiff::Timestamp::UNIX_EPOCH, width: None };
        assert_eq!(
            render("delete the policy x", &nothing, &view),
            "No pod would lose anything.\nTo delete the policy x: 3 pods were looked at. Nothing was changed.\n"
        );
        assert!(lines(&preview(&[]))[0].contains("its images would not pass"));
    }
}
