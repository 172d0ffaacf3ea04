//! Certificates of CAs and revocation lists, where certificates say that they are:
//! `/pki/MOUNT-ID/ISSUER-ID.crt`, `/pki/MOUNT-ID/ISSUER-ID.crl`, `/pki/MOUNT-ID/ISSUER-ID.N-of-M.crl`.

use coffer_core::{
    id::{IssuerId, MountId},
    reason::Reason,
};
use coffer_vault::{Failure, Vault, certificates::Part};
use hyper::{StatusCode, body::Bytes};

use super::{Answer, text, with_type};

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Certificate(MountId, IssuerId),
    List(MountId, IssuerId, Part),
}

impl Asked {
    fn parse(path: &str) -> Option<Self> {
        let (mount, file) = path.strip_prefix("/pki/")?.split_once('/')?;
        let (issuer, kind) = file.split_once('.')?;
        let (mount, issuer) = (mount.parse().ok()?, issuer.parse().ok()?);
        match kind {
            "crt" => Some(Self::Certificate(mount, issuer)),
            "crl" => Some(Self::List(mount, issuer, Part::WHOLE)),
            _ => {
                let (number, of) = kind.strip_suffix(".crl")?.split_once("-of-")?;
                let part = Part::new(number.parse().ok()?, of.parse().ok()?)?;
                // One spelling alone, so that nobody has the same list made under many names.
                (format!("{}-of-{}", part.number, part.of) == format!("{number}-of-{of}") && part != Part::WHOLE)
                    .then_some(Self::List(mount, issuer, part))
            }
        }
    }
}

pub(super) async fn answer(vault: &Vault, path: &str) -> Answer {
    let Some(asked) = Asked::parse(path) else { return absent() };
    let found = async {
        let vault = vault.unsealed()?;
        Ok::<_, Failure>(match asked {
            Asked::Certificate(mount, issuer) => ("application/pkix-cert", Bytes::from(vault.issuer_der(mount, issuer).await?)),
            Asked::List(mount, issuer, part) => {
                ("application/pkix-crl", Bytes::from_owner(vault.list_der(mount, issuer, part).await?))
            }
        })
    };
    match found.await {
        Ok((kind, body)) => with_type(StatusCode::OK, kind, body),
        Err(failure) if matches!(failure.reason, Reason::NotFound | Reason::InvalidArgument) => absent(),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the vault cannot answer now: it is sealed, or its store is away\n"),
    }
}

fn absent() -> Answer {
    text(StatusCode::NOT_FOUND, "there is no such certificate or list\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        let (mount, issuer) = (MountId::from_bytes([1; 16]), IssuerId::from_bytes([2; 16]));
        let at = |rest: &str| Asked::parse(&format!("/pki/{mount}/{issuer}{rest}"));
        assert_eq!(at(".crt"), Some(Asked::Certificate(mount, issuer)));
        assert_eq!(at(".crl"), Some(Asked::List(mount, issuer, Part::WHOLE)));
        assert_eq!(at(".3-of-4.crl"), Part::new(3, 4).map(|part| Asked::List(mount, issuer, part)));
        assert!(at(".255-of-256.crl").is_some());
        for wrong in [
            "",
            ".",
            ".der",
            ".0-of-1.crl",
            ".4-of-4.crl",
            ".03-of-4.crl",
            ".3-of-04.crl",
            ".+3-of-4.crl",
            ".0-of-3.crl",
            ".0-of-512.crl",
            ".crl/",
            ".crl.crl",
        ] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
        for wrong in [
            "",
            "/",
            "/pki",
            "/pki/a/b.crl",
            &format!("/pki/{mount}/{issuer}").to_uppercase(),
            &format!("//pki/{mount}/{issuer}.crl"),
        ] {
            assert_eq!(Asked::parse(wrong), None, "{wrong}");
        }
    }
}
