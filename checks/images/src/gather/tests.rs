use std::io::Write as _;

use serde_json::json;

use super::*;
use crate::{
    Digest, Remark,
    digest::blob,
    entries::{EXTENDED_BYTES_MAX, PATH_BYTES_MAX},
    kit::{Layer, Layout, Stored, facts, gzip, zstd},
};

/// A private key that was made for this test alone.
const KEY: &[u8] =
    b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";

/// Where secrets are, and the layer that hides each.
fn secrets(facts: &Facts) -> Vec<(String, Option<usize>)> {
    facts.secrets.iter().map(|secret| (secret.place.to_string(), secret.gone_in)).collect()
}

fn outcome(stored: Stored) -> Outcome {
    Layout::new(json!({}), vec![stored]).facts().layers.remove(0).outcome
}

fn stored(blob: Vec<u8>, plain: &[u8]) -> Stored {
    Stored { diff_id: Digest::of(plain), blob, media_type: "application/vnd.oci.image.layer.v1.tar" }
}

#[test]
fn layers_are_read_however_they_are_packed() {
    let plain = Layer::new().file("app/key", KEY).bytes();
    for blob in [plain.clone(), gzip(&plain), zstd(&plain)] {
        let facts = Layout::new(json!({}), vec![stored(blob, &plain)]).facts();
        assert_eq!(facts.layers[0].outcome, Outcome::Read);
        assert_eq!(secrets(&facts), [("layer 1: /app/key".to_owned(), None)]);
    }
}

#[test]
fn what_a_later_layer_hides_is_found_and_said_to_be_hidden() {
    for (hides, name) in [
        (Layer::new().file("app/.wh.key", b""), "deleted"),
        (Layer::new().file("app/key", b"nothing"), "replaced"),
        (Layer::new().file(".wh.app", b""), "its folder deleted"),
        (Layer::new().file("app/.wh..wh..opq", b""), "its folder emptied"),
    ] {
        let facts = facts(vec![Layer::new().file("app/key", KEY).file("apple/key", KEY), hides]);
        let expected = [("layer 1: /app/key".to_owned(), Some(2)), ("layer 1: /apple/key".to_owned(), None)];
        assert_eq!(secrets(&facts), expected, "{name}");
    }
}

#[test]
fn a_folder_that_is_there_again_hides_nothing() {
    let again = Layer::new().entry("app/", tar::EntryType::Directory, 0o755, b"");
    assert_eq!(secrets(&facts(vec![Layer::new().file("app/key", KEY), again])), [("layer 1: /app/key".to_owned(), None)]);
}

