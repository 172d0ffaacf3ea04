use std::{collections::BTreeMap, time::UNIX_EPOCH};

use coffer_client::proto::{SecretEntry, SecretMetadata, VersionState};

use super::*;
use crate::output::View;

fn view() -> View {
    View { now: jiff::Timestamp::from_second(1_000_000).unwrap(), width: None }
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn secret() -> Secret {
    let fields =
        [("user", &b"app"[..]), ("pem", b"-----BEGIN\nabc\n"), ("empty", b""), ("bin", b"\xff\x00"), ("esc", b"\x1b[31m")];
    Secret {
        fields: fields.into_iter().map(|(name, value)| (name.to_owned(), SecretBytes::copied_from(value))).collect(),
        version: 3,
        created: Some(UNIX_EPOCH + Duration::from_secs(1_000_000 - 300)),
        created_by: "operator:alice".into(),
        expires: Some(UNIX_EPOCH + Duration::from_secs(1_000_000 + 86_400 * 3)),
        custom_metadata: BTreeMap::from([("owner".into(), "payments".into())]),
        receipt: 42,
    }
}

#[test]
fn a_secret_shows_its_fields_and_nothing_that_steers_the_terminal() {
    assert_eq!(
        plain(&show::secret_text("kv/prod/db", &secret(), false, &view())),
        "kv/prod/db, version 3, written 5m ago by operator:alice, expires in 3d, receipt 42\n\
         \n\
         FIELD  VALUE\n\
         bin    (2 bytes, not text: --field bin > FILE)\n\
         empty  (empty)\n\
         esc    (5 bytes, not text: --field esc > FILE)\n\
         pem    -----BEGIN\n       abc\n\
         user   app\n\
         \n\
         METADATA  VALUE\n\
         owner     payments\n"
    );
}

#[test]
fn a_masked_secret_shows_sizes_alone() {
    let text = plain(&show::secret_text("kv/x", &secret(), true, &view()));
    assert!(text.contains("user   (3 bytes)") && !text.contains("app"), "{text}");
    let json = serde_json::to_string(&show::secret_json("kv/x", &secret(), true)).unwrap();
    assert!(json.contains(r#""user":3"#) && !json.contains("app"), "{json}");
}

#[test]
fn scripts_get_text_as_text_and_bytes_as_base64() {
    let json = serde_json::to_value(show::secret_json("kv/x", &secret(), false)).unwrap();
    assert_eq!(json.pointer("/fields/user").unwrap(), "app");
    assert_eq!(json.pointer("/fields/pem").unwrap(), "-----BEGIN\nabc\n");
    assert_eq!(json.pointer("/fields_base64/bin").unwrap(), "/wA=");
    assert_eq!(json.pointer("/created").unwrap(), "1970-01-12T13:41:40.000Z");
    assert_eq!(serde_json::to_string(&show::field_json(&SecretBytes::copied_from(b"a\"b"))).unwrap(), r#""a\"b""#);
    assert_eq!(serde_json::to_string(&show::field_json(&SecretBytes::copied_from(b"\xff"))).unwrap(), r#"{"base64":"/w=="}"#);
}

#[test]
fn a_list_has_a_line_for_each_name_and_a_slash_for_folders() {
    let entry = |name: &str, secret, folder| SecretEntry { name: name.into(), secret, folder };
    let entries = [entry("api", true, true), entry("db", true, false), entry("x\u{1b}", false, true)];
    assert_eq!(list::listed(&entries), "api\napi/\ndb\nx\\u{1b}/\n");
}

#[test]
fn metadata_shows_each_version_with_its_state() {
    let sent = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let version = |number, state: VersionState| VersionInfo {
        version: number,
        created: sent(1_000_000 - 60),
        created_by: "operator:alice".into(),
        state: state.into(),
        expires: None,
    };
    let metadata = SecretMetadata {
        newest_version: 2,
        versions: vec![version(1, VersionState::Destroyed), version(2, VersionState::Live)],
        custom_metadata: [("owner".to_owned(), "payments".to_owned())].into(),
        max_versions: 10,
        cas_required: true,
        created: sent(1_000_000 - 7_200),
        etag: "e".into(),
    };
    assert_eq!(
        plain(&metadata::render("kv/x", &metadata, &view())),
        "Path           kv/x\n\
         Created        2h ago\n\
         Keeps          10 versions\n\
         Check-and-set  required\n\
         \n\
         VERSION  STATE      AGE  EXPIRES  BY\n\
         1        destroyed  60s  -        operator:alice\n\
         2        live       60s  -        operator:alice\n\
         \n\
         METADATA  VALUE\n\
         owner     payments\n"
    );
}

#[test]
fn a_ttl_has_whole_seconds_within_bounds() {
    assert_eq!(parse_ttl("30d"), Ok(Duration::from_secs(30 * 86_400)));
    assert!(parse_ttl("3155760000s").is_ok());
    for bad in ["0s", "500ms", "3155760001s", "30", "d", "", "-1d"] {
        assert!(parse_ttl(bad).is_err(), "{bad}");
    }
}

#[test]
fn versions_are_numbers_from_one() {
    assert_eq!(parse_version(" 3"), Ok(3));
    for bad in ["0", "-1", "x", "", "1.0"] {
        assert!(parse_version(bad).is_err(), "{bad}");
    }
    assert!(check_versions(&[1; VERSIONS_MAX]).is_ok());
    assert!(check_versions(&[1; VERSIONS_MAX + 1]).is_err());
}
