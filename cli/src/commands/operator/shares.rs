//! Shares as they are handed in.

use coffer_client::proto::QuorumProgress;
use coffer_secret::SecretString;

use crate::{
    app::App,
    failure::{Failure, Result},
    input::{CREDENTIAL_BYTES_MAX, Source, hidden},
};

/// What a share begins with.
const SHARE_PREFIX: &str = "coffer-share-";
/// What an encrypted share begins with.
const AGE_PREFIX: &str = "-----BEGIN AGE ENCRYPTED FILE-----";

pub(super) fn handed_in(progress: &QuorumProgress) -> String {
    format!("{} of {} shares handed in (nonce {}).", progress.received, progress.needed, progress.nonce)
}

/// Where the shares are. A share itself on the command line is refused.
pub(super) fn share_sources(arguments: &[String]) -> Result<Vec<Source>> {
    let source = |text: &String| {
        Source::marked(text).map_err(|hint| {
            let failure = Failure::usage(format!("a share is not taken from the command line: {hint}"));
            if text.starts_with(SHARE_PREFIX) {
                failure.why("other users of this machine can see it, and your shell keeps it in its history: remove it there")
            } else {
                failure.next("coffer operator unseal asks for the share")
            }
        })
    };
    arguments.iter().map(source).collect()
}

/// Reads the shares of all sources, a line each; asks for one where there is no source.
pub(super) fn read_shares(app: &App, sources: &[Source]) -> Result<Vec<SecretString>> {
    if sources.is_empty() {
        let share = hidden("Share", "use @FILE, or - for standard input", CREDENTIAL_BYTES_MAX)?;
        return split_shares(&share, "what was typed");
    }
    let mut shares = Vec::new();
    for source in sources {
        let content = app.input.text(source, CREDENTIAL_BYTES_MAX)?;
        shares.extend(split_shares(&content, &source.name())?);
    }
    Ok(shares)
}

/// The shares in a text, a line each.
fn split_shares(content: &SecretString, source: &str) -> Result<Vec<SecretString>> {
    if content.expose().trim_start().starts_with(AGE_PREFIX) {
        return Err(Failure::usage(format!("{source} is still encrypted"))
            .next("age -d -i KEY-FILE SHARE-FILE | coffer operator unseal -"));
    }
    let lines = content.expose().lines().map(str::trim).filter(|line| !line.is_empty());
    let shares: Vec<SecretString> = lines.map(SecretString::copied_from).collect();
    if shares.is_empty() {
        return Err(Failure::usage(format!("there is no share in {source}")));
    }
    if shares.iter().any(|share| !share.expose().starts_with(SHARE_PREFIX)) {
        let what = if shares.len() == 1 { "is no share" } else { "holds something that is no share" };
        return Err(
            Failure::usage(format!("{source} {what}")).next(format!("a share is one line that begins with {SHARE_PREFIX}"))
        );
    }
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Result<Vec<String>> {
        let shares = split_shares(&SecretString::copied_from(text), "s.txt")?;
        Ok(shares.iter().map(|share| share.expose().to_owned()).collect())
    }

    #[test]
    fn a_text_may_hold_several_shares() {
        assert_eq!(split(" coffer-share-a \n\ncoffer-share-b\r\n").unwrap(), ["coffer-share-a", "coffer-share-b"]);
    }

    #[test]
    fn what_is_no_share_is_told_before_anything_is_sent() {
        let encrypted = split("-----BEGIN AGE ENCRYPTED FILE-----\nabc").unwrap_err();
        assert!(encrypted.next.unwrap().starts_with("age -d"), "names the command that decrypts");
        assert!(split("\n").unwrap_err().what.contains("no share"));
        let other = split("hunter2").unwrap_err();
        assert!(!format!("{other:?}").contains("hunter2"), "{other:?}");
    }
}
