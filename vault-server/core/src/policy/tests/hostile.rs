//! Texts that are made to hurt. The parser and the validator are Cedar's: what they are given is bounded here.

use super::*;
use crate::limits::{POLICY_BYTES_MAX, POLICY_DEPTH_MAX, POLICY_TOKENS_MAX};

/// Half of what a worker of tokio has.
const STACK: usize = 1 << 20;

fn when(body: &str) -> String {
    format!("permit (principal, action, resource) when {{ {body} }};")
}

/// Ways of going deep, each `n` steps; the second says whether brackets do it.
fn deep(n: usize) -> Vec<(String, bool)> {
    let nested = |open: &str, middle: &str, close: &str| when(&format!("{}{middle}{}", open.repeat(n), close.repeat(n)));
    let chain = |first: &str, next: &str, last: &str| when(&format!("{first}{}{last}", next.repeat(n)));
    vec![
        (nested("(", "true", ")"), true),
        (nested("(true || ", "true", ")"), true),
        (nested("[", "1", "]"), true),
        (nested("{a: ", "1", "}"), true),
        (nested("ip(", "1", ")"), true),
        (when(&"(".repeat(n)), true),
        (when(&format!("\")\" == {}", "[".repeat(n))), true),
        (format!("// {{ \" \n{}", when(&"(".repeat(n))), true),
        (chain("true", " && true", ""), false),
        (chain("1 == 1", "+1", ""), false),
        (chain("context", ".a", ""), false),
        (chain("", "if true then true else ", "true"), false),
        (chain("context.tenant", ".contains(1)", ""), false),
        (chain("", "!", "true"), false),
        (chain("1 == ", "-", "1"), false),
        (chain("context has a", ".a", ""), false),
        (format!("permit (principal, action, resource) {};", "when {true}".repeat(n)), false),
    ]
}

/// Does it on a small stack: if that does not suffice, the whole test process ends.
fn on_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap().join().unwrap()
}

#[test]
fn text_that_goes_too_deep_is_refused_before_it_is_parsed() {
    for steps in [POLICY_TOKENS_MAX + 1, POLICY_BYTES_MAX] {
        for (text, brackets) in deep(steps) {
            let head: String = text.chars().take(90).collect();
            let findings = on_small_stack(move || Policies::lint(&text));
            assert_eq!(findings.len(), 1, "{head}: {findings:?}");
            let expected = if brackets { "brackets open at once" } else { "words and signs" };
            let message = &findings[0].message;
            assert!(message.contains(expected) || message.contains("longer than"), "{head}: {message}");
        }
    }
}

#[test]
fn brackets_and_words_hold_to_their_limits() {
    // The condition's own brace is one of the brackets.
    let brackets = |n: usize| when(&format!("{}true{}", "(".repeat(n - 1), ")".repeat(n - 1)));
    assert_eq!(Policies::lint(&brackets(POLICY_DEPTH_MAX)), []);
    assert_eq!(Policies::lint(&brackets(POLICY_DEPTH_MAX + 1)).len(), 1);

    // `permit (principal, action, resource) when { 1<1 }` has ten words and signs, and each `+1` two more.
    let words = |n: usize| when(&format!("1<1{}", "+1".repeat((n - 10) / 2)));
    assert_eq!(Policies::lint(&words(POLICY_TOKENS_MAX)), []);
    assert_eq!(Policies::lint(&words(POLICY_TOKENS_MAX + 2)).len(), 1);
    assert_eq!(Policies::lint(&words(POLICY_TOKENS_MAX).repeat(3)), [], "each policy of a text has its own");
    let list = when(&format!("[{}].contains(context.pod.name)", vec!["\"some.pod; (\""; 1_000].join(", ")));
    assert_eq!(Policies::lint(&list), [], "strings do not count");
}

/// Cedar's validator says nothing about what is too deep for the stack: then a mistake would slip by.
#[test]
fn the_deepest_text_that_is_let_through_is_validated_to_its_end() {
    let brackets = POLICY_DEPTH_MAX - 1;
    let chains = (POLICY_TOKENS_MAX - 16) / 3;
    let texts = [
        when(&format!("{}context.nonsense{}", "(".repeat(brackets), ")".repeat(brackets))),
        when(&format!("{}context.nonsense{}", "(context.now > 0 || ".repeat(brackets), ")".repeat(brackets))),
        when(&format!("context.nonsense{}", "&&true".repeat(chains))),
        when(&format!("context.nonsense{}", ".a".repeat(chains))),
        when(&format!("1 == context.nonsense{}", "+1".repeat(chains))),
        when(&format!("{}context.nonsense", "if context.now > 0 then true else ".repeat((POLICY_TOKENS_MAX - 16) / 9))),
    ];
    for text in texts {
        let head: String = text.chars().take(90).collect();
        let findings = on_small_stack(move || Policies::lint(&text));
        assert!(findings.iter().any(|finding| finding.message.contains("nonsense")), "{head}: {findings:?}");
    }
}

#[test]
fn the_deepest_text_that_is_let_through_is_evaluated_on_a_small_stack() {
    let chains = (POLICY_TOKENS_MAX - 16) / 3;
    for body in ["context.now > 0", "context.now >= 0"] {
        let text = when(&format!("{body}{}", "&&true".repeat(chains)));
        let sum = when(&format!("context.now < 9999{}", "+1".repeat(chains)));
        assert!(on_small_stack(move || permits(&policies([], &[&text, &sum]), "k8s:prod/a/b", "read", "kv/a")));
    }
}
