use proptest::prelude::*;

use super::{checksum::github_token, *};
use crate::Digest;

fn ids(text: &[u8]) -> Vec<&'static str> {
    Scanner::default().read(text).unwrap().iter().map(|found| found.what.id()).collect()
}

/// A token made here: scanners of code must not find one in this file.
fn github() -> String {
    github_token("ghp_", "zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ")
}

#[test]
fn a_token_is_found_wherever_it_stands() {
    let token = github();
    for text in [
        token.clone(),
        format!("export GITHUB_TOKEN={token}\n"),
        format!("\"token\":\"{token}\""),
        format!("https://{token}@github.com"),
        format!("'a\\n{token}\\n'"),
        format!("//registry/:_authToken={token}"),
    ] {
        assert_eq!(ids(text.as_bytes()), ["github-token"], "{text}");
    }
}

#[test]
fn what_only_looks_like_a_token_is_none() {
    let token = github();
    for text in [
        token.replace("ghp_", "ghq_"),
        format!("a{token}"),
        format!("{token}x"),
        token.to_ascii_uppercase(),
        token.get(..token.len() - 1).unwrap().to_owned(),
    ] {
        assert!(!ids(text.as_bytes()).contains(&"github-token"), "{text}");
    }
}

#[test]
fn a_secret_is_found_at_each_place_around_a_window_s_end_and_with_its_line() {
    let token = github();
    for distance in [0, 1, 20, 39, 40, 41, REACH_BYTES, REACH_BYTES + 1, REACH_BYTES + BEHIND_BYTES, 2 * REACH_BYTES] {
        let before = WINDOW_BYTES + REACH_BYTES + BEHIND_BYTES - distance;
        let mut text = "0123456 \n".repeat(before / 9 + 1).into_bytes();
        text.truncate(before);
        text.push(b'\n');
        let line = 1 + text.iter().filter(|byte| **byte == b'\n').count() as u64;
        text.extend_from_slice(token.as_bytes());
        text.extend_from_slice(&vec![b'\n'; 3 * WINDOW_BYTES]);
        let found = Scanner::default().read(&text[..]).unwrap();
        assert_eq!(found.len(), 1, "{distance}");
        assert_eq!((found[0].what.id(), found[0].line), ("github-token", Some(line)), "{distance}");
    }
}

#[test]
fn programs_are_searched_for_tokens_and_not_for_names() {
    let token = github();
    let mut program = vec![0x7f, b'E', b'L', b'F', 0, 0];
    program.extend_from_slice(format!("\0{token}\0 password=kX93jd82nQw1 ").as_bytes());
    let found = Scanner::default().read(&program[..]).unwrap();
    assert_eq!(found.iter().map(|found| (found.what.id(), found.line)).collect::<Vec<_>>(), [("github-token", None)]);
    assert_eq!(ids(b"password=kX93jd82nQw1 "), ["secret-value"]);
}

#[test]
fn the_surest_of_two_names_is_told() {
    assert_eq!(ids(format!("github_token = {}", github()).as_bytes()), ["github-token"]);
    assert_eq!(ids(b"aws_secret_access_key = wJa1rXUtnF9EMIzK7MDENGzbPxRfiCYzzz3KEYq1"), ["aws-secret-access-key"]);
}

#[test]
fn secrets_past_the_limit_are_not_told() {
    let many = |count: usize| ids(format!("{}\n", github()).repeat(count).as_bytes()).len();
    assert_eq!(many(FILE_SECRETS_MAX), FILE_SECRETS_MAX);
    assert_eq!(many(FILE_SECRETS_MAX + 1), FILE_SECRETS_MAX);
}

proptest! {
    #[test]
    fn nothing_that_is_read_stops_it(text in proptest::collection::vec(any::<u8>(), 0..4096), at in 0..4096_usize, rule in 0..400_usize) {
        let rules: Vec<_> = rules().collect();
        let keyword = rules[rule % rules.len()].keywords[0].as_bytes();
        let mut text = text;
        let at = at.min(text.len());
        text.splice(at..at, keyword.iter().copied());
        drop(ids(&text));
    }
}

/// A token of a rule's own format, with characters drawn by this seed.
fn made(rule: &Rule, seed: u64) -> Option<String> {
    let rules::Shape::Token { charset, min, .. } = rule.shape else { return None };
    let letters: Vec<u8> = (0..=127).filter(|byte| charset.has(*byte) && byte.is_ascii_alphanumeric()).collect();
    let mut state = seed;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(letters[(state >> 33) as usize % letters.len()])
    };
    let text: String = (0..min).map(|_| draw()).collect();
    Some(match rule.id {
        "github-token" | "npm-token" => github_token(rule.keywords[0], text.get(..30)?),
        "sourcegraph-token" => format!("sgp_local_{}", Digest::of(text.as_bytes()).to_string().rsplit(':').next()?.get(..40)?),
        "anthropic-key" => format!("{}{text}AA", rule.keywords[0]),
        "launchdarkly-key" => "sdk-1f0c7d5e-9a3b-4c2d-8e6f-5a4b3c2d1e0f".to_owned(),
        _ => format!("{}{text}", rule.keywords[0]),
    })
}

#[test]
fn each_rule_finds_what_is_made_to_its_format_and_nothing_that_is_not() {
    let mut scanner = Scanner::default();
    let mut is_found = |rule: &Rule, text: &str| scanner.text(text).iter().any(|found| found.what.id() == rule.id);
    let mut tried = 0;
    for rule in rules() {
        for seed in 0..20 {
            let Some(token) = made(rule, seed) else { continue };
            tried += 1;
            for text in [format!("x = \"{token}\""), format!("X={token}\n"), format!("\0{token}\0")] {
                assert!(is_found(rule, &text), "{}: {text}", rule.id);
            }
            for text in [format!("x{token}"), token.get(1..).unwrap().to_owned()] {
                assert!(!is_found(rule, &text), "{}: {text}", rule.id);
            }
        }
    }
    assert!(tried > 1_500, "{tried}");
}