#[test]
fn secrets_are_found_in_archives_within_archives() {
    let inner = gzip(&Layer::new().file("etc/key", KEY).bytes());
    let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    zip.start_file("a/inner.tgz", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(&inner).unwrap();
    let zip = zip.finish().unwrap().into_inner();
    let facts = facts(vec![Layer::new().file("app/x.zip", &zip).file("app/key.gz", &gzip(KEY))]);
    let places: Vec<_> = secrets(&facts).into_iter().map(|(place, _)| place).collect();
    assert_eq!(places, ["layer 1: /app/x.zip!a/inner.tgz!etc/key", "layer 1: /app/key.gz"]);
}

#[test]
fn archives_are_opened_as_deep_as_the_limit_and_no_deeper() {
    let nested = |depth: usize| {
        let mut bytes = KEY.to_vec();
        for _ in 0..depth {
            bytes = gzip(&bytes);
        }
        let facts = facts(vec![Layer::new().file("key", &bytes)]);
        (facts.secrets.len(), facts.layers[0].is_partial)
    };
    assert_eq!(nested(crate::NESTING_MAX), (1, false));
    assert_eq!(nested(crate::NESTING_MAX + 1), (0, true));
}

#[test]
fn an_archive_that_is_broken_does_not_keep_the_rest_from_being_read() {
    let mut broken = gzip(&vec![b'x'; 10_000]);
    broken.truncate(20);
    let facts = facts(vec![Layer::new().file("broken.gz", &broken).file("broken.zip", b"PK\x03\x04 nothing").file("key", KEY)]);
    assert_eq!(secrets(&facts), [("layer 1: /key".to_owned(), None)]);
    assert!(facts.layers[0].is_partial);
}

#[test]
fn what_lies_behind_an_archive_s_end_is_looked_at() {
    let mut plain = Layer::new().file("a", b"a").bytes();
    plain.extend_from_slice(KEY);
    let facts = Layout::new(json!({}), vec![stored(gzip(&plain), &plain)]).facts();
    assert_eq!(secrets(&facts), [("layer 1: /(behind the archive's end)".to_owned(), None)]);
}

#[test]
fn paths_that_lead_out_are_told_and_the_rest_is_read() {
    let plain = Layer::new().raw(b"../../etc/passwd", b'0', 1, b"x").file("key", KEY).bytes();
    let facts = Layout::new(json!({}), vec![stored(gzip(&plain), &plain)]).facts();
    assert_eq!(facts.layers[0].outcome, Outcome::Malformed("a path that leads out of the image".into()));
    assert_eq!(secrets(&facts).len(), 1);
}

#[test]
fn headers_past_their_limits_stop_a_layer() {
    let long = |bytes: usize| {
        let name = [&b"x/".repeat(bytes / 2)[..], b"\0"].concat();
        let plain = Layer::new().raw(b"././@LongLink", b'L', name.len() as u64, &name).raw(b"short", b'0', 0, b"").bytes();
        outcome(stored(gzip(&plain), &plain))
    };
    assert_eq!(long(PATH_BYTES_MAX - 2), Outcome::Read);
    assert!(matches!(long(PATH_BYTES_MAX), Outcome::Malformed(_)));
    let extended = |bytes: usize| {
        let plain = Layer::new().raw(b"pax", b'x', bytes as u64, &vec![b'\n'; bytes]).raw(b"file", b'0', 0, b"").bytes();
        outcome(stored(gzip(&plain), &plain))
    };
    assert!(matches!(extended(EXTENDED_BYTES_MAX + 1), Outcome::Malformed(_)));
    assert!(matches!(long(EXTENDED_BYTES_MAX + 2), Outcome::Malformed(_)));
}

#[test]
fn a_size_that_readers_could_differ_about_stops_a_layer() {
    let plain = Layer::new().raw(b"pax", b'x', 9, b"9 size=1\n").raw(b"file", b'0', 0, b"").bytes();
    assert!(matches!(outcome(stored(gzip(&plain), &plain)), Outcome::Malformed(_)));
    let plain = Layer::new().raw(b"sparse", b'S', 0, b"").bytes();
    assert!(matches!(outcome(stored(gzip(&plain), &plain)), Outcome::Malformed(_)));
}

#[test]
fn layers_that_are_not_what_they_are_named_are_told() {
    let plain = Layer::new().file("a", b"a").bytes();
    assert!(matches!(outcome(stored(gzip(&plain), b"another")), Outcome::WrongDigest(_)));
    let layout = Layout::new(json!({}), vec![stored(gzip(&plain), &plain)]);
    let other = gzip(&Layer::new().file("b", b"b").bytes());
    std::fs::write(layout.folder.path().join(blob(&Digest::of(&gzip(&plain)))), &other).unwrap();
    assert!(matches!(layout.facts().layers[0].outcome, Outcome::WrongDigest(_)));
}

#[test]
fn layers_that_cannot_be_read_are_told() {
    let plain = Layer::new().file("a", &[7; 100_000]).bytes();
    let mut cut = gzip(&plain);
    cut.truncate(cut.len() / 2);
    assert!(matches!(outcome(stored(cut, &plain)), Outcome::Unread(_)));
    let encrypted =
        Stored { media_type: "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", ..stored(gzip(&plain), &plain) };
    assert_eq!(outcome(encrypted), Outcome::Unread("it is encrypted".into()));
    let layout = Layout::new(json!({}), vec![stored(plain.clone(), &plain)]);
    std::fs::remove_file(layout.folder.path().join(blob(&Digest::of(&plain)))).unwrap();
    assert!(matches!(layout.facts().layers[0].outcome, Outcome::Unread(_)));
}

#[test]
fn a_bomb_is_told_once_it_is_larger_than_any_layer_may_be() {
    let read = |bytes: u64, packed: u64| {
        let mut bounded = Bounded { inner: io::repeat(0).take(bytes), read: 0, packed, progress: &mut |_| () };
        io::copy(&mut bounded, &mut io::sink()).err().map(unread)
    };
    let is_bomb = |outcome| matches!(outcome, Some(Outcome::Malformed(_)));
    assert_eq!(read(BOMB_BYTES_MIN, 1), None);
    assert!(is_bomb(read(BOMB_BYTES_MIN + 1, 1)));
    let bytes = BOMB_BYTES_MIN + RATIO_MAX;
    assert_eq!(read(bytes, bytes / RATIO_MAX), None);
    assert!(is_bomb(read(bytes, bytes / (RATIO_MAX + 1))));
}

#[test]
fn environment_labels_commands_and_history_are_looked_at() {
    let key = "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\\n-----END PRIVATE KEY-----";
    let config = json!({
        "config": {
            "Env": ["PATH=/bin", format!("KEY={key}"), "DB_PASSWORD=hunter2hunter", "TOKEN_FILE=/run/token"],
            "Labels": { "x": key }, "Cmd": ["app", key], "Healthcheck": { "Test": ["CMD", key] },
        },
        "history": [{ "created_by": format!("|1 KEY={key} /bin/sh -c make") }],
    });
    let facts = Layout::new(config, vec![Layer::new().into()]).facts();
    let places: Vec<_> = secrets(&facts).into_iter().map(|(place, _)| place).collect();
    assert_eq!(
        places,
        ["environment: KEY", "environment: DB_PASSWORD", "label: x", "command", "health check", "history: step 1"]
    );
}

#[test]
fn files_that_are_remarkable_are_those_in_sight() {
    let set_id = |path: &str| Layer::new().entry(path, tar::EntryType::Regular, 0o4755, b"");
    let one = facts(vec![set_id("a"), Layer::new().file(".wh.a", b"")]);
    assert!(one.files.is_empty());
    let two = facts(vec![set_id("a"), Layer::new().file("b", b"")]);
    assert_eq!(two.files.into_iter().collect::<Vec<_>>(), [("a".to_owned(), [Remark::SetId].into())]);
    let shadow = facts(vec![Layer::new().file("etc/shadow", b"root::1:\n")]);
    assert_eq!(shadow.users_without_password, ["root"]);
    assert!(
        facts(vec![Layer::new().file("etc/shadow", b"root::1:\n"), Layer::new().file("etc/shadow", b"root:!:1\n")])
            .users_without_password
            .is_empty()
    );
}

#[test]
fn credentials_are_known_by_their_files_and_content() {
    let facts = facts(vec![Layer::new().file("root/.netrc", b"machine x login a password kX93jd82nQw1")]);
    assert!(facts.secrets.iter().any(|secret| matches!(secret.kind, Kind::Credentials(_))));
}

#[test]
fn secrets_past_the_limit_are_counted_as_more() {
    let file = KEY.repeat(FILE_SECRETS_MAX);
    let with = |files: usize| {
        let layer = (0..files).fold(Layer::new(), |layer, number| layer.file(&format!("{number}"), &file));
        let facts = facts(vec![layer]);
        (facts.secrets.len(), facts.has_more_secrets)
    };
    let files = SECRETS_MAX / FILE_SECRETS_MAX;
    assert_eq!(with(files), (SECRETS_MAX, false));
    assert_eq!(with(files + 1), (SECRETS_MAX, true));
}
