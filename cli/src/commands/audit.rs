//! `coffer audit`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use coffer_client::proto::{GetCheckpointRequest, GetCheckpointResponse, TailAuditRequest, TailAuditResponse};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::{
    app::{App, answer},
    exit::Exit,
    failure::Result,
    output::{Format, one_line, printable, rfc3339},
};

/// Entries before the end that `tail` begins with, unless said otherwise.
const LAST_DEFAULT: u64 = 20;
/// Entries before the end to begin with, at most: the vault's own limit.
const LAST_MAX: u64 = 10_000;

mod verify;

/// Follow the audit log, and verify a copy of it offline
#[derive(Subcommand)]
pub(crate) enum Audit {
    Tail(Tail),
    Verify(verify::Verify),
    Key(Key),
    Checkpoint(Checkpoint),
}

impl Audit {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Tail(command) => command.run(app).await,
            Self::Verify(command) => command.run(app),
            Self::Key(command) => command.run(app).await,
            Self::Checkpoint(command) => command.run(app).await,
        }
    }
}

/// Show entries of the log
///
/// With -o json each entry is one line: {"index": ..., "time": ..., "record": {...}}.
#[derive(Args)]
pub(crate) struct Tail {
    /// Go on with new entries as they come
    #[arg(short, long)]
    follow: bool,
    /// Begin this many entries before the end
    #[arg(short = 'n', long, value_name = "N", default_value_t = LAST_DEFAULT, value_parser = clap::value_parser!(u64).range(0..=LAST_MAX))]
    last: u64,
    /// Begin at this position, from 0
    #[arg(long, value_name = "INDEX", conflicts_with = "last")]
    from: Option<u64>,
}

impl Tail {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let attempt = vault.attempt("read the audit log");
        let request = TailAuditRequest {
            from: self.from.unwrap_or(0),
            last: if self.from.is_some() { 0 } else { self.last },
            follow: self.follow,
        };
        let mut entries = answer(&attempt, vault.client.audit().tail_audit(request).await)?.into_inner();
        while let Some(entry) = answer(&attempt, entries.message().await)? {
            match app.out.format {
                Format::Json | Format::Yaml => app.out.item(&json(&entry))?,
                Format::Table => app.out.text(&line(&entry))?,
            }
        }
        Ok(Exit::Done)
    }
}

#[derive(Serialize)]
struct EntryJson<'a> {
    index: u64,
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

fn json(entry: &TailAuditResponse) -> EntryJson<'_> {
    let record: Option<&RawValue> = serde_json::from_str(&entry.record_json).ok();
    let text = record.is_none().then_some(entry.record_json.as_str());
    EntryJson { index: entry.index, time: rfc3339(entry.time.as_ref()), record, text }
}

/// What stands first on an entry's line, in this order, without its name.
const LEAD: [&str; 5] = ["rpc", "principal", "action", "resource", "reason"];
/// What is left to scripts: `id` is shown as `request`, and the principal says most of `pod`.
const LEFT_OUT: [&str; 8] = ["id", "index", "kind", "outcome", "pod", "session", "time", "value_hmacs"];
/// The id that a caller gave to its request, in a record's details.
const CALLER_ID: &str = "caller_request_id";

/// An entry on one line: position, time, outcome, then who asked for what, then the rest by name.
fn line(entry: &TailAuditResponse) -> String {
    let time = rfc3339(entry.time.as_ref()).unwrap_or_default();
    let Ok(members) = serde_json::from_str::<BTreeMap<String, Value>>(&entry.record_json) else {
        return format!("{:>6}  {time}  {}", entry.index, one_line(&entry.record_json));
    };
    let text = |name: &str| members.get(name).map(shown);
    let outcome = text("outcome").unwrap_or_default();
    // What is no request says what it is.
    let kind = text("kind").filter(|kind| kind != "request");
    let mut line = format!("{:>6}  {time}  {outcome:<6}", entry.index);
    for part in kind.into_iter().chain(LEAD.into_iter().filter_map(text)) {
        line.push_str("  ");
        line.push_str(part.strip_prefix("coffer.v1.").unwrap_or(&part));
    }
    let rest = rest(&members);
    if !rest.is_empty() {
        line.push_str(&format!("  {}", rest.join(" ")));
    }
    one_line(&line)
}

