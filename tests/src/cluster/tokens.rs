//! Service-account tokens in the API server's log of requests.
//!
//! The log has bodies whole, so an answer that issues a token has it in it, and a token review has the one that it is about:
//! nothing can be done about that but a policy that logs less. The search is exact about it: those fields are taken out, and
//! all that is left is searched.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::leaks::{Canaries, Search};

/// Where a token must be: resource, subresource, and the fields.
const PLACES: [(&str, &str, &[&str]); 2] = [
    ("serviceaccounts", "token", &["/responseObject/status/token"]),
    ("tokenreviews", "", &["/requestObject/spec/token", "/responseObject/spec/token"]),
];

/// What an event's tokens are there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Issued,
    Reviewed,
}

/// How many tokens the log had where they must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tokens {
    /// In answers that issued them.
    pub issued: usize,
    /// In reviews, of those that were noted.
    pub reviewed: usize,
}

/// Notes a token: as it is, and its signature alone, so that more of it is looked for.
pub fn note(canaries: &Canaries, token: &str) {
    canaries.add("a service-account token", token);
    if let Some((_, signature)) = token.rsplit_once('.') {
        canaries.add("a service-account token's signature", signature);
    }
}

/// Notes each token that was issued.
pub(super) fn note_issued(log: &Path, canaries: &Canaries) -> Result<()> {
    each_event(log, |_, event| {
        for token in taken(event).into_iter().filter_map(|(purpose, token)| (purpose == Purpose::Issued).then_some(token)) {
            note(canaries, &token);
        }
        Ok(())
    })
}

/// Searches the log, but for the fields where tokens must be; gives how many there were.
pub(super) fn search(log: &Path, search: &mut Search, canaries: &Canaries) -> Result<Tokens> {
    let (place, mut tokens) = (log.display().to_string(), Tokens::default());
    each_event(log, |line, event| {
        let found = taken(event);
        if found.is_empty() {
            return search.text(&place, line);
        }
        for (purpose, token) in found {
            match purpose {
                Purpose::Issued => tokens.issued += 1,
                Purpose::Reviewed => tokens.reviewed += usize::from(canaries.has(&token)),
            }
        }
        search.text(&place, event.to_string())
    })?;
    Ok(tokens)
}

/// Takes the tokens out of an event that must have some.
fn taken(event: &mut Value) -> Vec<(Purpose, String)> {
    let text = |pointer| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (verb, resource, subresource) = (text("/verb"), text("/objectRef/resource"), text("/objectRef/subresource"));
    let place = PLACES.into_iter().find(|(one, other, _)| verb == "create" && *one == resource && *other == subresource);
    let Some((resource, _, fields)) = place else { return Vec::new() };
    let purpose = if resource == "tokenreviews" { Purpose::Reviewed } else { Purpose::Issued };
    let take = |pointer| match event.pointer_mut(pointer).map(Value::take) {
        Some(Value::String(token)) if !token.is_empty() => Some((purpose, token)),
        _ => None,
    };
    fields.iter().copied().filter_map(take).collect()
}

fn each_event(log: &Path, mut look: impl FnMut(&[u8], &mut Value) -> Result<()>) -> Result<()> {
    let mut reader = BufReader::new(File::open(log).with_context(|| log.display().to_string())?);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        // The last line may be under way.
        if let Ok(mut event) = serde_json::from_slice(&line) {
            look(&line, &mut event)?;
        } else {
            look(&line, &mut Value::Null)?;
        }
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0In0.c2lnbmF0dXJlLXRoYXQtbm9ib2R5LW1heS1rbm93";

    /// The log of one event after one that issued the token; what is found in it, and where tokens were.
    fn searched(event: &Value) -> (Vec<String>, Tokens) {
        let (folder, canaries) = (tempfile::tempdir().unwrap(), Canaries::default());
        let log = folder.path().join("audit.jsonl");
        let issued = json!({"verb": "create", "objectRef": {"resource": "serviceaccounts", "subresource": "token"},
            "responseObject": {"status": {"token": TOKEN}}});
        fs::write(&log, format!("{issued}\n{event}\n")).unwrap();
        note_issued(&log, &canaries).unwrap();
        assert!(canaries.has(TOKEN) && canaries.count() == 2);
        let mut found = canaries.search().unwrap();
        let tokens = search(&log, &mut found, &canaries).unwrap();
        (found.leaks().iter().map(|leak| leak.secret.clone()).collect(), tokens)
    }

    #[test]
    fn a_token_where_it_must_be_is_counted_and_no_leak() {
        assert_eq!(searched(&Value::Null), (Vec::new(), Tokens { issued: 1, reviewed: 0 }));
        let review = json!({"verb": "create", "objectRef": {"resource": "tokenreviews"},
            "requestObject": {"spec": {"token": TOKEN}}, "responseObject": {"spec": {"token": TOKEN}}});
        assert_eq!(searched(&review), (Vec::new(), Tokens { issued: 1, reviewed: 2 }));
    }

    #[test]
    fn a_token_anywhere_else_is_a_leak() {
        let found = |event: &Value| searched(event).0;
        let elsewhere = [
            json!({"verb": "create", "objectRef": {"resource": "configmaps"}, "requestObject": {"spec": {"token": TOKEN}}}),
            json!({"verb": "update", "objectRef": {"resource": "tokenreviews"}, "requestObject": {"spec": {"token": TOKEN}}}),
            json!({"verb": "create", "objectRef": {"resource": "tokenreviews"}, "requestObject": {"spec": {"token": TOKEN}},
                "responseObject": {"status": {"error": format!("{TOKEN} is no good")}}}),
            json!({"verb": "create", "objectRef": {"resource": "serviceaccounts", "subresource": "token"},
                "requestObject": {"metadata": {"annotations": {"last": TOKEN}}}, "responseObject": {"status": {"token": "t"}}}),
            json!({"verb": "get", "requestURI": format!("/api?token={TOKEN}")}),
        ];
        for event in elsewhere {
            assert!(!found(&event).is_empty(), "{event}");
        }
        assert!(!found(&json!(format!("a line that is no event, with {TOKEN}"))).is_empty());
        let (_, signature) = TOKEN.rsplit_once('.').unwrap();
        assert_eq!(found(&json!({"verb": "get", "user": signature})), ["a service-account token's signature"]);
    }
}
