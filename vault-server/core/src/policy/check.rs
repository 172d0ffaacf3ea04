//! Checking the text of a policy before it counts.

use std::{
    iter::Peekable,
    str::{Chars, FromStr},
    sync::LazyLock,
};

use cedar_policy::{EntityUid, Policy, PolicySet, Schema, SchemaFragment, ValidationMode, ValidationWarning, Validator};
use miette::Diagnostic;

use crate::{
    action::Action,
    limits::{FINDING_CHARS_MAX, FINDINGS_MAX, POLICY_BYTES_MAX, POLICY_DEPTH_MAX, POLICY_TOKENS_MAX},
};

use super::entity::{self, Kind, Node};

/// One thing that the check of a policy found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it keeps the policy from being used.
    pub error: bool,
    /// What is wrong.
    pub message: String,
    /// The line, from 1; 0 where it concerns no line.
    pub line: u32,
}

impl Finding {
    /// An error; its message may hold what the text says, and is as long as a finding may be.
    fn error(message: impl Into<String>, line: u32) -> Self {
        Self { error: true, message: shortened(&message.into()), line }
    }
}

const PATHS: &str = include_str!("paths.cedarschema");
#[cfg(test)]
const SYSTEM: &str = include_str!("system.cedarschema");
const ROLES: &str = include_str!("roles.cedar");

/// The roles, each policy with the role that it belongs to as `@role`.
pub(super) fn roles() -> PolicySet {
    ROLES.parse().expect("the text is part of the program")
}

/// Checks what people write: against the part of the schema without the system, so that no text can name it.
static PATH_VALIDATOR: LazyLock<Validator> = LazyLock::new(|| validator(&[PATHS]));

/// Checks the roles, which name everything.
#[cfg(test)]
pub(super) fn system_validator() -> Validator {
    validator(&[PATHS, SYSTEM])
}

fn validator(texts: &[&str]) -> Validator {
    let fragment = |text: &&str| SchemaFragment::from_cedarschema_str(text).expect("the text is part of the program").0;
    Validator::new(Schema::from_schema_fragments(texts.iter().map(fragment)).expect("the text is part of the program"))
}

/// Checks a text, and yields its policies where none of the findings is an error.
pub(super) fn check(text: &str) -> (Vec<Finding>, Option<Vec<Policy>>) {
    if let Some(finding) = check_shape(text) {
        return (vec![finding], None);
    }
    let set = match PolicySet::from_str(text) {
        Ok(set) => set,
        Err(errors) => {
            return (
                errors.iter().map(|error| Finding::error(sentence(error), line_of(error, text))).take(FINDINGS_MAX).collect(),
                None,
            );
        }
    };
    let mut findings = Vec::new();
    if set.templates().next().is_some() {
        findings.push(Finding::error("it has ?principal or ?resource in it: templates are for grants", 0));
    } else if set.is_empty() {
        findings.push(Finding::error("there is no policy in it", 0));
    }
    let policies: Vec<_> = set.policies().cloned().collect();
    for literal in policies.iter().flat_map(Policy::entity_literals) {
        findings.extend(check_literal(&literal).map(|message| Finding::error(message, line_naming(&literal, text))));
    }
    if findings.is_empty() {
        let result = PATH_VALIDATOR.validate(&set, ValidationMode::Strict);
        findings.extend(result.validation_errors().map(|error| Finding::error(sentence(error), line_of(error, text))));
        findings.extend(result.validation_warnings().map(|warning| Finding {
            // What never applies is a mistake, and in a `forbid` a hole.
            error: matches!(warning, ValidationWarning::ImpossiblePolicy(_)),
            message: sentence(warning),
            line: line_of(warning, text),
        }));
    }
    findings.sort_by(|a, b| (!a.error, a.line, &a.message).cmp(&(!b.error, b.line, &b.message)));
    findings.dedup();
    let usable = !findings.iter().any(|finding| finding.error);
    findings.truncate(FINDINGS_MAX);
    (findings, usable.then_some(policies))
}