/// What does not lead the line, as `name=value`: the request's id as its caller knows it, the pod, then all else.
fn rest(members: &BTreeMap<String, Value>) -> Vec<String> {
    let inner = |outer: &str, name: &str| members.get(outer).and_then(|outer| outer.get(name));
    let mut rest = Vec::new();
    if let Some(id) = inner("details", CALLER_ID).or_else(|| members.get("id")) {
        rest.push(format!("request={}", shown(id)));
    }
    if let Some(pod) = inner("pod", "name") {
        rest.push(format!("pod={}", shown(pod)));
    }
    for (name, value) in members {
        match value {
            _ if LEAD.contains(&name.as_str()) || LEFT_OUT.contains(&name.as_str()) => {}
            Value::Object(inner) => {
                let inner: BTreeMap<_, _> = inner.iter().filter(|(name, _)| *name != CALLER_ID).collect();
                rest.extend(inner.into_iter().map(|(name, value)| format!("{name}={}", shown(value))));
            }
            _ => rest.push(format!("{name}={}", shown(value))),
        }
    }
    rest
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && !text.contains(char::is_whitespace) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Show the key that verifies the log's checkpoints
///
/// Keep it somewhere else than the log: with it, a copy of the log can be verified without the vault.
#[derive(Args)]
#[command(after_help = "\
Example:
  coffer audit key > coffer.key
  coffer audit verify /var/lib/coffer/audit --key @coffer.key")]
pub(crate) struct Key {}

/// Show the newest signed checkpoint
///
/// Keep it somewhere else than the log: what was in the log then must be in it for ever.
#[derive(Args)]
#[command(after_help = "\
Example:
  coffer audit checkpoint > monday.note
  coffer audit verify /var/lib/coffer/audit --key @coffer.key --checkpoint @monday.note")]
pub(crate) struct Checkpoint {}

#[derive(Serialize)]
struct CheckpointJson<'a> {
    verifier_key: &'a str,
    checkpoint: &'a str,
}

impl Key {
    async fn run(self, app: &App) -> Result<Exit> {
        let point = newest(app, "read the log's key").await?;
        show(app, &point, &point.verifier_key)
    }
}

impl Checkpoint {
    async fn run(self, app: &App) -> Result<Exit> {
        let point = newest(app, "read the newest checkpoint").await?;
        show(app, &point, &point.checkpoint)
    }
}

async fn newest(app: &App, doing: &str) -> Result<GetCheckpointResponse> {
    let vault = app.vault()?;
    let attempt = vault.attempt(doing);
    Ok(answer(&attempt, vault.client.audit().get_checkpoint(GetCheckpointRequest {}).await)?.into_inner())
}

fn show(app: &App, point: &GetCheckpointResponse, text: &str) -> Result<Exit> {
    let json = CheckpointJson { verifier_key: &point.verifier_key, checkpoint: &point.checkpoint };
    app.out.result(&json, |_| printable(text))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_whatever_it_holds() {
        let entry = TailAuditResponse {
            index: 7,
            time: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            record_json: r#"{"index":7,"outcome":"denied","kind":"request","rpc":"coffer.v1.KvService/GetSecret","id":"r1","details":{"b":"x\n\u001b[31m","a":"1"},"resource":"kv/a b","principal":"operator:bo","rules":["g1","g2"],"pod":{"name":"api-0","uid":"u"},"reason":"NOT_FOUND_OR_DENIED"}"#.into(),
        };
        assert_eq!(
            line(&entry),
            "     7  1970-01-01T00:00:00.000Z  denied  KvService/GetSecret  operator:bo  \"kv/a b\"  NOT_FOUND_OR_DENIED  \
             request=r1 pod=api-0 a=1 b=\"x\\n\\u001b[31m\" rules=g1,g2"
        );
        let json = serde_json::to_string(&json(&entry)).unwrap();
        assert!(
            json.starts_with(r#"{"index":7,"time":"1970-01-01T00:00:00.000Z","record":{"index":7,"outcome":"denied""#),
            "{json}"
        );
    }

    #[test]
    fn an_entry_that_is_not_understood_is_shown_as_it_is() {
        let entry = TailAuditResponse { index: 0, time: None, record_json: "x\u{1b}".into() };
        assert_eq!(line(&entry), "     0    x\\u{1b}");
        assert_eq!(serde_json::to_string(&json(&entry)).unwrap(), r#"{"index":0,"time":null,"text":"x\u001b"}"#);
    }
}
