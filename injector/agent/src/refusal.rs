//! What to tell the person who reads the log of a pod that got no secrets.

use std::{fs, path::Path};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use coffer_client::{Error, SERVICE_ACCOUNT_TOKEN_BYTES_MAX};
use serde_json::Value;

use crate::config::Source;

/// Characters of one claim that are shown.
const CLAIM_CHARS_MAX: usize = 256;

/// For a secret that the vault does not give: it does not say why, so neither can this.
pub(crate) fn secret(source: &Source, principal: &str) -> String {
    format!(
        "{source}: not permitted for this pod, or not there. An officer can allow it: coffer grant read {} --to {principal}",
        source.path
    )
}

/// For a secret that the vault gives on conditions that do not hold: which, it says; why, it tells operators.
pub(crate) fn withheld(source: &Source, error: &Error, principal: &str) -> String {
    format!("{source}: {error} (coffer why {principal} read {})", source.path)
}

/// For a login that the vault refuses: it does not say why, so this shows what it was asked.
pub(crate) fn login(token_file: &Path, cluster: &str) -> String {
    let cluster = match cluster {
        "" => String::new(),
        name => format!(" under the name {name:?}"),
    };
    format!(
        "the vault refused the login of this pod ({}). An operator can see why in the audit log (coffer audit tail); the \
         usual reasons: the cluster is not registered{cluster} (coffer cluster list), or its issuer or audience is another",
        token_facts(token_file).unwrap_or_else(|| format!("{} holds no service-account token", token_file.display()))
    )
}

/// What the token says of itself. Claims are no secret; the signature is not looked at.
fn token_facts(token_file: &Path) -> Option<String> {
    if fs::metadata(token_file).ok()?.len() > SERVICE_ACCOUNT_TOKEN_BYTES_MAX as u64 {
        return None;
    }
    let token = coffer_secret::SecretString::from(fs::read_to_string(token_file).ok()?);
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.expose().trim().split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    let text = |pointer: &str| claims.pointer(pointer).and_then(Value::as_str).map(shown);
    let account = match (text("/kubernetes.io/namespace"), text("/kubernetes.io/serviceaccount/name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        _ => text("/sub").unwrap_or_default(),
    };
    let audience = match claims.get("aud") {
        Some(Value::String(one)) => shown(one),
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(shown).collect::<Vec<_>>().join(", "),
        _ => String::new(),
    };
    Some(format!("service account {account}, issuer {}, audience {audience}", text("/iss").unwrap_or_default()))
}

fn shown(claim: &str) -> String {
    claim.chars().filter(|c| !c.is_control()).take(CLAIM_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn token(payload: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "aGVhZGVy.{}.c2VjcmV0LXNpZ25hdHVyZQ", BASE64_URL_SAFE_NO_PAD.encode(payload)).unwrap();
        file
    }

    #[test]
    fn a_denial_names_the_path_and_the_command_that_allows_it() {
        let source = Source::newest("kv/prod/payments");
        assert_eq!(
            secret(&source, "k8s:prod/payments/api"),
            "kv/prod/payments: not permitted for this pod, or not there. An officer can allow it: coffer grant read \
             kv/prod/payments --to k8s:prod/payments/api"
        );
    }

    #[test]
    fn a_refused_login_shows_what_the_token_says_and_not_its_signature() {
        let file = token(
            r#"{"iss":"https://issuer","aud":["coffer","b"],"kubernetes.io":{"namespace":"shop","serviceaccount":{"name":"api\u0007"}}}"#,
        );
        let text = login(file.path(), "prod");
        assert!(text.contains("service account shop/api, issuer https://issuer, audience coffer, b"), "{text}");
        assert!(text.contains("under the name \"prod\""), "{text}");
        assert!(!text.contains("c2VjcmV0"), "{text}");
    }

    #[test]
    fn what_is_no_token_is_said_to_be_none() {
        for content in ["", "x", "a.b.c", "a.e30.c"] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            write!(file, "{content}").unwrap();
            let text = login(file.path(), "");
            assert!(text.contains("holds no service-account token") || content == "a.e30.c", "{content}: {text}");
        }
    }
}