/// A name that nothing has would make a policy that never applies: for a `forbid`, that is a hole.
fn check_literal(uid: &EntityUid) -> Option<String> {
    let id = uid.id().unescaped();
    if uid.type_name().to_string() == "Action" {
        let system = id.parse::<Action>().is_ok_and(|action| !action.on_path());
        return system.then(|| format!("{uid} is not about paths: only roles decide about the vault itself"));
    }
    let node = Node::of(uid)?;
    match node.kind {
        Kind::System | Kind::Bootstrap => Some(format!("{uid}: only roles decide about the vault itself")),
        kind => (!kind.can_be_called(id)).then(|| format!("{uid} never matches: no {} can have this name", kind.name())),
    }
}

/// Refuses what the parser should not even be given. Cedar 4.14 recurses as deep as the text says: a stack that overflows
/// ends the process, and before that its validator lets pass what is too deep for it.
fn check_shape(text: &str) -> Option<Finding> {
    if text.len() > POLICY_BYTES_MAX {
        return Some(Finding::error(format!("it is longer than {POLICY_BYTES_MAX} bytes"), 0));
    }
    let (mut depth, mut tokens, mut line) = (0_usize, 0_usize, 1_u32);
    let mut in_word = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let word = c.is_alphanumeric() || c == '_';
        match c {
            '\n' => line = line.saturating_add(1),
            '"' => line = line.saturating_add(skip_string(&mut chars)),
            '/' if chars.peek() == Some(&'/') => while chars.next_if(|c| !matches!(c, '\n' | '\r')).is_some() {},
            ';' if depth == 0 => tokens = 0,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '(' | '[' | '{' => (depth, tokens) = (depth + 1, tokens + 1),
            ',' | ':' | ';' => {}
            _ if c.is_whitespace() || (word && in_word) => {}
            _ => tokens += 1,
        }
        in_word = word;
        if depth > POLICY_DEPTH_MAX {
            return Some(Finding::error(format!("there are more than {POLICY_DEPTH_MAX} brackets open at once"), line));
        }
        if tokens > POLICY_TOKENS_MAX {
            let message = format!("a policy has more than {POLICY_TOKENS_MAX} words and signs: split it into several");
            return Some(Finding::error(message, line));
        }
    }
    None
}

/// Goes on behind the end of a string that has just begun, and counts its line breaks.
fn skip_string(chars: &mut Peekable<Chars<'_>>) -> u32 {
    let (mut lines, mut escaped) = (0_u32, false);
    for c in chars {
        match c {
            '"' if !escaped => break,
            '\n' => lines = lines.saturating_add(1),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    lines
}

/// Cedar's message, and its advice where it has some.
fn sentence(error: &dyn Diagnostic) -> String {
    let message = error.to_string();
    let whole = error.help().map_or_else(|| message.clone(), |help| format!("{message} ({help})"));
    shortened(&without_origin(&whole))
}

fn shortened(message: &str) -> String {
    message.chars().take(FINDING_CHARS_MAX).collect()
}

/// Leaves out a policy's number in the text, which the line says better, and an action, for each of which Cedar repeats
/// what is wrong.
fn without_origin(message: &str) -> String {
    let mut parts = message.split("for policy `");
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.split_once('`').map_or(part, |(_, rest)| rest);
        short.push_str(rest.trim_start_matches([',', ':']).trim_start());
    }
    Action::ALL.iter().fold(short, |short, action| short.replace(&format!(" for {}", entity::action_uid(*action)), ""))
}

fn line_of(error: &dyn Diagnostic, text: &str) -> u32 {
    let offset = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    offset.map_or(0, |offset| line_at(offset, text))
}

fn line_naming(uid: &EntityUid, text: &str) -> u32 {
    text.find(&uid.to_string()).map_or(0, |offset| line_at(offset, text))
}

fn line_at(offset: usize, text: &str) -> u32 {
    let lines = text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
    u32::try_from(lines).map_or(0, |lines| lines + 1)
}
