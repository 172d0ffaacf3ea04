//! `coffer status`.

use clap::Args;
use coffer_client::proto::{
    GetSealStatusRequest, GetSealStatusResponse, GetStatusRequest, GetStatusResponse, QuorumProgress, SealKind,
};
use serde::Serialize;

use super::operator::standing;
use crate::{
    app::{App, answer, part},
    context::Target,
    exit::Exit,
    failure::Result,
    output::{View, age, pairs, rfc3339, since},
    session::Session,
};

/// Show whether the vault is initialised and unsealed
///
/// Needs no login; who is logged in sees more: their session, and, where a role permits, store and audit log. The exit status is 0 where the vault is unsealed, and 5 where it is sealed or not initialised.
#[derive(Args)]
pub(crate) struct Status {
    /// Fail where store, audit log and start time may not be seen; needs a login with a role
    #[arg(short, long)]
    long: bool,
}

impl Status {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let (vault, session) = match app.vault() {
            Ok(vault) => (vault, Session::read(&app.paths, &app.target()?)?),
            Err(failure) if self.long => return Err(failure),
            Err(_) => (app.vault_without_session()?, None),
        };
        let attempt = vault.attempt("read the status");
        let more = async {
            let status = answer(&attempt, vault.client.system().get_status(GetStatusRequest {}).await)?.into_inner();
            Result::Ok((part(&attempt, status.seal.clone())?, Some(status)))
        };
        let (seal, more) = if self.long {
            more.await?
        } else {
            let seal = answer(&attempt, vault.client.system().get_seal_status(GetSealStatusRequest {}).await)?.into_inner();
            // What is not for everybody is left out where it is not permitted: nothing is wrong then.
            match session.as_ref().filter(|_| !seal.sealed) {
                Some(_) => more.await.unwrap_or((seal, None)),
                None => (seal, None),
            }
        };
        let place = Place { target: &vault.target, session: session.as_ref() };
        app.out.result(&json(&place, &seal, more.as_ref()), |view| render(&place, &seal, more.as_ref(), view))?;
        for warning in &seal.warnings {
            app.out.note(warning);
        }
        Ok(if seal.sealed { Exit::Sealed } else { Exit::Done })
    }
}

/// Which vault it is, and who asks.
struct Place<'a> {
    target: &'a Target,
    session: Option<&'a Session>,
}

#[derive(Serialize)]
struct Json<'a> {
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    initialised: bool,
    sealed: bool,
    seal_kind: &'static str,
    vault_id: &'a str,
    share_count: u32,
    unseal: Option<Progress<'a>>,
    recovery: Option<Progress<'a>>,
    rekey: Option<Rekey<'a>>,
    version: &'a str,
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store_revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys_rotated: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_terms: Option<u32>,
}

#[derive(Serialize)]
struct Rekey<'a> {
    #[serde(flatten)]
    progress: Option<Progress<'a>>,
    verifying: bool,
    share_count: u32,
    share_threshold: u32,
}

#[derive(Serialize)]
struct Progress<'a> {
    nonce: Option<&'a str>,
    received: u32,
    needed: u32,
}

fn json<'a>(place: &Place<'a>, seal: &'a GetSealStatusResponse, more: Option<&'a GetStatusResponse>) -> Json<'a> {
    Json {
        address: place.target.vault.address.as_str(),
        context: place.target.context.as_deref(),
        principal: place.session.map(|session| session.principal.as_str()),
        initialised: seal.initialised,
        sealed: seal.sealed,
        seal_kind: kind(seal),
        vault_id: &seal.vault_id,
        share_count: seal.share_count,
        unseal: seal.unseal.as_ref().filter(|unseal| unseal.needed > 0).map(progress),
        recovery: seal.recovery.as_ref().filter(|recovery| recovery.needed > 0).map(progress),
        rekey: seal.rekey.as_ref().map(|rekey| Rekey {
            progress: rekey.progress.as_ref().map(progress),
            verifying: rekey.verifying,
            share_count: rekey.share_count,
            share_threshold: rekey.share_threshold,
        }),
        version: &seal.version,
        warnings: &seal.warnings,
        store: more.map(|more| more.store.as_str()),
        store_revision: more.map(|more| more.store_revision),
        audit_size: more.map(|more| more.audit_size),
        started: more.and_then(|more| rfc3339(more.started.as_ref())),
        keys_rotated: more.and_then(|more| rfc3339(more.keys_rotated.as_ref())),
        key_terms: more.map(|more| more.key_terms),
    }
}

