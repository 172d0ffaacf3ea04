//! Annotations in a text: found, and replaced where they stand.
//!
//! The text is YAML, or a template of such, so it is not parsed as a whole: an annotation is a line, with those below it that are
//! indented further. Annotations of one object are those of one indentation with nothing less indented between them.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    Note,
    annotations::{PREFIX, converted},
};

/// An annotation of the old injector's.
struct Found {
    /// The first line, from 0, and the one behind the last.
    lines: (usize, usize),
    name: String,
    value: String,
}

/// The text with Coffer's annotations, and what people should know of it.
pub(super) fn rewritten(text: &str, mounts: &BTreeMap<String, String>) -> Result<(String, Vec<Note>), String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (mut out, mut notes, mut next) = (String::with_capacity(text.len()), Vec::new(), 0);
    while next < lines.len() {
        let line = lines.get(next).copied().unwrap_or_default();
        if key_of(line).is_none() {
            if line.contains(PREFIX) && !line.trim_start().starts_with('#') {
                let what = "the line is left as it is: write one annotation a line, as NAME: VALUE".to_owned();
                notes.push(Note { line: next + 1, annotation: PREFIX.to_owned(), what, lost: true });
            }
            out.push_str(line);
            next += 1;
            continue;
        }
        let group = group(&lines, next)?;
        let indentation = " ".repeat(indent(line));
        let old: BTreeMap<String, String> = group.iter().map(|found| (found.name.clone(), found.value.clone())).collect();
        let new = converted(&old, mounts);
        for (name, value) in new.annotations {
            // Text in JSON is text in YAML.
            let value = serde_json::to_string(&value).map_err(|error| error.to_string())?;
            writeln!(out, "{indentation}{name}: {value}").map_err(|error| error.to_string())?;
        }
        for (name, what, lost) in new.notes {
            let line = group.iter().find(|found| found.name == name).map_or(next, |found| found.lines.0) + 1;
            notes.push(Note { line, annotation: format!("{PREFIX}{name}"), what, lost });
        }
        // What stands between them stays, behind.
        let end = group.last().map_or(next + 1, |found| found.lines.1);
        let ours = |at: usize| group.iter().any(|found| (found.lines.0..found.lines.1).contains(&at));
        for (_, line) in lines.iter().enumerate().take(end).skip(next).filter(|(at, _)| !ours(*at)) {
            out.push_str(line);
        }
        next = end;
    }
    notes.sort_by_key(|note| note.line);
    Ok((out, notes))
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The name of an annotation that a line begins, and what stands behind it.
fn key_of(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start_matches(' ');
    let quote = ['"', '\''].into_iter().find(|quote| line.starts_with(*quote));
    let rest = line.trim_start_matches(['"', '\'']).strip_prefix(PREFIX)?;
    match quote {
        Some(quote) => {
            let (name, rest) = rest.split_once(quote)?;
            Some((name, rest.trim_start_matches(' ').strip_prefix(':')?))
        }
        None => rest.split_once(':'),
    }
}

/// The annotations of the object that the line is in, from that line on.
fn group(lines: &[&str], first: usize) -> Result<Vec<Found>, String> {
    let depth = lines.get(first).map_or(0, |line| indent(line));
    let (mut group, mut at) = (Vec::new(), first);
    while let Some(line) = lines.get(at) {
        let is_blank = line.trim().is_empty();
        if !is_blank && indent(line) < depth || line.starts_with("---") {
            break;
        }
        let Some((name, rest)) = key_of(line).filter(|_| indent(line) == depth) else {
            at += 1;
            continue;
        };
        let mut end = at + 1;
        while lines.get(end).is_some_and(|line| indent(line) > depth || line.trim().is_empty()) {
            end += 1;
        }
        // Empty lines at the end are nobody's.
        while end > at + 1 && lines.get(end - 1).is_some_and(|line| line.trim().is_empty()) {
            end -= 1;
        }
        let below: String = lines.get(at + 1..end).unwrap_or_default().concat();
        let value: BTreeMap<String, String> = serde_saphyr::from_str(&format!("value:{rest}{below}"))
            .map_err(|_| format!("line {}: the value of {PREFIX}{name} is not text", at + 1))?;
        group.push(Found { lines: (at, end), name: name.to_owned(), value: value.into_values().next().unwrap_or_default() });
        at = end;
    }
    Ok(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPLOYMENT: &str = r#"# Ours.
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    metadata:
      annotations:
        example.com/a: "1"
        vault.hashicorp.com/agent-inject: "true"
        # The database.
        vault.hashicorp.com/agent-inject-secret-db: secret/data/prod/db
        'vault.hashicorp.com/agent-inject-template-db': |
          {{- with secret "secret/data/prod/db" -}}
          postgres://{{ .Data.data.user }}:{{ .Data.data.password }}@db/
          {{- end }}

        example.com/b: "2"
    spec: {}   # all else
---
metadata:
  annotations: {"vault.hashicorp.com/role": "x"}
"#;

    #[test]
    fn annotations_are_replaced_where_they_stand_and_all_else_stays() {
        let (text, notes) = rewritten(DEPLOYMENT, &BTreeMap::from([("secret".into(), "kv".into())])).unwrap();
        let expected = r#"# Ours.
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    metadata:
      annotations:
        example.com/a: "1"
        coffer.dev/inject: "true"
        coffer.dev/secret-db: "kv/prod/db"
        coffer.dev/template-db: "postgres://{{ secret.user }}:{{ secret.password }}@db/"
        # The database.

        example.com/b: "2"
    spec: {}   # all else
---
metadata:
  annotations: {"vault.hashicorp.com/role": "x"}
"#;
        assert_eq!(text, expected);
        assert_eq!(notes.iter().map(|note| (note.line, note.lost)).collect::<Vec<_>>(), [(21, true)]);
    }

    #[test]
    fn a_text_without_them_stays_as_it_is() {
        for text in ["", "a: b", "# vault.hashicorp.com/agent-inject\n", "\r\n\n x"] {
            assert_eq!(rewritten(text, &BTreeMap::new()).unwrap(), (text.to_owned(), Vec::new()));
        }
        let list = "vault.hashicorp.com/agent-inject: [a]\n";
        assert!(rewritten(list, &BTreeMap::new()).unwrap_err().starts_with("line 1: the value of"));
    }
}
