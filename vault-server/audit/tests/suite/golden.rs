//! The log of the first format: every later build opens and verifies it.

use std::{fs, path::PathBuf};

use coffer_audit::{
    note::VerifierKey,
    receipt::EntryProof,
    verify::{Trust, verify_with},
};

use crate::support::{copy, entries, files, open, record, verifier, write_log};

/// The key of the golden log.
const KEY: &str = "coffer.dev/0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f/coffer-0/1+150f0974+AYFGZA8CSTr0+8VP4zOI513CyTeuC3cnzCsq+xt1GZo+";
/// The root of its twelve entries.
const ROOT: &str = "tuX/AcVGei/8XFo8K90WckJandUAja20I9V9Sn7PXus=";

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn note() -> String {
    fs::read_to_string(golden().join("checkpoint")).unwrap()
}

#[test]
fn the_golden_log_verifies() {
    let report = verify_with(&golden().join("log"), &Trust { verifier_key: Some(KEY), checkpoint: Some(&note()) }).unwrap();
    assert_eq!((report.entries, report.checkpoints, report.warnings), (12, 3, vec![]));
    assert_eq!(report.root.to_string(), ROOT);
}

#[tokio::test]
async fn the_golden_log_opens_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden().join("log"), dir.path());
    let (log, opened) = open(dir.path());
    assert_eq!((opened.size, opened.root.to_string().as_str()), (12, ROOT));
    assert_eq!(log.verifier_key(), KEY);
    log.compare(Some(&note()), 9).unwrap();
    assert_eq!(entries(&log).len(), 12);
    log.append(record(12)).await.unwrap();
    log.checkpoint_now(10).await.unwrap();
    log.close().await;
    let report = verify_with(dir.path(), &Trust { verifier_key: Some(KEY), checkpoint: Some(&note()) }).unwrap();
    assert_eq!((report.entries, report.warnings), (13, vec![]));
}

#[test]
fn the_golden_receipt_holds() {
    let receipt: EntryProof = fs::read_to_string(golden().join("entry-4.tlog-proof")).unwrap().parse().unwrap();
    let key: VerifierKey = KEY.parse().unwrap();
    let (entry, checkpoint) = receipt.verify(&key).unwrap();
    assert_eq!((entry.index, entry.record, checkpoint.size), (4, record(4), 12));
}

/// While the format is the first one, what this build writes is the golden log, byte by byte.
#[tokio::test]
async fn this_build_writes_the_first_format() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(write_log(dir.path()).await, note());
    assert_eq!(verifier(), KEY);
    let (written, expected) = (files(dir.path()), files(&golden().join("log")));
    assert_eq!(written.len(), expected.len());
    for (written, expected) in written.iter().zip(&expected) {
        assert_eq!(written.file_name(), expected.file_name());
        assert_eq!(fs::read_to_string(written).unwrap(), fs::read_to_string(expected).unwrap());
    }
}