fn progress(quorum: &QuorumProgress) -> Progress<'_> {
    Progress {
        nonce: Some(quorum.nonce.as_str()).filter(|nonce| !nonce.is_empty()),
        received: quorum.received,
        needed: quorum.needed,
    }
}

fn kind(seal: &GetSealStatusResponse) -> &'static str {
    match seal.seal_kind() {
        SealKind::Unspecified => "none",
        SealKind::Shamir => "shamir",
        SealKind::StaticKey => "static-key",
    }
}

fn render(place: &Place<'_>, seal: &GetSealStatusResponse, more: Option<&GetStatusResponse>, view: &View) -> String {
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let context = place.target.context.as_ref().map(|context| format!(" ({context})")).unwrap_or_default();
    let mut lines = vec![
        ("Address", format!("{}{context}", place.target.vault.address)),
        ("Initialised", yes(seal.initialised)),
        ("Sealed", yes(seal.sealed)),
    ];
    let unseal = seal.unseal.as_ref();
    match seal.seal_kind() {
        SealKind::Unspecified => {}
        SealKind::Shamir => {
            let needed = unseal.map_or(0, |unseal| unseal.needed);
            lines.push((
                "Seal",
                if needed == 0 {
                    format!("{} shares", seal.share_count)
                } else {
                    format!("{needed} of {} shares", seal.share_count)
                },
            ));
        }
        SealKind::StaticKey => lines.push(("Seal", "static key file".into())),
    }
    if let Some(unseal) = unseal.filter(|unseal| seal.sealed && unseal.received > 0) {
        lines.push(("Unsealing", format!("{} of {} shares handed in (nonce {})", unseal.received, unseal.needed, unseal.nonce)));
    }
    if let Some(recovery) = seal.recovery.as_ref().filter(|recovery| !seal.sealed && recovery.received > 0) {
        let handed = format!("{} of {} shares handed in (nonce {})", recovery.received, recovery.needed, recovery.nonce);
        lines.push(("Recovery", handed));
    }
    if let Some(rekey) = &seal.rekey {
        lines.push(("Rekey", standing(rekey)));
    }
    if !seal.vault_id.is_empty() {
        lines.push(("Vault", seal.vault_id.clone()));
    }
    lines.push(("Version", seal.version.clone()));
    if let Some(more) = more {
        lines.push(("Store", format!("{}, revision {}", more.store, more.store_revision)));
        lines.push(("Audit log", format!("{} entries", more.audit_size)));
        let terms = if more.key_terms > 1 { format!(", {} older kept", more.key_terms - 1) } else { String::new() };
        lines.push(("Keys", format!("made {} ago{terms}", since(more.keys_rotated.as_ref(), view))));
        lines.push(("Started", format!("{} ago", since(more.started.as_ref(), view))));
    }
    if let Some(session) = place.session {
        let left = session.expires.map(|expires| u64::try_from(expires.as_second() - view.now.as_second()).unwrap_or(0));
        let ends = left.map(|left| format!(", the session ends in {}", age(left))).unwrap_or_default();
        lines.push(("Logged in", format!("{}{ends}", session.principal)));
    }
    if seal.sealed {
        let next = if seal.initialised { "coffer operator unseal" } else { "coffer operator init, on the server's machine" };
        lines.push(("Next", next.to_owned()));
    }
    pairs(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;

    #[test]
    fn a_sealed_vault_shows_how_far_unsealing_has_come() {
        let seal = GetSealStatusResponse {
            initialised: true,
            sealed: true,
            seal_kind: SealKind::Shamir.into(),
            vault_id: "ab".repeat(16),
            share_count: 5,
            unseal: Some(QuorumProgress { nonce: "n1".into(), received: 1, needed: 3 }),
            version: "0.1.0".into(),
            warnings: vec![],
            recovery: None,
            rekey: None,
        };
        let view = View { now: jiff::Timestamp::UNIX_EPOCH, width: None };
        let vault = Context { address: "https://a:1".parse().unwrap(), ca: None, server_name: None, tenant: None };
        let target = Target { context: Some("prod".into()), vault };
        let place = Place { target: &target, session: None };
        assert_eq!(
            anstream::adapter::strip_str(&render(&place, &seal, None, &view)).to_string(),
            "Address      https://a:1 (prod)\n\
             Initialised  yes\n\
             Sealed       yes\n\
             Seal         3 of 5 shares\n\
             Unsealing    1 of 3 shares handed in (nonce n1)\n\
             Vault        abababababababababababababababab\n\
             Version      0.1.0\n\
             Next         coffer operator unseal\n"
        );
    }
}
