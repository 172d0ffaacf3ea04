//! What the tests of the log have in common.

use std::{
    fs,
    path::{Path, PathBuf},
};

use coffer_audit::{
    checkpoint::Origin,
    log::{Log, LogConfig, Opened},
    record::{Entry, Kind, Outcome, Record},
};
use coffer_core::{
    clock::Timestamp,
    id::{RequestId, VaultId},
};
use coffer_crypto::sign::SigningKey;
use coffer_secret::SecretArray;

/// Bytes in a segment: small, so that there are several.
pub(crate) const SEGMENT_BYTES: u64 = 1_200;

pub(crate) fn origin() -> Origin {
    Origin::new(VaultId::from_bytes([0x0f; 16]), "coffer-0", 1).unwrap()
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(SecretArray::copied_from(&[0x5e; 32]))
}

pub(crate) fn verifier() -> String {
    origin().verifier_key(*key().public_key()).to_string()
}

pub(crate) fn config(dir: &Path) -> LogConfig {
    LogConfig { segment_bytes: SEGMENT_BYTES, ..LogConfig::new(dir, origin()) }
}

pub(crate) fn open(dir: &Path) -> (Log, Opened) {
    Log::open(config(dir), key()).unwrap()
}

pub(crate) fn id(number: u64) -> RequestId {
    RequestId::from_bytes((u128::from(number) + 1).to_be_bytes())
}

pub(crate) fn record(number: u64) -> Record {
    let time = Timestamp::from_millis(1_795_000_000_000 + 1_001 * number);
    Record {
        rpc: Some("coffer.v1.KvService/Read".into()),
        action: Some("read".into()),
        principal: Some("k8s:prod/payments/api".into()),
        tenant: Some("default".into()),
        resource: Some(format!("kv/prod/payments-{number}")),
        rules: vec!["00112233445566778899aabbccddeeff".into()],
        ..Record::new(time, id(number), Kind::Request, Outcome::Ok)
    }
}

/// A log of twelve entries in several segments with checkpoints behind 0, 5 and 12 of them. Gives the last note.
pub(crate) async fn write_log(dir: &Path) -> String {
    let (log, _) = open(dir);
    log.checkpoint_now(1).await.unwrap();
    for number in 0..5 {
        log.append(record(number)).await.unwrap();
    }
    log.checkpoint_now(7).await.unwrap();
    for number in 5..12 {
        log.append(record(number)).await.unwrap();
    }
    let signed = log.checkpoint_now(9).await.unwrap();
    log.close().await;
    signed.note
}

/// Every entry of a log.
pub(crate) fn entries(log: &Log) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let page = log.read(entries.len() as u64, 7).unwrap();
        if page.is_empty() {
            return entries;
        }
        for (index, line) in page {
            let entry: Entry = serde_json::from_str(&line).unwrap();
            assert_eq!((entry.index, index), (index, entries.len() as u64));
            entries.push(entry);
        }
    }
}

/// Every file of the logs below a folder, in order: without the lock, and what is left behind when a log is closed.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !["lock", "closed"].contains(&path.file_name().unwrap().to_str().unwrap()) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Copies a folder with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}
